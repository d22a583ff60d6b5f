//! Problem: why a request was refused, as RFC 9457 writes it. It never repeats what was submitted.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relay::switchboard::Refusal;
use relay::wire::sdp::{SdpError, SdpRefusal};
use serde::Serialize;
use utoipa::ToSchema;

/// Seconds after which a request refused for lack of room is worth another try: ports come back
/// after their quarantine.
const RETRY_AFTER_SECONDS: u16 = 5;
/// What kind of URI names a problem; the code follows.
const TYPE_PREFIX: &str = "urn:sotto:problem:";

/// What went wrong, as a program can tell it. One row of [`Code::row`] each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// The body is not JSON, or not of the shape the operation takes.
    MalformedBody,
    /// The SDP offer cannot be read.
    MalformedSdp,
    /// A query parameter or header cannot be read.
    MalformedParameter,
    /// No key, or not a valid one.
    Unauthenticated,
    /// The key does not allow the operation.
    Forbidden,
    /// No such path.
    NotFound,
    /// No such call.
    CallNotFound,
    /// The call has had no secure session, or none is in progress.
    SecureSessionNotFound,
    /// The call has no recording.
    RecordingNotFound,
    /// The call's engine is no echo.
    HearingNotFound,
    /// Nothing was sealed for the call.
    SealedDataNotFound,
    /// There is no such webhook delivery.
    DeliveryNotFound,
    /// There is no such API key.
    KeyNotFound,
    /// The API key is over.
    KeyIsOver,
    /// Nobody could manage keys any more.
    LastKey,
    /// The recording's key was destroyed.
    RecordingErased,
    /// The recording is still being made.
    RecordingInProgress,
    /// The call's one recording was stopped.
    RecordingStopped,
    /// The recording is no longer what was written.
    RecordingDamaged,
    /// The key that seals the recording is not there.
    RecordingKeyMissing,
    /// The path does not know the method.
    MethodNotAllowed,
    /// The body took too long to arrive.
    RequestTimeout,
    /// Another secure session is in progress.
    SessionInProgress,
    /// The secure session takes no such step now.
    CaptureRefused,
    /// The call is cut.
    CallIsCut,
    /// The call is over.
    CallEnded,
    /// Another live call has the external id.
    ExternalIdInUse,
    /// A request with the same idempotency key is in flight.
    IdempotencyKeyInUse,
    /// The sealed data has been given out.
    SealedDataFetched,
    /// Nobody fetched the sealed data in time.
    SealedDataExpired,
    /// The body is longer than any that is read.
    BodyTooLarge,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// The body was understood, but asks for what cannot be.
    InvalidRequest,
    /// The SDP offer was understood, but no call can come of it.
    SdpNotAcceptable,
    /// The idempotency key was used with another body.
    IdempotencyKeyReused,
    /// Too many event streams are open.
    TooManyStreams,
    /// An address or a key asks too often, or has failed too often.
    TooManyRequests,
    /// Too many requests wait for the end of a secure session.
    TooManyWaits,
    /// A fault of ours.
    Internal,
    /// No call, port, memory or queue space is free.
    NoCapacity,
    /// The engine could not be connected to.
    EngineUnreachable,
    /// The relay is stopping.
    Stopping,
    /// What must be in the audit log can't be written there.
    AuditUnavailable,
}

impl Code {
    /// Every code, for the documentation and its tests.
    pub const ALL: [Code; 43] = [
        Code::MalformedBody,
        Code::MalformedSdp,
        Code::MalformedParameter,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::NotFound,
        Code::CallNotFound,
        Code::SecureSessionNotFound,
        Code::RecordingNotFound,
        Code::HearingNotFound,
        Code::SealedDataNotFound,
        Code::DeliveryNotFound,
        Code::KeyNotFound,
        Code::KeyIsOver,
        Code::LastKey,
        Code::RecordingErased,
        Code::RecordingInProgress,
        Code::RecordingStopped,
        Code::RecordingDamaged,
        Code::RecordingKeyMissing,
        Code::MethodNotAllowed,
        Code::RequestTimeout,
        Code::SessionInProgress,
        Code::CaptureRefused,
        Code::CallIsCut,
        Code::CallEnded,
        Code::ExternalIdInUse,
        Code::IdempotencyKeyInUse,
        Code::SealedDataFetched,
        Code::SealedDataExpired,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::InvalidRequest,
        Code::SdpNotAcceptable,
        Code::IdempotencyKeyReused,
        Code::TooManyStreams,
        Code::TooManyRequests,
        Code::TooManyWaits,
        Code::Internal,
        Code::NoCapacity,
        Code::EngineUnreachable,
        Code::Stopping,
        Code::AuditUnavailable,
    ];

    /// Status, code and title: the one table of errors.
    #[must_use]
    pub const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Code::MalformedBody => (400, "malformed-body", "The body cannot be read"),
            Code::MalformedSdp => (400, "malformed-sdp", "The SDP offer cannot be read"),
            Code::MalformedParameter => (400, "malformed-parameter", "A parameter cannot be read"),
            Code::Unauthenticated => (401, "unauthenticated", "A valid API key is needed"),
            Code::Forbidden => (403, "forbidden", "The API key does not allow this"),
            Code::NotFound => (404, "not-found", "There is nothing at this path"),
            Code::CallNotFound => (404, "call-not-found", "There is no such call"),
            Code::SecureSessionNotFound => {
                (404, "secure-session-not-found", "There is no such secure session")
            }
            Code::RecordingNotFound => (404, "recording-not-found", "There is no such recording"),
            Code::HearingNotFound => {
                (404, "hearing-not-found", "The call's engine tells nobody what it hears")
            }
            Code::SealedDataNotFound => (404, "sealed-data-not-found", "There is no sealed data"),
            Code::DeliveryNotFound => {
                (404, "webhook-delivery-not-found", "There is no such webhook delivery")
            }
            Code::KeyNotFound => (404, "key-not-found", "There is no such API key"),
            Code::KeyIsOver => (409, "key-is-over", "The API key is expired or revoked"),
            Code::LastKey => (409, "last-key", "This is the last key that manages keys"),
            Code::RecordingErased => (410, "recording-erased", "The recording was erased"),
            Code::RecordingInProgress => {
                (409, "recording-in-progress", "The recording is still being made")
            }
            Code::RecordingStopped => (409, "recording-stopped", "The recording was stopped"),
            Code::RecordingDamaged => (500, "recording-damaged", "The recording was altered"),
            Code::RecordingKeyMissing => {
                (503, "recording-key-missing", "The key that seals the recording is not there")
            }
            Code::MethodNotAllowed => (405, "method-not-allowed", "The path knows no such method"),
            Code::RequestTimeout => (408, "request-timeout", "The body took too long to arrive"),
            Code::SessionInProgress => {
                (409, "session-in-progress", "A secure session is in progress on this call")
            }
            Code::CaptureRefused => {
                (409, "capture-refused", "The secure session takes no such step now")
            }
            Code::CallIsCut => (409, "call-is-cut", "The call is cut"),
            Code::CallEnded => (409, "call-ended", "The call is over"),
            Code::ExternalIdInUse => (409, "external-id-in-use", "A call has this external id"),
            Code::IdempotencyKeyInUse => {
                (409, "idempotency-key-in-use", "A request with this key is in flight")
            }
            Code::SealedDataFetched => (410, "sealed-data-fetched", "The sealed data was fetched"),
            Code::SealedDataExpired => (410, "sealed-data-expired", "The sealed data has expired"),
            Code::BodyTooLarge => (413, "body-too-large", "The body is too large"),
            Code::UnsupportedMediaType => {
                (415, "unsupported-media-type", "The body is of another type than this takes")
            }
            Code::InvalidRequest => (422, "invalid-request", "The request asks for what cannot be"),
            Code::SdpNotAcceptable => {
                (422, "sdp-not-acceptable", "No call can come of the SDP offer")
            }
            Code::IdempotencyKeyReused => {
                (422, "idempotency-key-reused", "The key was used with another body")
            }
            Code::TooManyStreams => (429, "too-many-streams", "Too many event streams are open"),
            Code::TooManyRequests => (429, "too-many-requests", "Too many requests"),
            Code::TooManyWaits => (429, "too-many-waits", "Too many requests are waiting"),
            Code::Internal => (500, "internal", "The relay failed to do this"),
            Code::NoCapacity => (503, "no-capacity", "The relay has no room for this now"),
            Code::EngineUnreachable => (502, "engine-unreachable", "The engine is not reached"),
            Code::Stopping => (503, "stopping", "The relay is stopping"),
            Code::AuditUnavailable => (503, "audit-unavailable", "The audit log can't be written"),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// One place in a request and what is wrong there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Fault {
    /// A JSON pointer (RFC 6901) into the body; empty for the body as a whole.
    pub pointer: String,
    /// What is wrong, in words that repeat nothing of the body.
    pub detail: Cow<'static, str>,
}

/// A refusal on its way to the client; [`Problem::body`] completes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// What went wrong.
    pub code: Code,
    detail: Cow<'static, str>,
    errors: Vec<Fault>,
}

/// A problem as it is sent: `application/problem+json` (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct ProblemBody {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    kind: String,
    /// The kind of problem in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request, and what to do.
    detail: Cow<'static, str>,
    /// A URI that names this occurrence.
    instance: String,
    /// The kind of problem for programs.
    code: &'static str,
    /// Where in the body the mistakes are.
    errors: Vec<Fault>,
    /// The request, as the log names it.
    request_id: String,
}

impl Problem {
    /// A problem with a sentence about this occurrence.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { code, detail: detail.into(), errors: Vec::new() }
    }

    /// The same, pointing into the body.
    #[must_use]
    pub fn at(
        mut self,
        pointer: impl Into<String>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Problem {
        self.errors.push(Fault { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// A mistake at one place of an understood body.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(Code::InvalidRequest, "See errors for what to change.").at(pointer, detail)
    }

    /// Where in the request the mistakes are.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.errors
    }

    /// What is wrong, in one sentence, for protocols that have no more room.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self.errors.first() {
            Some(Fault { pointer, detail }) if pointer.is_empty() => detail.to_string(),
            Some(Fault { pointer, detail }) => format!("{pointer}: {detail}"),
            None => self.detail.to_string(),
        }
    }

    /// The sentence about this occurrence.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// A fault of ours; its cause goes to the log, not to the client.
    #[must_use]
    pub fn internal() -> Problem {
        Problem::new(Code::Internal, "Nothing is known to have changed. The log has the cause.")
    }

    /// An SDP offer that cannot be read; the sentence holds a line number at most.
    #[must_use]
    pub fn malformed_sdp(pointer: &'static str, error: SdpError) -> Problem {
        Problem::new(Code::MalformedSdp, error.to_string()).at(pointer, error.to_string())
    }

    /// An SDP offer that no call can come of.
    #[must_use]
    pub fn refused_sdp(pointer: &'static str, refusal: SdpRefusal) -> Problem {
        Problem::new(Code::SdpNotAcceptable, refusal.to_string()).at(pointer, refusal.to_string())
    }

    /// What is sent for a request named `request_id`.
    #[must_use]
    pub fn body(&self, request_id: &str) -> ProblemBody {
        let (status, code, title) = self.code.row();
        ProblemBody {
            kind: format!("{TYPE_PREFIX}{code}"),
            title,
            status,
            detail: self.detail.clone(),
            instance: format!("urn:sotto:request:{request_id}"),
            code,
            errors: self.errors.clone(),
            request_id: request_id.to_owned(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let code = match refusal {
            // Handlers name calls that were open once.
            Refusal::UnknownCall => Code::CallEnded,
            Refusal::SessionInProgress => Code::SessionInProgress,
            Refusal::NoSession => Code::SecureSessionNotFound,
            Refusal::Capture(_) => Code::CaptureRefused,
            Refusal::CallIsCut | Refusal::CallerStays => Code::CallIsCut,
            Refusal::RecordingOver => Code::RecordingStopped,
            Refusal::NotRecorded => Code::RecordingNotFound,
            Refusal::NoAddressFamily => Code::SdpNotAcceptable,
            Refusal::CallIsArmed | Refusal::NotListening | Refusal::TooManyKeys => {
                Code::InvalidRequest
            }
            Refusal::NoLockedMemory
            | Refusal::Full
            | Refusal::NoPort
            | Refusal::BindFailed
            | Refusal::Busy
            | Refusal::NoRecording
            | Refusal::NotSettled => Code::NoCapacity,
            Refusal::Stopping => Code::Stopping,
            Refusal::TooManySubscriptions | Refusal::NoSubscription => Code::InvalidRequest,
            Refusal::DuplicateCall => Code::Internal,
        };
        let advice = match refusal {
            Refusal::SessionInProgress => ": GET it to see where it stands",
            Refusal::CallIsCut => ": wait until the secure session has ended",
            Refusal::CallIsArmed => {
                ": its engine hears nothing but the caller then; disarm it, or play it before"
            }
            Refusal::NotListening => ": wait until it has answered, or has ended its hold",
            Refusal::TooManyKeys => ": wait until those before are pressed",
            Refusal::CallerStays => {
                ": who re-offers it is known by its tags alone, which the engine knows too; move it by \
                 REST, or wait until the session has ended"
            }
            Refusal::NoPort => ": each call takes four ports of media.ports",
            Refusal::NoAddressFamily => ": give --media-ip a second time",
            Refusal::NoRecording => ": the disk refused, or recordings are off",
            Refusal::RecordingOver => ": pause a recording that is to go on in the same call",
            Refusal::NotRecorded => ": start the recording first",
            Refusal::Full | Refusal::Busy => ": try again later",
            Refusal::NotSettled => ": end the call, or cancel the session as an operator",
            Refusal::TooManySubscriptions => ": unsubscribe another one first",
            Refusal::NoSubscription => ": ask for it anew",
            Refusal::UnknownCall
            | Refusal::Capture(_)
            | Refusal::NoSession
            | Refusal::NoLockedMemory
            | Refusal::BindFailed
            | Refusal::Stopping
            | Refusal::DuplicateCall => "",
        };
        Problem::new(code, format!("{refusal}{advice}"))
    }
}

impl IntoResponse for Problem {
    /// The answer without its body: the request's id, which the body names, is known to the
    /// outermost layer alone, and that layer writes the body.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(
            self.code,
            Code::NoCapacity | Code::TooManyStreams | Code::TooManyWaits | Code::Stopping
        ) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        if self.code == Code::TooManyRequests {
            // Whoever is locked out is told how long.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Code;

    #[test]
    fn codes_are_distinct_and_have_an_error_status() {
        let mut seen = HashSet::new();
        for code in Code::ALL {
            let (status, word, title) = code.row();
            assert!((400..=599).contains(&status), "{word}");
            assert!(seen.insert(word), "{word} stands twice");
            assert!(!title.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
        }
    }
}
