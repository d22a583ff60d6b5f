//! WHIP: a browser's call by the shape of RFC 9725, both ways: an offer in, an answer out.
//!
//! The answer is all a client needs: we are at one address, and learn the client's from its checks.
//! So what it trickles is taken and not looked at.

use std::net::{AddrParseError, SocketAddr};
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, LOCATION};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use relay::wire::sdp::{Agreement, PreviousAnswer};
use serde::Deserialize;
use tower_http::cors::{Any, CorsLayer};
use utoipa::IntoParams;

use crate::Control;
use crate::auth::{HangUpCalls, Permit, WriteCalls};
use crate::calls::{self, CallPath};
use crate::dto::call::{CallRequest, CallerRequest};
use crate::dto::engine::EngineRequest;
use crate::dto::id;
use crate::dto::text::{SdpBytes, SdpFragment};
use crate::external_id::ExternalId;
use crate::problem::{Code, Problem, ProblemBody};

/// Which engine a browser is to talk to.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhipQuery {
    /// Where the engine receives RTP and sends it from: PCMU, with telephone-event as type 101. Or
    /// `echo` for the relay's own, which greets and repeats what it hears. Left out, the profile says
    /// which engine it is.
    #[param(value_type = Option<String>, example = "192.0.2.7:40000")]
    engine: Option<WhipEngine>,
    /// What kind of engine it is: the name of a profile in the relay's configuration.
    profile: Option<String>,
    /// Keep a recording; `true` unless said otherwise, where the relay has a place for it.
    record: Option<bool>,
    /// What you call this call: 1 to 128 visible ASCII characters; of the calls that live one has
    /// it.
    external_id: Option<ExternalId>,
}

/// An engine as a query names it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
enum WhipEngine {
    Echo,
    At(SocketAddr),
}

impl TryFrom<String> for WhipEngine {
    type Error = AddrParseError;

    fn try_from(text: String) -> Result<WhipEngine, AddrParseError> {
        if text == "echo" { Ok(WhipEngine::Echo) } else { text.parse().map(WhipEngine::At) }
    }
}

/// Payload type of telephone-event on an engine's leg of a browser's call.
const ENGINE_EVENT_TYPE: u8 = 101;

/// What pages of other sites may do and see: a key is needed all the same, and none is kept by the
/// browser.
pub fn cross_origin() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST, Method::PATCH, Method::DELETE])
        // By name: what allows any allows no key (Fetch standard, "CORS-unsafe request-header").
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, IF_MATCH])
        .expose_headers([LOCATION, ETAG])
}

/// Places a browser's call: takes its offer, gives the answer (RFC 9725 section 4.2).
#[utoipa::path(
    post, path = "/v1/whip", tag = "browsers", params(WhipQuery),
    request_body(content = String, content_type = "application/sdp"),
    responses(
        (status = 201, body = String, content_type = "application/sdp",
            headers(("Location" = String), ("ETag" = String))),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn place(
    State(control): State<Arc<Control>>,
    permit: Permit<WriteCalls>,
    query: Result<Query<WhipQuery>, QueryRejection>,
    offer: SdpBytes,
) -> Result<Response, Problem> {
    let malformed = || {
        let detail = "Send engine (address:port or echo) or a profile that says which it is, and \
                      record and external_id (1 to 128 visible ASCII characters) if they are \
                      wanted.";
        Problem::new(Code::MalformedParameter, detail)
    };
    let Query(WhipQuery { engine, profile, record, external_id }) =
        query.map_err(|_| malformed())?;
    let engine = match engine {
        Some(WhipEngine::Echo) => EngineRequest::echo(profile),
        Some(WhipEngine::At(address)) => EngineRequest::rtp(address, ENGINE_EVENT_TYPE, profile),
        None if profile.is_some() => EngineRequest::profiled(profile),
        None => return Err(malformed()),
    };
    let caller = CallerRequest { sdp: offer.into_secret()?, nat: false };
    let (armed, look_ahead_ms) = (false, None);
    let request = CallRequest { caller, engine, armed, look_ahead_ms, record, external_id };
    let is_browser = |agreement: &Agreement| match &agreement.browser {
        Some(_) => Ok(()),
        None => Err(not_a_browser()),
    };
    let placed = calls::place(&control, request, &permit.by(), is_browser).await?;
    let session = placed.browser().ok_or_else(not_a_browser)?;
    let location = format!("/v1/whip/{}", id::call(placed.call()));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/sdp")),
        (LOCATION, header(&location)?),
        (ETAG, header(&format!("\"{session}\""))?),
    ];
    Ok((StatusCode::CREATED, headers, placed.answer().to_owned()).into_response())
}

/// Where a page of another site asks what it may do (RFC 9725 section 4.7), which takes no key: what
/// it is told, [`cross_origin`] says in the headers.
pub async fn ask() -> StatusCode {
    StatusCode::OK
}

/// Takes what a client trickles (RFC 9725 section 4.3). It may come at any time and in any state;
/// an ICE restart is refused: the call has to be placed anew.
#[utoipa::path(
    patch, path = "/v1/whip/{call_id}", tag = "browsers",
    params(("call_id" = String, Path)),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag"),
    responses(
        (status = 204),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn trickle(
    _: State<Arc<Control>>,
    _: Permit<WriteCalls>,
    call: CallPath,
    fragment: SdpFragment,
) -> Result<StatusCode, Problem> {
    call.live()?;
    let theirs = ufrag_of(&call).await?;
    match fragment.ufrag() {
        Some(ufrag) if ufrag != theirs => Err(Problem::new(
            Code::InvalidRequest,
            "ICE is not restarted: delete this call and place it anew.",
        )),
        Some(_) | None => Ok(StatusCode::NO_CONTENT),
    }
}

/// Ends a browser's call (RFC 9725 section 4.2).
#[utoipa::path(
    delete, path = "/v1/whip/{call_id}", tag = "browsers",
    params(("call_id" = String, Path)),
    responses(
        (status = 204),
        (status = 202, description = "The call ends when its secure session does"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn end(
    control: State<Arc<Control>>,
    permit: Permit<HangUpCalls>,
    call: CallPath,
) -> Result<StatusCode, Problem> {
    // Pages of other sites come here, and calls of telephones are none of theirs.
    ufrag_of(&call).await?;
    calls::end(control, permit, call).await
}

/// What a browser's call goes by in ICE; refused if it is another's call.
async fn ufrag_of(call: &CallPath) -> Result<String, Problem> {
    let answered = call.0.answered.lock().await;
    let browser = answered.as_ref().and_then(PreviousAnswer::browser).ok_or_else(not_a_browser)?;
    Ok(browser.theirs.ufrag.clone())
}

fn not_a_browser() -> Problem {
    let detail = "This is not a browser's call: its offer has no UDP/TLS/RTP/SAVPF stream.";
    Problem::new(Code::InvalidRequest, detail)
}

fn header(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| Problem::internal())
}
