//! Gate: what a model's client sends, reduced to what there is, before the SDK sees it.
//!
//! The SDK logs messages and repeats parts of them in its errors, and a model's words may hold what
//! a caller said. So a message is read here first: five methods are known, a tool's arguments must
//! already be what that tool takes, and what goes on is written anew from what was read. On the way
//! back, the SDK's errors lose their text.

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::address::BaseUrl;
use super::tools::{Refused, ToolCall};
use crate::dto::json::JsonBytes;
use crate::plans::PlanName;
use crate::problem::{Code, Problem};

/// Longest id of a message that is text; clients count, or use UUIDs.
const MAX_ID_LEN: usize = 64;
/// JSON-RPC's codes for a method that is not there, and for a fault of ours.
const METHOD_NOT_FOUND: i64 = -32_601;
const INTERNAL_ERROR: i64 = -32_603;
/// Longest answer of the SDK: three tools with every plan's name.
const MAX_ANSWER: usize = 64 * 1024;
/// What the metadata that the protocol itself defines begins with.
const PROTOCOL_META: &str = "io.modelcontextprotocol/";
/// Headers that the SDK is shown: the protocol's own.
const SHOWN: [HeaderName; 3] = [
    HeaderName::from_static("mcp-protocol-version"),
    HeaderName::from_static("mcp-method"),
    HeaderName::from_static("mcp-name"),
];

/// What is to be done with a message.
pub(super) enum Gated {
    /// The SDK answers it.
    Pass(Request<Body>),
    /// It is answered already.
    Answered(Response),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    jsonrpc: Version,
    id: Option<Id>,
    method: String,
    params: Option<Map<String, Value>>,
}

#[derive(Deserialize, Serialize)]
enum Version {
    #[serde(rename = "2.0")]
    Two,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Text(String),
}

/// Turns away what DNS rebinding would bring: requests that a browser made for a page, and those
/// to a name that is not ours.
///
/// # Errors
/// [`Code::Forbidden`].
pub(super) fn admit(headers: &HeaderMap, base: &BaseUrl) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let ours = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(|host| base.is_host(host)),
        _ => false,
    };
    if ours && !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    Err(Problem::new(
        Code::Forbidden,
        "Host must be that of mcp.url or loopback, and no browser's Origin is taken.",
    ))
}

/// Reads a message for a token that allows `plans`.
///
/// # Errors
/// If it is no message.
pub(super) fn examine(
    headers: &HeaderMap,
    body: &JsonBytes,
    plans: &[PlanName],
) -> Result<Gated, Problem> {
    let Message { jsonrpc: Version::Two, id, method, params } = body.read()?;
    // Nothing hangs on a notification: there are no sessions.
    let Some(id) = id else { return Ok(Gated::Answered(StatusCode::ACCEPTED.into_response())) };
    if matches!(&id, Id::Text(text) if text.len() > MAX_ID_LEN) {
        let detail = format!("must be a number, or text of {MAX_ID_LEN} octets at most");
        return Err(Problem::invalid("/id", detail));
    }
    let params = params.unwrap_or_default();
    let params = match &*method {
        "initialize" => params,
        "ping" | "tools/list" | "server/discover" => meta_of(&params),
        "tools/call" => {
            let (Some(name), Some(arguments)) = (tool_name(&params), arguments(&params)) else {
                return Ok(Gated::Answered(refusal(&id, unreadable(&params))));
            };
            if let Err(refused) = ToolCall::read(name, arguments, plans) {
                return Ok(Gated::Answered(refusal(&id, refused)));
            }
            let mut passed = meta_of(&params);
            passed.insert("name".to_owned(), name.into());
            passed.insert("arguments".to_owned(), arguments.cloned().unwrap_or_default().into());
            passed
        }
        _ => return Ok(Gated::Answered(unknown_method(&id))),
    };
    let message = json!({ "jsonrpc": Version::Two, "id": id, "method": method, "params": params });
    Ok(Gated::Pass(request(headers, &message)))
}

/// What the SDK answered, without its words where it refuses.
pub(super) async fn release(response: Response) -> Result<Response, Problem> {
    let status = response.status();
    let json = response.headers().get(CONTENT_TYPE).is_some_and(|it| it == "application/json");
    let body = axum::body::to_bytes(response.into_body(), MAX_ANSWER);
    let body = body.await.map_err(|_| Problem::internal())?;
    if !json {
        return Err(refused_by_status(status));
    }
    let mut answer: Value = serde_json::from_slice(&body).map_err(|_| Problem::internal())?;
    let Some(error) = answer.get_mut("error") else { return Ok(answered(status, body)) };
    let code = error.get("code").and_then(Value::as_i64).unwrap_or(INTERNAL_ERROR);
    let supported = error.pointer("/data/supported").cloned();
    *error = json!({ "code": code, "message": "The request is not one that this server takes." });
    if let Some(supported) = supported {
        error["data"] = json!({ "supported": supported });
    }
    Ok(answered(status, Bytes::from(answer.to_string())))
}

fn request(headers: &HeaderMap, message: &Value) -> Request<Body> {
    let mut request = Request::post("/").body(Body::from(message.to_string())).unwrap_or_default();
    let shown = request.headers_mut();
    for name in SHOWN {
        // As often as they were sent: two of a kind are for the SDK to refuse.
        for value in headers.get_all(&name) {
            shown.append(&name, value.clone());
        }
    }
    // The answer is JSON always, so a client that takes nothing else is served too.
    let both = HeaderValue::from_static("application/json, text/event-stream");
    shown.insert(HOST, HeaderValue::from_static("localhost"));
    shown.insert(ACCEPT, both);
    shown.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request
}

fn meta_of(params: &Map<String, Value>) -> Map<String, Value> {
    let Some(Value::Object(meta)) = params.get("_meta") else { return Map::new() };
    let ours = meta.iter().filter(|(name, _)| name.starts_with(PROTOCOL_META));
    let meta: Map<_, _> = ours.map(|(name, value)| (name.clone(), value.clone())).collect();
    Map::from_iter([("_meta".to_owned(), Value::Object(meta))])
}

fn tool_name(params: &Map<String, Value>) -> Option<&str> {
    params.get("name").and_then(Value::as_str)
}

/// The arguments, if there are none or they are an object.
fn arguments(params: &Map<String, Value>) -> Option<Option<&Map<String, Value>>> {
    match params.get("arguments") {
        None | Some(Value::Null) => Some(None),
        Some(arguments) => arguments.as_object().map(Some),
    }
}

/// Why a call can't even be read: as if its arguments had been the wrong ones.
fn unreadable(params: &Map<String, Value>) -> Refused {
    let wrong = Map::from_iter([(String::new(), Value::Null)]);
    let read = ToolCall::read(tool_name(params).unwrap_or_default(), Some(&wrong), &[]);
    read.err().unwrap_or(Refused::Tool)
}

/// A tool's error, which a model can read, as opposed to one of the protocol.
fn refusal(id: &Id, refused: Refused) -> Response {
    tracing::info!(outcome = "refused", "tool called");
    let content = json!([{ "type": "text", "text": refused.text() }]);
    let result = json!({ "resultType": "complete", "content": content, "isError": true });
    reply(&json!({ "jsonrpc": Version::Two, "id": id, "result": result }))
}

fn unknown_method(id: &Id) -> Response {
    let error = json!({ "code": METHOD_NOT_FOUND, "message": "There is no such method." });
    reply(&json!({ "jsonrpc": Version::Two, "id": id, "error": error }))
}

fn reply(message: &Value) -> Response {
    answered(StatusCode::OK, Bytes::from(message.to_string()))
}

fn answered(status: StatusCode, body: Bytes) -> Response {
    let json = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, json)], body).into_response()
}

fn refused_by_status(status: StatusCode) -> Problem {
    match status {
        StatusCode::BAD_REQUEST => Problem::new(
            Code::MalformedParameter,
            "Send MCP headers that say the same as the body.",
        ),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(
            Code::MalformedBody,
            "The params are not those that the Model Context Protocol has for this method.",
        ),
        _ => Problem::internal(),
    }
}
