//! Json: a request's body, read within bounds, whose mistakes are told without repeating it.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::Segment;
use zeroize::Zeroize;

use crate::external_id;
use crate::problem::{Code, Problem};

/// Longest body read, in octets: an offer of the longest size, escaped, and a plan.
pub const MAX_BODY: usize = 64 * 1024;
/// How long a whole body may take to arrive, so that slow senders hold nothing.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The octets of a body that is declared as JSON; they are wiped when dropped, since a key or a
/// digit may be among them.
pub struct JsonBytes(Bytes);

impl JsonBytes {
    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Reads the body as a `T`.
    ///
    /// # Errors
    /// [`Code::MalformedBody`], with the place of the mistake and its kind.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let mut reader = serde_json::Deserializer::from_slice(&self.0);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let pointer = pointer_of(&error);
            malformed(error.inner(), pointer)
        })?;
        reader.end().map_err(|error| malformed(&error, String::new()))?;
        Ok(value)
    }
}

impl From<Vec<u8>> for JsonBytes {
    fn from(octets: Vec<u8>) -> JsonBytes {
        JsonBytes(octets.into())
    }
}

impl Drop for JsonBytes {
    fn drop(&mut self) {
        // Shared octets can't be wiped here; the body has one owner unless something copies it.
        if let Ok(mut octets) = std::mem::take(&mut self.0).try_into_mut() {
            octets.zeroize();
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read_body(request, "application/json").await
    }
}

impl<S: Send + Sync> OptionalFromRequest<S> for JsonBytes {
    type Rejection = Problem;

    /// Nothing, where a request has no body at all.
    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        if request.body().is_end_stream() {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

/// The octets of a body that is declared as `wanted`, within the bounds.
pub(super) async fn read_body(request: Request, wanted: &str) -> Result<JsonBytes, Problem> {
    if !is_declared_as(request.headers(), wanted) {
        let detail = format!("Send the body with Content-Type: {wanted}.");
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let body = tokio::time::timeout(BODY_TIMEOUT, collect(request.into_body()));
    body.await.map_err(|_| {
        Problem::new(Code::RequestTimeout, "Send the whole body within ten seconds.")
    })?
}

async fn collect(body: Body) -> Result<JsonBytes, Problem> {
    // One octet more than allowed tells a body that is too long from one that breaks off.
    match axum::body::to_bytes(body, MAX_BODY).await {
        Ok(octets) => Ok(JsonBytes(octets)),
        Err(_) => Err(Problem::new(
            Code::BodyTooLarge,
            format!("A body of at most {MAX_BODY} octets is read."),
        )),
    }
}

fn is_declared_as(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(wanted)
}

/// A JSON pointer to the mistake. All field names on the way are ours, because unknown ones are
/// refused; the name of an unknown one is not repeated.
fn pointer_of(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let mut segments: Vec<&Segment> = error.path().iter().collect();
    if error.inner().to_string().starts_with("unknown field") {
        segments.pop_if(|last| matches!(last, Segment::Map { .. }));
    }
    let mut pointer = String::new();
    for segment in segments {
        match segment {
            Segment::Map { key } => pointer.extend(["/", key]),
            Segment::Seq { index } => pointer.extend(["/", &index.to_string()]),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// The kind of mistake in our words: serde's own text repeats the value.
fn malformed(error: &serde_json::Error, pointer: String) -> Problem {
    let (line, column) = (error.line(), error.column());
    let problem = |detail: String| {
        Problem::new(Code::MalformedBody, "See errors for what to change.").at(pointer, detail)
    };
    match error.classify() {
        Category::Io | Category::Syntax | Category::Eof => {
            let empty = if (line, column) == (1, 0) { ", for the body is empty" } else { "" };
            problem(format!("not JSON at line {line} column {column}{empty}"))
        }
        Category::Data => problem(format!("{} at line {line} column {column}", kind_of(error))),
    }
}

fn kind_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(&*text, |(mistake, _)| mistake);
    if let Some(member) = text.strip_prefix("missing field ") {
        return format!("a member that must be there is missing: {member}");
    }
    let kinds = [
        (external_id::RULE, external_id::RULE),
        ("unknown field", "a member that is not known"),
        ("duplicate field", "a member that stands twice"),
        ("unknown variant", "a word that is not one of those allowed"),
        ("invalid type", "a value of the wrong type"),
        ("invalid length", "too many or too few elements"),
    ];
    let kind = kinds.iter().find(|(start, _)| text.starts_with(start));
    match kind {
        Some((start @ ("unknown field" | "unknown variant"), words)) => {
            format!("{words}{}", allowed(start, text))
        }
        Some((_, words)) => (*words).to_owned(),
        None => "a value that is not allowed".to_owned(),
    }
}

/// Our own words that could have stood there. What was sent stands before the last `, expected `
/// of serde's text, so nothing of it is repeated whatever it holds.
fn allowed(start: &str, text: &str) -> String {
    debug_assert!(text.starts_with(start));
    let list = text.rsplit_once(", expected ").map(|(_, list)| list.trim_start_matches("one of "));
    list.map_or_else(String::new, |list| format!(" (allowed: {list})"))
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use serde::Deserialize;

    use super::JsonBytes;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[allow(dead_code)]
        inner: Vec<Inner>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[allow(dead_code)]
        number: u8,
    }

    fn check(text: &'static str, pointer: &str, start: &str) {
        let read: Result<Outer, _> = JsonBytes(Bytes::from_static(text.as_bytes())).read();
        let problem = read.err().unwrap_or_else(|| panic!("{text} was read"));
        let body = serde_json::to_value(problem.body("req")).unwrap();
        let fault = &body["errors"][0];
        assert_eq!(fault["pointer"], pointer, "{text}");
        assert!(fault["detail"].as_str().unwrap().starts_with(start), "{text}: {fault}");
        assert!(!body.to_string().contains("4242"), "{text} is repeated: {body}");
    }

    #[test]
    fn mistakes_are_pointed_at_and_not_repeated() {
        check("4242", "", "a value of the wrong type");
        check("{\"inner\":[{\"number\":4242}]}", "/inner/0/number", "a value");
        check("{\"inner\":[{\"number\":\"4242\"}]}", "/inner/0/number", "a value of the wrong");
        check("{\"inner\":[{\"4242\":1}]}", "/inner/0", "a member that is not known");
        check("{\"4242\":[]}", "", "a member that is not known (allowed: `inner`)");
        let sly = "{\"x`, expected one of 4242\":1}";
        check(sly, "", "a member that is not known (allowed: `inner`)");
        check("{\"inner\":[{}]}", "/inner/0", "a member that must be there is missing: `number`");
        check("{\"inner\":[],\"inner\":[4242]}", "", "a member that stands twice");
        check("{\"inner\":[]} 4242", "", "not JSON");
        check("{\"inner\":[}4242", "/inner/0", "not JSON");
        check("", "", "not JSON at line 1 column 0, for the body is empty");
    }
}
