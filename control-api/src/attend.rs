//! Attend: what happens around every request: its id, its log line, its problem's body.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;
use tracing::Instrument;
use uuid::Uuid;

use crate::Control;
use crate::activity::{Alarm, Deed, Watched};
use crate::audit::requests::Asked;
use crate::auth::bearer;
use crate::calls::KEY_PATH;
use crate::client_address::{ClientAddress, NAMES_OTHERS};
use crate::limits::Asker;
use crate::problem::{Code, Problem};
use crate::wait::Presence;
use crate::{clock, tickets};

/// Lengths of a request id that is taken over from the client.
const ID_LENGTHS: std::ops::RangeInclusive<usize> = 8..=64;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Attends to one request.
///
/// The request runs as a task of its own, so that a client who hangs up cannot leave a command
/// half done, and a handler that panics is answered for.
pub async fn attend(
    State(control): State<Arc<Control>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(request.headers());
    let started = clock::monotonic();
    let method = method_name(request.method());
    // The pattern, not the path: nothing that a client wrote goes into the log.
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map_or("unmatched", MatchedPath::as_str);
    tickets::take_out(&mut request);
    let watched = Watched::begin(method, path, &mut request);
    let asked = Asked::begin(method, path, &mut request);
    // Dropped with this future, when the client hangs up: the task goes on, but need not wait.
    let (_here, presence) = watch::channel(());
    request.extensions_mut().insert(Presence(presence));
    let span = tracing::info_span!(
        "request",
        request_id = id,
        key = tracing::field::Empty,
        denied = tracing::field::Empty
    );
    let asker = asker(&request);
    let mut response = match refusal(&control, &request, asker.as_ref()) {
        Some(refused) => refused,
        None => {
            let task = tokio::spawn(next.run(request).instrument(span.clone()));
            task.await.unwrap_or_else(|_| Problem::internal().into_response())
        }
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        notice_failure(&control, asker.as_ref());
    }
    asked.complete(&control.audit, &control.calls, &response);
    complete(&mut response, &id);
    let status = response.status();
    // One line or count for each key would tell how many keys were pressed, and when.
    if path != KEY_PATH || status != StatusCode::NO_CONTENT {
        control.metrics.answered(status.as_u16());
        let took_us = clock::monotonic().saturating_duration_since(started).as_micros() as u64;
        let status = status.as_u16();
        span.in_scope(|| tracing::info!(method, path, status, took_us, "answered"));
    }
    if let Some(deed) = watched.and_then(|watched| watched.complete(&control.calls, &response)) {
        control.activity.note(clock::now(), deed);
    }
    response
}

/// Who asks, if it came by a listener.
fn asker(request: &Request) -> Option<Asker> {
    let address = request.extensions().get::<ClientAddress>().copied()?;
    let headers = request.headers();
    let speaks_for_others = NAMES_OTHERS.iter().any(|name| headers.contains_key(name));
    Some(Asker::of(address, bearer(headers), speaks_for_others))
}

/// The answer to what is not looked at any further.
fn refusal(control: &Control, request: &Request, asker: Option<&Asker>) -> Option<Response> {
    if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
        // Neither is for what this is: one repeats a request, the other is a proxy's.
        let detail = "TRACE and CONNECT are not spoken here.";
        return Some(Problem::new(Code::MethodNotAllowed, detail).into_response());
    }
    let (problem, seconds) = control.limits().look(asker?, clock::monotonic()).err()?;
    let mut response = problem.into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    Some(response)
}

/// A request's key was none.
fn notice_failure(control: &Control, asker: Option<&Asker>) {
    if let Some(asker) = asker
        && control.limits().failed(asker, clock::monotonic())
    {
        tracing::warn!(network = %asker.network(), "keys that are not valid come from there");
        control.activity.note(clock::now(), (None, Deed::Alarm(Alarm::KeysGuessed)));
    }
}

/// A method of HTTP's own; any other is a word of the client's, which might hold anything.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Writes the body of a problem, and the headers of every response.
fn complete(response: &mut Response, id: &str) {
    let problem = response.extensions_mut().remove::<Arc<Problem>>();
    if let Some(problem) = problem {
        let body = serde_json::to_vec(&problem.body(id)).unwrap_or_default();
        *response.body_mut() = Body::from(body);
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
}

/// The client's id for the request if it is harmless, else a new one. Digits alone are refused:
/// they might be what must not be repeated.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        ID_LENGTHS.contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && longest_number(id) < 12
    };
    given.filter(harmless).map_or_else(|| format!("req_{}", Uuid::now_v7().simple()), str::to_owned)
}

/// Length of the longest run of digits, hyphens between them not counted; a card has 12 at least.
fn longest_number(id: &str) -> usize {
    let digits = id.replace(['-', '_'], "");
    let runs = digits.split(|c: char| !c.is_ascii_digit());
    runs.map(str::len).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, Method};

    use super::{REQUEST_ID, method_name, request_id};

    #[test]
    fn methods_that_a_client_made_up_are_not_repeated() {
        assert_eq!(method_name(&Method::DELETE), "DELETE");
        assert_eq!(method_name(&Method::from_bytes(b"4242424242424242").unwrap()), "other");
    }

    #[test]
    fn harmless_ids_are_kept_and_others_replaced() {
        let cases = [
            ("0198c0f3-a1b2-7c3e-8d4f-5a6b7c8d9e0f", true),
            ("my_request_17", true),
            ("short", false),
            ("4242424242424242", false),
            ("x4242-4242-4242-4242", false),
            ("with space in it", false),
            ("\"quoted\"and<so>on", false),
        ];
        for (given, kept) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(given));
            assert_eq!(request_id(&headers) == given, kept, "{given}");
        }
    }
}
