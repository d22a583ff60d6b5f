//! Tools: the three that a model has, and the one way its words become a call of one.
//!
//! There is no free text in any argument: a plan's name is one of the token's, a time is a small
//! number, and whatever else is sent gets a fixed sentence.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use crate::plans::PlanName;

/// What the server tells a model of itself.
pub(super) const INSTRUCTIONS: &str = "\
Use these tools when the caller has to give a card number or another number that you must not \
hear. First tell the caller that they will type it on the phone's keypad and that the line is \
quiet meanwhile. Then call start_secure_session: from then on you hear only silence, and the \
caller does not hear you. Then call wait_for_secure_result until the state is `ended`: the result \
is `pass` or `fail`, and that is all you learn. Never ask the caller to say the number aloud, and \
never repeat one if they do. You cannot end a session; it ends by itself.";

/// How long a model may wait at a time: many clients give up after a minute.
pub(super) const WAIT_S: RangeInclusive<u64> = 1..=55;
/// How long it waits unless it says otherwise.
pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(25);

const START: &str = "start_secure_session";
const WAIT: &str = "wait_for_secure_result";
const READ: &str = "read_secure_state";

/// What a model asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ToolCall {
    /// Start a session with this plan.
    Start(PlanName),
    /// Wait until the session is over, so long at most.
    Wait(Duration),
    /// Read where the session stands.
    Read,
}

/// What a model asked for that it can't have. The sentences repeat nothing of what it sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// There is no such tool.
    Tool,
    /// The plan is not one of the token's, or not alone.
    Plan,
    /// The time is no whole number within bounds, or not alone.
    Time,
    /// There is something where nothing should be.
    Something,
}

impl ToolCall {
    /// Reads a call of a tool, for a token that allows `plans`.
    pub(super) fn read(
        name: &str,
        arguments: Option<&Map<String, Value>>,
        plans: &[PlanName],
    ) -> Result<ToolCall, Refused> {
        let none = Map::new();
        let arguments = arguments.unwrap_or(&none);
        match name {
            START => {
                let plan = only(arguments, "plan").and_then(Value::as_str);
                let plan = plan.and_then(|name| plans.iter().find(|plan| plan.as_str() == name));
                plan.cloned().map(ToolCall::Start).ok_or(Refused::Plan)
            }
            WAIT if arguments.is_empty() => Ok(ToolCall::Wait(DEFAULT_WAIT)),
            WAIT => {
                let seconds = only(arguments, "timeout_s").and_then(Value::as_u64);
                let seconds = seconds.filter(|seconds| WAIT_S.contains(seconds));
                seconds.map(Duration::from_secs).map(ToolCall::Wait).ok_or(Refused::Time)
            }
            READ if arguments.is_empty() => Ok(ToolCall::Read),
            READ => Err(Refused::Something),
            _ => Err(Refused::Tool),
        }
    }

    /// The tool's name.
    pub(super) const fn tool(&self) -> &'static str {
        match self {
            ToolCall::Start(_) => START,
            ToolCall::Wait(_) => WAIT,
            ToolCall::Read => READ,
        }
    }

    /// The plan, if the call names one.
    pub(super) fn plan(&self) -> Option<&str> {
        match self {
            ToolCall::Start(plan) => Some(plan.as_str()),
            ToolCall::Wait(_) | ToolCall::Read => None,
        }
    }
}

impl Refused {
    /// What the model is told.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Refused::Tool => {
                "There is no such tool. There are start_secure_session, wait_for_secure_result \
                 and read_secure_state."
            }
            Refused::Plan => {
                "start_secure_session takes `plan` and nothing else; it must be one of the names \
                 that the tool's schema lists."
            }
            Refused::Time => {
                "wait_for_secure_result takes `timeout_s`, a whole number from 1 to 55, or nothing."
            }
            Refused::Something => "read_secure_state takes no arguments.",
        }
    }
}

/// The one argument there is, if it has this name.
fn only<'a>(arguments: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    arguments.get(name).filter(|_| arguments.len() == 1)
}

/// The tools as a model of a token that allows `plans` sees them.
pub(super) fn described(plans: &[PlanName]) -> Vec<Tool> {
    let names: Vec<&str> = plans.iter().map(PlanName::as_str).collect();
    let start = Tool::new(
        START,
        "Lets the caller key a number on the phone's keypad without you hearing it. When this \
         returns, you hear silence until the session has ended, and the caller does not hear you. \
         Tell the caller beforehand what to key. You learn `pass` or `fail`, never the number. \
         Calling it again while your session is in progress changes nothing.",
        object(json!({
            "type": "object",
            "properties": { "plan": {
                "type": "string", "enum": names, "description": "What the caller is to key.",
            }},
            "required": ["plan"],
            "additionalProperties": false,
        })),
    );
    let wait = Tool::new(
        WAIT,
        "Waits until the secure session has ended, or until the time is over, and tells its state \
         and result. Call it again while the state is not `ended`.",
        object(json!({
            "type": "object",
            "properties": { "timeout_s": {
                "type": "integer", "minimum": WAIT_S.start(), "maximum": WAIT_S.end(),
                "description": "Most seconds to wait; 25 unless said otherwise.",
            }},
            "additionalProperties": false,
        })),
    );
    let read = Tool::new(
        READ,
        "Tells the state and result of the last secure session of this call, at once.",
        object(json!({ "type": "object", "properties": {}, "additionalProperties": false })),
    );
    let hints = |reads: bool| {
        ToolAnnotations::new()
            .read_only(reads)
            .destructive(false)
            .idempotent(true)
            .open_world(false)
    };
    let answer = object(answer_schema());
    [(start, false), (wait, true), (read, true)]
        .into_iter()
        .map(|(tool, reads)| {
            tool.with_raw_output_schema(Arc::clone(&answer)).annotate(hints(reads))
        })
        .collect()
}

fn answer_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string", "description": "The session; absent if there was none." },
            "state": { "type": "string", "enum": ["none", "collecting", "ended"] },
            "result": { "enum": ["pass", "fail", null] },
            "next": { "type": "string", "description": "What to do now." },
        },
        "required": ["state", "result", "next"],
        "additionalProperties": false,
    })
}

fn object(value: Value) -> Arc<JsonObject> {
    match value {
        Value::Object(members) => Arc::new(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Arc::default()
        }
    }
}
