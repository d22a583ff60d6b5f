//! Said: the client's events, as JSON.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::payments::COLLECT;
use crate::{Encoding, Introduction, Model, Turns};

/// The id of the event that says how sound is encoded. Without it nothing could be understood.
pub(super) const SESSION_EVENT: &str = "session";
/// The event that there is most of, written without a tree.
#[derive(Serialize)]
pub(super) struct Append {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) audio: String,
}

/// All that a model is told to be.
pub(super) fn session(introduction: &Introduction, model: &Model) -> Value {
    let parameter = |name: &str, or: &Option<String>| {
        introduction.parameters.get(name).or(or.as_ref()).cloned()
    };
    let format = format(introduction.encoding);
    let mut output = json!({"format": format});
    if let Some(voice) = parameter("voice", &model.voice) {
        output["voice"] = voice.into();
    }
    let mut session = json!({
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {"format": format, "turn_detection": turn_detection(model.turns)},
            "output": output,
        },
    });
    if let Some(instructions) = parameter("instructions", &model.instructions) {
        session["instructions"] = instructions.into();
    }
    if let Some(plans) = &model.plans {
        session["tools"] = json!([tool(plans)]);
        session["tool_choice"] = "auto".into();
    }
    json!({"type": "session.update", "event_id": SESSION_EVENT, "session": session})
}

fn format(encoding: Encoding) -> Value {
    match encoding {
        Encoding::Pcmu => json!({"type": "audio/pcmu"}),
        Encoding::Pcma => json!({"type": "audio/pcma"}),
        Encoding::L16(rate) => json!({"type": "audio/pcm", "rate": rate}),
    }
}

fn turn_detection(turns: Turns) -> Value {
    match turns {
        Turns::Silence => json!({"type": "server_vad"}),
        Turns::Meaning => json!({"type": "semantic_vad"}),
    }
}

/// The function and the names of the plans. Of several one must be named.
fn tool(plans: &[String]) -> Value {
    let mut properties = Map::new();
    if !plans.is_empty() {
        properties.insert("plan".to_owned(), json!({"type": "string", "enum": plans}));
    }
    let required: &[&str] = if plans.len() > 1 { &["plan"] } else { &[] };
    json!({
        "type": "function",
        "name": COLLECT,
        "description": "Lets the caller key in a payment on the telephone while you hear nothing. \
            Call it when the caller wants to pay, and never ask for a card yourself.",
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        },
    })
}

/// Whether the model takes turns by itself.
pub(super) fn turns(turns: Option<Turns>) -> Value {
    let turn_detection = turns.map_or(Value::Null, turn_detection);
    let audio = json!({"input": {"turn_detection": turn_detection}});
    json!({"type": "session.update", "session": {"type": "realtime", "audio": audio}})
}

/// Something written into the conversation.
pub(super) fn text(role: &str, text: &str) -> Value {
    item(&json!({
        "type": "message",
        "role": role,
        "content": [{"type": "input_text", "text": text}],
    }))
}

/// What a function has come to.
pub(super) fn output(call: &str, output: &Value) -> Value {
    let output = output.to_string();
    item(&json!({"type": "function_call_output", "call_id": call, "output": output}))
}

fn item(item: &Value) -> Value {
    json!({"type": "conversation.item.create", "item": item})
}

/// That an item was heard no further.
pub(super) fn truncate(item: &str, milliseconds: u64) -> Value {
    json!({
        "type": "conversation.item.truncate",
        "item_id": item,
        "content_index": 0,
        "audio_end_ms": milliseconds,
    })
}
