//! SdpBytes, SdpFragment: bodies that are session descriptions, not JSON.

use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use super::call::Secret;
use super::json::{JsonBytes, collect_in_time};
use crate::problem::{Code, Problem};

/// A whole session description.
pub struct SdpBytes(JsonBytes);

/// A part of one: candidates and what they belong to (RFC 8840 section 9).
pub struct SdpFragment(JsonBytes);

impl SdpBytes {
    /// The text.
    ///
    /// # Errors
    /// [`Code::MalformedSdp`] if it is none.
    pub fn into_secret(self) -> Result<Secret, Problem> {
        let text = str::from_utf8(self.0.octets()).map_err(|_| {
            Problem::new(Code::MalformedSdp, "A session description is UTF-8 text.")
        })?;
        Ok(Secret::new(text))
    }
}

impl SdpFragment {
    /// The user fragment that it names, if it does.
    #[must_use]
    pub fn ufrag(&self) -> Option<&str> {
        let text = str::from_utf8(self.0.octets()).ok()?;
        text.lines().find_map(|line| line.trim_end().strip_prefix("a=ice-ufrag:"))
    }
}

impl<S: Send + Sync> FromRequest<S> for SdpBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read(request, "application/sdp").await.map(SdpBytes)
    }
}

impl<S: Send + Sync> FromRequest<S> for SdpFragment {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read(request, "application/trickle-ice-sdpfrag").await.map(SdpFragment)
    }
}

async fn read(request: Request, wanted: &str) -> Result<JsonBytes, Problem> {
    if !is(request.headers(), wanted) {
        let detail = format!("Send the body with Content-Type: {wanted}.");
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    collect_in_time(request.into_body()).await
}

fn is(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(wanted)
}
