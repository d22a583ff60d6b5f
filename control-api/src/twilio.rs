//! Twilio: the one operation of Twilio's REST API that engines of its media streams know, hanging
//! up: `POST /2010-04-01/Accounts/{AccountSid}/Calls/{CallSid}.json` with `Status=completed`.
//!
//! Its contract is Twilio's, errors included, so that an engine needs another base URL and nothing
//! else. A key of ours is the password; the account is whichever the engine was told of.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use relay::HangUp;
use relay::switchboard::CallId;
use zeroize::Zeroizing;

use crate::Control;
use crate::auth::{self, HangUpCalls, Permit};
use crate::dto::id;
use crate::dto::twilio::{CallBody, ErrorBody, StatusForm};
use crate::index::CallEntry;
use crate::keys::Denied;
use crate::problem::{Code, Problem};

/// Where an engine hangs up, as the router writes it.
pub const PATH: &str = "/2010-04-01/Accounts/{account_sid}/Calls/{call_sid}";

const ACCOUNT_PREFIX: &str = "AC";
const CALL_PREFIX: &str = "CA";
/// What Twilio's API puts behind a resource's name.
const JSON_SUFFIX: &str = ".json";
/// Twilio's numbers for what may go wrong here.
const BAD_REQUEST: u32 = 20_001;
const PERMISSION_DENIED: u32 = 20_003;
const METHOD_NOT_ALLOWED: u32 = 20_004;
const NOT_FOUND: u32 = 20_404;
const SERVER_ERROR: u32 = 20_500;
const UNAVAILABLE: u32 = 20_503;

/// A call's name in Twilio's manner: `CA` and the 32 hexadecimal digits of its id.
#[must_use]
pub fn call_sid(call: CallId) -> String {
    dialects::twilio::call_sid(call.0.to_be_bytes())
}

/// The call that a name in Twilio's manner means.
#[must_use]
pub fn parse_call_sid(text: &str) -> Option<CallId> {
    id::parse_hex(text.strip_prefix(CALL_PREFIX)?).map(CallId)
}

/// Why a call is not hung up.
struct Refused(Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused(problem)
    }
}

/// Hangs up for an engine, whatever its key's role: in a secure session that is held back until the
/// session has ended, and the call is still `in-progress`.
pub async fn hang_up(State(control): State<Arc<Control>>, request: Request) -> Response {
    hang_up_call(&control, request)
        .await
        .map_or_else(IntoResponse::into_response, |body| Json(body).into_response())
}

/// Tells that there is no other operation.
pub async fn wrong_method() -> Response {
    Refused(Problem::new(Code::MethodNotAllowed, "Only POST is known here.")).into_response()
}

async fn hang_up_call(control: &Control, request: Request) -> Result<CallBody, Refused> {
    let (mut parts, body) = request.into_parts();
    let names = Path::<(String, String)>::from_request_parts(&mut parts, &()).await;
    let Path((account, call)) = names.map_err(|_| not_found())?;
    let key = basic_key(&parts.headers, &account);
    let key = key.as_ref().map(|key| key.as_str());
    let found = match auth::names_a_key(&parts.uri) {
        true => Err(Denied::InUrl),
        false => auth::authenticate(control, key).await,
    };
    let permit = Permit::<HangUpCalls>::admit(control, &parts.extensions, found)?;
    let form = StatusForm::from_request(Request::from_parts(parts, body), &()).await?;
    if !form.is_completed() {
        let detail = "Send Status=completed: nothing else of a call is changed here.";
        return Err(Problem::new(Code::MalformedBody, detail).into());
    }
    let sid = call.strip_suffix(JSON_SUFFIX).ok_or_else(not_found)?;
    let entry = live_call(control, sid).ok_or_else(not_found)?;
    permit.concerns(entry.id);
    let status = match control.hang_up(&entry).await? {
        HangUp::Ended => "completed",
        HangUp::HeldBack => "in-progress",
    };
    let role = &*permit.principal.roles;
    tracing::info!(call = id::call(entry.id), role, status, "call hung up in Twilio's manner");
    Ok(CallBody { sid: call_sid(entry.id), account_sid: account, status })
}

fn live_call(control: &Control, sid: &str) -> Option<Arc<CallEntry>> {
    let entry = control.calls.find(parse_call_sid(sid)?)?;
    (!entry.story.is_closed()).then_some(entry)
}

fn not_found() -> Problem {
    Problem::new(Code::CallNotFound, "The requested call was not found, or is over.")
}

/// The password of the one `Authorization` header (RFC 7617), if its user is the account.
fn basic_key(headers: &HeaderMap, account: &str) -> Option<Zeroizing<String>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let octets = Zeroizing::new(BASE64_STANDARD.decode(credentials.trim()).ok()?);
    let (user, key) = str::from_utf8(&octets).ok()?.split_once(':')?;
    let is_account = account.strip_prefix(ACCOUNT_PREFIX).and_then(id::parse_hex).is_some();
    (is_account && user == account).then(|| Zeroizing::new(key.to_owned()))
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(problem) = self;
        let status = problem.code.status();
        let code = match status {
            // An invalid key and one that may not hang up are one to Twilio.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => PERMISSION_DENIED,
            StatusCode::NOT_FOUND => NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED => METHOD_NOT_ALLOWED,
            StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
            status if status.is_server_error() => SERVER_ERROR,
            _ => BAD_REQUEST,
        };
        let message = match status {
            StatusCode::UNAUTHORIZED => {
                "Authenticate: the AccountSid is the user, and a key of this relay the password."
            }
            _ => problem.detail(),
        };
        let body = ErrorBody::new(status.as_u16(), code, message);
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let basic = HeaderValue::from_static("Basic realm=\"sotto\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, basic);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::{basic_key, call_sid, parse_call_sid};
    use crate::dto::id;

    const ACCOUNT: &str = "AC00000000000000000000000000000007";

    fn headers(credentials: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for credentials in credentials {
            let value = format!("Basic {}", BASE64_STANDARD.encode(credentials));
            headers.append("authorization", HeaderValue::from_str(&value).unwrap());
        }
        headers
    }

    #[test]
    fn a_call_is_named_as_it_is_read() {
        let id = id::new_call();
        let sid = call_sid(id);
        assert_eq!(parse_call_sid(&sid), Some(id));
        assert_eq!(sid[2..], id::call(id)["call_".len()..]);
        for bad in ["", "CA", &sid[..33], &sid.to_uppercase(), &sid.replace("CA", "ca")] {
            assert_eq!(parse_call_sid(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_password_counts_where_the_user_is_the_account() {
        let good = &*format!("{ACCOUNT}:sto_1_2:3");
        let key = |given: &[&str]| basic_key(&headers(given), ACCOUNT).map(|key| key.to_string());
        assert_eq!(key(&[good]).as_deref(), Some("sto_1_2:3"));
        let other = &*good.replace('7', "8");
        for bad in [&[][..], &[good, good], &[other], &[ACCOUNT], &["sto_1_2"]] {
            assert_eq!(key(bad), None, "{bad:?}");
        }
        assert!(basic_key(&headers(&["AC7:x"]), "AC7").is_none(), "no account");
        let mut bearer = HeaderMap::new();
        bearer.insert("authorization", HeaderValue::from_static("Bearer x"));
        assert!(basic_key(&bearer, ACCOUNT).is_none());
    }
}
