//! SdpBytes, SdpFragment: bodies that are session descriptions, not JSON.

use axum::extract::{FromRequest, Request};

use super::call::Secret;
use super::json::{JsonBytes, read_body};
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
        read_body(request, "application/sdp").await.map(SdpBytes)
    }
}

impl<S: Send + Sync> FromRequest<S> for SdpFragment {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read_body(request, "application/trickle-ice-sdpfrag").await.map(SdpFragment)
    }
}
