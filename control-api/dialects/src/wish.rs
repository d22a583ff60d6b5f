//! Wish: what engines of Twilio and those of its cousins send, which is the same in all of them.

use serde::Deserialize;

use crate::{Act, Effects, Encoding, Fault, MAX_MARK, Message, payload};

/// A message of an engine. What it has besides is not looked at.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Wish {
    Media {
        media: Media,
    },
    Mark {
        mark: Mark,
    },
    Clear,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Media {
    payload: String,
}

#[derive(Deserialize)]
struct Mark {
    name: String,
}

/// Reads a message: what it asks for goes to the acts.
pub(crate) fn hear(
    message: &Message,
    encoding: Encoding,
    effects: &mut Effects,
) -> Result<(), Fault> {
    effects.acts.extend(match payload::json(message)? {
        Wish::Media { media } => Some(Act::Play(payload::decode(&media.payload, encoding)?)),
        Wish::Mark { mark } if mark.name.len() > MAX_MARK => return Err(Fault::LongMark),
        Wish::Mark { mark } => Some(Act::Mark(mark.name)),
        Wish::Clear => Some(Act::Clear),
        Wish::Other => None,
    });
    Ok(())
}
