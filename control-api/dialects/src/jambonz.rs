//! jambonz `listen` and `stream`, which are drachtio's `mod_audio_fork`: one JSON text, then
//! octets of sound and JSON between them (jambonz's documentation, "listen"; the messages that its
//! SDK for Node.js reads and writes).
//!
//! The engine may answer in either of two ways, and in both at once: it streams samples, or it
//! sends pieces in base64 (`playAudio`) that are told to be done (`playDone`). A piece must have
//! the connection's own rate ([`Fault::WrongRate`]).

use std::collections::VecDeque;

use dtmf::Digit;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::introduction::{flatten, uuid};
use crate::{
    Act, Dialect, Effects, Encoding, Fault, Introduction, MAX_MARK, Message, Notice, Reached,
    payload,
};

/// What jambonz calls itself, and what its documentation and its SDK call its protocol: an engine
/// may insist on either.
pub const SUBPROTOCOLS: &[&str] = &["audio.drachtio.org", "audio.jambonz.org"];
/// Pieces that wait or play; what comes after that is left out, as jambonz does.
const MAX_PIECES: usize = 10;
/// Marks and pieces that have not been told of: one for each frame of two minutes, which is more
/// than may wait. Of more the oldest is told to be cleared.
const MAX_WAITING: usize = 6000;
/// A key's length in samples of 8 kHz. How long it was pressed isn't known here: 200 ms.
const KEY_LENGTH: &str = "1600";

/// One connection to an engine that expects jambonz.
pub struct Jambonz {
    introduction: Introduction,
    keys: bool,
    waiting: VecDeque<(u64, Waiting)>,
    number: u64,
}

/// What the engine wants to be told of.
enum Waiting {
    Mark(String),
    Piece(Option<String>),
}

/// A message of an engine. What it has besides is not looked at.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Heard {
    PlayAudio {
        data: Piece,
    },
    KillAudio,
    Mark {
        data: Mark,
    },
    ClearMarks,
    Disconnect,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    audio_content: String,
    audio_content_type: Option<String>,
    sample_rate: Option<u32>,
    id: Option<String>,
    #[serde(default)]
    queue_play: bool,
}

#[derive(Deserialize)]
struct Mark {
    name: String,
}

impl Jambonz {
    /// A connection that has not begun. `keys` is what jambonz calls `passDtmf`.
    #[must_use]
    pub fn new(introduction: Introduction, keys: bool) -> Jambonz {
        Jambonz { introduction, keys, waiting: VecDeque::new(), number: 0 }
    }

    /// A mark of ours for something that the engine wants to be told of: its own names may be there
    /// twice, and [`Heard::ClearMarks`] takes them back.
    fn wait(&mut self, waiting: Waiting, effects: &mut Effects) {
        if self.waiting.len() >= MAX_WAITING
            && let Some((_, oldest)) = self.waiting.pop_front()
        {
            tell(&oldest, Reached::Cleared, effects);
        }
        self.number += 1;
        self.waiting.push_back((self.number, waiting));
        effects.acts.push(Act::Mark(self.number.to_string()));
    }

    fn play(&mut self, piece: Piece, effects: &mut Effects) -> Result<(), Fault> {
        let encoding = self.introduction.encoding;
        let kind = piece.audio_content_type.as_deref().unwrap_or("raw");
        let rate = piece.sample_rate.unwrap_or(encoding.rate());
        let octets = payload::piece(kind, rate, &piece.audio_content, encoding)?;
        if piece.id.as_ref().is_some_and(|id| id.len() > MAX_MARK) {
            return Err(Fault::LongMark);
        }
        if !piece.queue_play {
            effects.acts.push(Act::Clear);
        } else if self.pieces() >= MAX_PIECES {
            return Ok(());
        }
        effects.acts.push(Act::Play(octets));
        self.wait(Waiting::Piece(piece.id), effects);
        Ok(())
    }

    fn pieces(&self) -> usize {
        let is_piece = |(_, waiting): &&(u64, Waiting)| matches!(waiting, Waiting::Piece(_));
        self.waiting.iter().filter(is_piece).count()
    }

    fn clear_marks(&mut self, effects: &mut Effects) {
        self.waiting.retain(|(_, waiting)| match waiting {
            Waiting::Piece(_) => true,
            Waiting::Mark(_) => {
                tell(waiting, Reached::Cleared, effects);
                false
            }
        });
    }
}

fn tell(waiting: &Waiting, reached: Reached, effects: &mut Effects) {
    let event = match reached {
        Reached::Played => "playout",
        Reached::Cleared => "cleared",
    };
    let message = match waiting {
        Waiting::Mark(name) => json!({"type": "mark", "data": {"name": name, "event": event}}),
        // The same for both: to jambonz what was killed is done.
        Waiting::Piece(Some(id)) => json!({"type": "playDone", "data": {"id": id}}),
        Waiting::Piece(None) => json!({"type": "playDone", "data": {}}),
    };
    say(&message, effects);
}

fn say(message: &Value, effects: &mut Effects) {
    effects.send.push(Message::Text(message.to_string()));
}

impl Dialect for Jambonz {
    fn encoding(&self) -> Encoding {
        self.introduction.encoding
    }

    fn open(&mut self, effects: &mut Effects) {
        let call = uuid(self.introduction.call);
        let account = match self.introduction.account.as_str() {
            "" => uuid([0; 16]),
            account => account.to_owned(),
        };
        let metadata = json!({
            "callSid": call,
            "callId": call,
            "accountSid": account,
            "direction": "inbound",
            "from": self.introduction.from,
            "to": self.introduction.to,
            "sampleRate": self.introduction.encoding.rate(),
            "mixType": "mono",
        });
        say(&flatten(metadata, &self.introduction.parameters), effects);
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        effects.send.push(Message::Binary(frame.to_owned()));
    }

    fn key(&mut self, key: Digit, effects: &mut Effects) {
        if self.keys {
            let digit = char::from(key.to_ascii()).to_string();
            say(&json!({"event": "dtmf", "dtmf": digit, "duration": KEY_LENGTH}), effects);
        }
    }

    fn marked(&mut self, name: &str, reached: Reached, effects: &mut Effects) {
        let Ok(number) = name.parse::<u64>() else { return };
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == number);
        if let Some((_, waiting)) = at.and_then(|at| self.waiting.remove(at)) {
            tell(&waiting, reached, effects);
        }
    }

    fn notice(&mut self, notice: Notice, effects: &mut Effects) {
        if let Some(secure) = notice.secure().filter(|_| self.introduction.tells_secure) {
            say(&json!({"event": "secure", "secure": secure}), effects);
        }
    }

    fn end(&mut self, _: &mut Effects) {
        // Closing the socket is all that jambonz does.
    }

    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault> {
        if let Message::Binary(octets) = message {
            return payload::play(octets, self.introduction.encoding, effects);
        }
        match payload::json(message)? {
            Heard::PlayAudio { data } => self.play(data, effects)?,
            Heard::KillAudio => effects.acts.push(Act::Clear),
            Heard::Mark { data } if data.name.len() > MAX_MARK => return Err(Fault::LongMark),
            Heard::Mark { data } => self.wait(Waiting::Mark(data.name), effects),
            Heard::ClearMarks => self.clear_marks(effects),
            // The end of the verb; here nothing comes after it.
            Heard::Disconnect => effects.acts.push(Act::HangUp),
            Heard::Other => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dtmf::Digit;
    use serde_json::json;

    use super::{Jambonz, MAX_PIECES};
    use crate::testing::{act, hear, heard, introduction, json, said, sent};
    use crate::{Act, Dialect, Encoding, Fault, Message, Notice, Reached, Verdict};

    fn listen(keys: bool) -> Jambonz {
        Jambonz::new(introduction(Encoding::L16(8000)), keys)
    }

    fn piece(queue: bool) -> String {
        json!({"type": "playAudio", "data": {
            "audioContentType": "raw", "sampleRate": 8000, "audioContent": "AQI=",
            "id": "p", "queuePlay": queue,
        }})
        .to_string()
    }

    #[test]
    fn a_call_is_told_as_jambonz_tells_it() {
        let mut listen = listen(true);
        let uuid = "abababab-abab-abab-abab-abababababab";
        assert_eq!(
            said(|effects| listen.open(effects)),
            [json!({
                "callSid": uuid, "callId": uuid, "direction": "inbound",
                "accountSid": "00000000-0000-0000-0000-000000000000",
                "from": "+15550100", "to": "+15550199",
                "sampleRate": 8000, "mixType": "mono", "tenant": "a",
            })]
        );
        let frame = sent(|effects| listen.audio(&[1, 2], effects));
        assert!(frame == [Message::Binary(vec![1, 2])]);
        let five = Digit::from_ascii(b'5').unwrap();
        assert_eq!(
            said(|effects| listen.key(five, effects)),
            [json!({"event": "dtmf", "dtmf": "5", "duration": "1600"})]
        );
        assert!(sent(|effects| listen.end(effects)).is_empty());
    }

    #[test]
    fn keys_are_told_if_that_is_asked_for() {
        let five = Digit::from_ascii(b'5').unwrap();
        assert!(sent(|effects| listen(false).key(five, effects)).is_empty());
    }

    #[test]
    fn samples_are_played_and_marks_come_back() {
        let mut listen = listen(false);
        let played = hear(&mut listen, &Message::Binary(vec![1, 2])).unwrap_or_default().acts;
        assert!(matches!(&played[..], [Act::Play(octets)] if octets == &[1, 2]));
        let mark = r#"{"type":"mark","data":{"name":"m"}}"#;
        let Act::Mark(first) = act(&mut listen, mark) else { panic!("a mark") };
        let Act::Mark(second) = act(&mut listen, mark) else { panic!("a mark") };
        assert_eq!(
            said(|effects| listen.marked(&first, Reached::Played, effects)),
            [json!({"type": "mark", "data": {"name": "m", "event": "playout"}})]
        );
        assert!(matches!(act(&mut listen, r#"{"type":"killAudio"}"#), Act::Clear));
        assert_eq!(
            said(|effects| listen.marked(&second, Reached::Cleared, effects)),
            [json!({"type": "mark", "data": {"name": "m", "event": "cleared"}})]
        );
        assert!(matches!(act(&mut listen, r#"{"type":"disconnect"}"#), Act::HangUp));
    }

    #[test]
    fn marks_that_are_taken_back_are_told_once() {
        let mut listen = listen(false);
        let mark = r#"{"type":"mark","data":{"name":"m"}}"#;
        let Act::Mark(ours) = act(&mut listen, mark) else { panic!("a mark") };
        let cleared = heard(&mut listen, r#"{"type":"clearMarks"}"#).unwrap_or_default();
        assert!(cleared.acts.is_empty(), "what plays goes on");
        let told: Vec<_> = cleared.send.into_iter().map(json).collect();
        assert_eq!(told, [json!({"type": "mark", "data": {"name": "m", "event": "cleared"}})]);
        assert!(sent(|effects| listen.marked(&ours, Reached::Played, effects)).is_empty());
    }

    #[test]
    fn a_piece_interrupts_or_waits_and_is_told_to_be_done() {
        let mut listen = listen(false);
        let acts = heard(&mut listen, &piece(false)).unwrap_or_default().acts;
        let [Act::Clear, Act::Play(octets), Act::Mark(ours)] = &acts[..] else { panic!("three") };
        assert_eq!(octets, &[1, 2]);
        let acts = heard(&mut listen, &piece(true)).unwrap_or_default().acts;
        assert!(matches!(&acts[..], [Act::Play(_), Act::Mark(_)]));
        assert_eq!(
            said(|effects| listen.marked(ours, Reached::Cleared, effects)),
            [json!({"type": "playDone", "data": {"id": "p"}})]
        );
        for _ in 0..MAX_PIECES - 1 {
            assert!(!heard(&mut listen, &piece(true)).unwrap_or_default().acts.is_empty());
        }
        assert!(heard(&mut listen, &piece(true)).unwrap_or_default().acts.is_empty(), "enough");
    }

    #[test]
    fn what_cannot_be_played_is_refused() {
        let fault = |text: &str| heard(&mut listen(false), text).err();
        assert_eq!(fault("hello"), Some(Fault::Malformed));
        assert_eq!(fault(r#"{"type":"playAudio","data":{}}"#), Some(Fault::Malformed));
        let wide = piece(true).replace("8000", "16000");
        assert_eq!(fault(&wide), Some(Fault::WrongRate));
        assert_eq!(fault(&piece(true).replace("raw", "mp3")), Some(Fault::BadAudio));
        let long = format!(r#"{{"type":"mark","data":{{"name":"{}"}}}}"#, "x".repeat(257));
        assert_eq!(fault(&long), Some(Fault::LongMark));
        let half = hear(&mut listen(false), &Message::Binary(vec![1]));
        assert_eq!(half.err(), Some(Fault::BadAudio));
        assert!(heard(&mut listen(false), r#"{"type":"error","data":1}"#).is_ok());
    }

    #[test]
    fn of_a_session_it_is_told_only_if_it_wants_to_be() {
        let ended = Notice::SecureEnded(Verdict::Fail);
        assert!(sent(|effects| listen(false).notice(ended, effects)).is_empty());
        let mut listen = listen(false);
        listen.introduction.tells_secure = true;
        assert_eq!(
            said(|effects| listen.notice(ended, effects)),
            [json!({"event": "secure", "secure": {"state": "ended", "result": "fail"}})]
        );
    }
}
