//! Bodies about models: their tokens, and what their tools answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::secure_session::{ResultName, SessionView, StateName};
use crate::clock::Timestamp;

/// What a model is told of a session that passed.
pub(super) const PASSED: &str = "It passed. Tell the caller so and go on.";
/// What it is told of one that failed.
pub(super) const FAILED: &str = "It failed, and you are not told why. Do not ask the caller to say \
                                 anything of it. Offer to start again, or hand the call over to a \
                                 person.";

/// Makes a token for the model of one call.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelTokenRequest {
    /// Names of the plans that the model may start; one at least.
    #[schema(example = json!(["card-payment"]))]
    pub plans: Vec<String>,
    /// How long the token is valid, 1 to 86400 s; 3600 s unless said otherwise, and never longer
    /// than the call lives.
    #[schema(minimum = 1, maximum = 86_400)]
    pub expires_s: Option<u32>,
}

/// A token for the model of one call. It is told here and never again.
#[derive(Serialize, ToSchema)]
pub struct ModelTokenIssued {
    /// To be sent as `Authorization: Bearer`; good for `mcp_url` and nothing else.
    pub token: String,
    /// Where the call's MCP server is: streamable HTTP, without sessions.
    #[schema(example = "http://127.0.0.1:8080/v1/calls/call_0198c0f3a1b27c3e8d4f5a6b7c8d9e0f/mcp")]
    pub mcp_url: String,
    /// The plans that the model may start.
    pub plans: Vec<String>,
    /// When the token ends, UTC, if the call has not ended before.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// What a tool answers a model: where the call's last secure session stands, as an engine may know
/// it, and what to do now.
#[derive(Serialize)]
pub struct ModelAnswer {
    #[serde(flatten)]
    seen: Seen,
    /// What to do now.
    next: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Seen {
    Nothing { state: &'static str, result: Option<ResultName> },
    Session(Box<SessionView>),
}

impl ModelAnswer {
    /// What is told of a session, or of there being none. `session` is an engine's view.
    #[must_use]
    pub fn of(session: Option<SessionView>) -> ModelAnswer {
        let Some(session) = session else {
            return ModelAnswer {
                seen: Seen::Nothing { state: "none", result: None },
                next: "No secure session was started on this call. When the caller is ready, call \
                       start_secure_session.",
            };
        };
        let next = match session.standing() {
            // That a cut is held would tell when the last key was.
            (StateName::Collecting | StateName::Draining | StateName::Held, _) => {
                "The caller is keying, and you hear silence. Call wait_for_secure_result; if it \
                 goes on for minutes, hand the call over to a person."
            }
            (StateName::Ended, Some(ResultName::Pass)) => PASSED,
            (StateName::Ended, Some(ResultName::Fail) | None) => FAILED,
        };
        ModelAnswer { seen: Seen::Session(Box::new(session)), next }
    }
}
