//! Bodies of the tool for AI platforms: flat JSON of strings, in and out.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::model::{FAILED, PASSED};
use super::secure_session::ResultName;
use crate::problem::Problem;
use crate::story::{SessionRecord, SessionState};
use crate::wait::WAIT_S;

/// How long a request waits unless it says otherwise; many platforms give up after 30 s.
const DEFAULT_WAIT: Duration = Duration::from_secs(25);
/// What a model is told while the caller keys.
const RUNNING: &str = "The caller is keying on the phone's keypad, and you hear silence. Call this \
                       tool again with the same values until the result is `pass` or `fail`; if \
                       that goes on for minutes, hand the call over to a person.";

/// What a model's tool asks for. Every member is a string.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolRequest {
    /// The call: its `external_id`, its id, or the CallSid or UUID that its engine was told.
    #[schema(example = "a84b4c76e66710@192.0.2.4")]
    pub call: String,
    /// The plan's name in the configuration.
    #[schema(example = "card-payment")]
    pub plan: String,
    /// Most seconds to wait for the result, `0` to `300`; 25 unless said otherwise. Choose less than
    /// the time after which your platform gives up.
    #[schema(value_type = Option<String>, example = "25")]
    wait: Option<Seconds>,
}

/// A number, in a string or, since some templates can't write that, as it is.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Text(String),
    Number(u64),
}

impl ToolRequest {
    /// How long to wait; `None` for not at all. What is empty was left away.
    ///
    /// # Errors
    /// A problem for what is no number within bounds.
    pub fn wait(&self) -> Result<Option<Duration>, Problem> {
        let seconds = match &self.wait {
            None => return Ok(Some(DEFAULT_WAIT)),
            Some(Seconds::Text(text)) if text.is_empty() => return Ok(Some(DEFAULT_WAIT)),
            Some(Seconds::Text(text)) => text.parse().ok(),
            Some(Seconds::Number(number)) => Some(*number),
        };
        match seconds {
            Some(0) => Ok(None),
            Some(seconds) if WAIT_S.contains(&seconds) => Ok(Some(Duration::from_secs(seconds))),
            Some(_) | None => {
                Err(Problem::invalid("/wait", "must be a number of seconds, \"0\" to \"300\""))
            }
        }
    }
}

/// What a model's tool is answered. Every member is a string, and none tells more than an engine's
/// key may know.
#[derive(Serialize, ToSchema)]
pub struct ToolAnswer {
    /// `pass`, `fail` or `running`.
    #[schema(example = "pass")]
    result: &'static str,
    /// What that means and what to do, for a model.
    #[schema(example = "It passed. Tell the caller so and go on.")]
    say: &'static str,
}

impl ToolAnswer {
    /// What is told of a session. One that another has replaced was lost, and lost is failed.
    #[must_use]
    pub fn of(session: Option<SessionRecord>) -> ToolAnswer {
        // While the cut holds it runs: the moment of the verdict is the moment of the last key.
        let running = session.filter(|session| session.state != SessionState::Ended);
        let result = ResultName::of(session.and_then(|session| session.verdict));
        match (running, result) {
            (Some(_), _) => ToolAnswer { result: "running", say: RUNNING },
            (None, ResultName::Pass) => ToolAnswer { result: result.as_str(), say: PASSED },
            (None, ResultName::Fail) => ToolAnswer { result: result.as_str(), say: FAILED },
        }
    }

    /// `pass`, `fail` or `running`.
    #[must_use]
    pub fn result(&self) -> &'static str {
        self.result
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.say != RUNNING
    }
}
