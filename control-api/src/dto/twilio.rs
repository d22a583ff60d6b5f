//! Bodies in Twilio's manner: the form that ends a call, and the two answers to it.

use axum::extract::{FromRequest, Request};
use serde::Serialize;

use super::json::{JsonBytes, read_body};
use crate::problem::Problem;

/// Where Twilio explains its numbers.
const MORE_INFO: &str = "https://www.twilio.com/docs/errors/";

/// What is to become of a call.
pub struct StatusForm(JsonBytes);

impl StatusForm {
    /// Whether the call is to end. What else the form holds is for Twilio.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        let mut pairs = form_urlencoded::parse(self.0.octets());
        let status = pairs.find(|(name, _)| name == "Status");
        status.is_some_and(|(_, status)| status == "completed")
    }
}

impl<S: Send + Sync> FromRequest<S> for StatusForm {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read_body(request, "application/x-www-form-urlencoded").await.map(StatusForm)
    }
}

/// A call, as far as an engine looks at it.
#[derive(Serialize)]
pub struct CallBody {
    /// The call.
    pub sid: String,
    /// The account, as the request named it.
    pub account_sid: String,
    /// `completed`, or `in-progress` if the call ends when its secure session has.
    pub status: &'static str,
}

/// Why not.
#[derive(Serialize)]
pub struct ErrorBody<'a> {
    code: u32,
    message: &'a str,
    more_info: String,
    status: u16,
}

impl ErrorBody<'_> {
    /// An error of that HTTP status, by Twilio's number.
    #[must_use]
    pub fn new(status: u16, code: u32, message: &str) -> ErrorBody<'_> {
        ErrorBody { code, message, more_info: format!("{MORE_INFO}{code}"), status }
    }
}
