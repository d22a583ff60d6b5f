//! Testing: an introduction, and the two directions of a dialect as JSON.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Act, Dialect, Effects, Encoding, Fault, Introduction, Message};

/// A call from +15550100 to +15550199 with one parameter.
pub(crate) fn introduction(encoding: Encoding) -> Introduction {
    Introduction {
        call: [0xab; 16],
        stream: [0x01; 16],
        account: String::new(),
        from: "+15550100".to_owned(),
        to: "+15550199".to_owned(),
        parameters: BTreeMap::from([("tenant".to_owned(), "a".to_owned())]),
        encoding,
        tells_secure: false,
    }
}

/// What one step sends.
pub(crate) fn sent(step: impl FnOnce(&mut Effects)) -> Vec<Message> {
    let mut effects = Effects::default();
    step(&mut effects);
    assert!(effects.acts.is_empty(), "a step of ours asks for nothing");
    effects.send
}

/// What one step sends, all of it JSON.
pub(crate) fn said(step: impl FnOnce(&mut Effects)) -> Vec<Value> {
    sent(step).into_iter().map(json).collect()
}

/// A message's JSON.
pub(crate) fn json(message: Message) -> Value {
    match message {
        Message::Text(text) => serde_json::from_str(&text).unwrap(),
        Message::Binary(_) => panic!("octets, not text"),
    }
}

/// What comes of a text of the engine.
pub(crate) fn heard(dialect: &mut dyn Dialect, text: &str) -> Result<Effects, Fault> {
    hear(dialect, &Message::Text(text.to_owned()))
}

/// What comes of a message of the engine.
pub(crate) fn hear(dialect: &mut dyn Dialect, message: &Message) -> Result<Effects, Fault> {
    let mut effects = Effects::default();
    dialect.hear(message, &mut effects)?;
    Ok(effects)
}

/// The one thing that a text asks for.
pub(crate) fn act(dialect: &mut dyn Dialect, text: &str) -> Act {
    let mut acts = heard(dialect, text).map_err(|fault| fault.to_string()).unwrap().acts;
    assert_eq!(acts.len(), 1, "one act");
    acts.remove(0)
}
