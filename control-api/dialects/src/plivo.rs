//! Plivo audio streaming, two-way: JSON text alone (Plivo's documentation, "Audio Streaming
//! Protocol Reference").
//!
//! There is no message before `start`, and numbers are numbers; but `timestamp` is a text, of the
//! stream's own milliseconds here and not of the time of day. A checkpoint that is thrown away is
//! not told, as `clearedAudio` says it all; unless the engine didn't ask for that.

use dtmf::Digit;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::introduction::uuid;
use crate::{
    Act, Dialect, Effects, Encoding, Fault, Introduction, MAX_MARK, Message, Notice, Reached,
    payload,
};

/// Length of a frame, which `timestamp` counts.
const FRAME_MS: u64 = 20;
/// Keys that an engine sends at once: longer than a card's number, and than a telephone's.
const MAX_KEYS: usize = 32;

/// One stream to an engine that expects Plivo.
pub struct Plivo {
    introduction: Introduction,
    stream: String,
    headers: String,
    sequence: u64,
    chunk: u64,
    is_clearing: bool,
}

/// A message of an engine. What it has besides is not looked at.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
enum Heard {
    PlayAudio {
        media: Media,
    },
    Checkpoint {
        name: String,
    },
    ClearAudio,
    #[serde(rename = "sendDTMF")]
    SendDtmf {
        dtmf: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Media {
    content_type: String,
    sample_rate: u32,
    payload: String,
}

/// The message that there is most of, written without a tree.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MediaOut<'a> {
    event: &'static str,
    sequence_number: u64,
    stream_id: &'a str,
    media: MediaBody,
    #[serde(rename = "extra_headers")]
    headers: &'a str,
}

#[derive(Serialize)]
struct MediaBody {
    track: &'static str,
    timestamp: String,
    chunk: u64,
    payload: String,
}

impl Plivo {
    /// A stream that has not begun.
    #[must_use]
    pub fn new(introduction: Introduction) -> Plivo {
        let stream = uuid(introduction.stream);
        let headers = extra_headers(&introduction);
        Plivo { introduction, stream, headers, sequence: 0, chunk: 0, is_clearing: false }
    }

    fn number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn say(&mut self, mut message: Value, effects: &mut Effects) {
        message["sequenceNumber"] = self.number().into();
        effects.send.push(Message::Text(message.to_string()));
    }

    /// Sound must be what the stream is: another would be played at the wrong speed, or as noise.
    fn play(&self, media: &Media) -> Result<Act, Fault> {
        let encoding = self.introduction.encoding;
        if media.content_type != content_type(encoding) {
            return Err(Fault::BadAudio);
        }
        if media.sample_rate != encoding.rate() {
            return Err(Fault::WrongRate);
        }
        payload::decode(&media.payload, encoding).map(Act::Play)
    }
}

const fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Pcmu => "audio/x-mulaw",
        Encoding::Pcma => "audio/x-alaw",
        Encoding::L16(_) => "audio/x-l16",
    }
}

/// The parameters as one text. What would be read as two of them is left out.
fn extra_headers(introduction: &Introduction) -> String {
    let parameters = introduction.parameters_and_numbers();
    let is_plain = |text: &str| !text.contains([';', '=']);
    let plain = parameters.iter().filter(|(name, value)| is_plain(name) && is_plain(value));
    plain.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(";")
}

fn keys(dtmf: &str) -> Result<Vec<Act>, Fault> {
    if dtmf.len() > MAX_KEYS {
        return Err(Fault::Malformed);
    }
    let key = |character| Digit::from_ascii(character).map(Act::SendKey).ok_or(Fault::Malformed);
    dtmf.bytes().map(key).collect()
}

impl Dialect for Plivo {
    fn encoding(&self) -> Encoding {
        self.introduction.encoding
    }

    fn open(&mut self, effects: &mut Effects) {
        let start = json!({"event": "start", "extra_headers": self.headers, "start": {
            "callId": uuid(self.introduction.call),
            "streamId": self.stream,
            "accountId": self.introduction.account,
            "tracks": ["inbound"],
            "mediaFormat": {
                "encoding": content_type(self.introduction.encoding),
                "sampleRate": self.introduction.encoding.rate(),
            },
        }});
        self.say(start, effects);
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        self.chunk += 1;
        let media = MediaBody {
            track: "inbound",
            timestamp: ((self.chunk - 1) * FRAME_MS).to_string(),
            chunk: self.chunk,
            payload: payload::encode(frame),
        };
        let sequence_number = self.number();
        let (stream_id, headers) = (self.stream.as_str(), self.headers.as_str());
        let message = MediaOut { event: "media", sequence_number, stream_id, media, headers };
        // Texts and numbers alone: nothing that JSON could not have.
        let text = serde_json::to_string(&message).unwrap_or_default();
        effects.send.push(Message::Text(text));
    }

    fn key(&mut self, key: Digit, effects: &mut Effects) {
        let dtmf = json!({
            "track": "inbound",
            "digit": char::from(key.to_ascii()).to_string(),
            "timestamp": (self.chunk * FRAME_MS).to_string(),
        });
        let (stream, headers) = (&self.stream, &self.headers);
        let message =
            json!({"event": "dtmf", "streamId": stream, "dtmf": dtmf, "extra_headers": headers});
        self.say(message, effects);
    }

    fn marked(&mut self, name: &str, reached: Reached, effects: &mut Effects) {
        if reached == Reached::Played || !self.is_clearing {
            let message = json!({"event": "playedStream", "streamId": self.stream, "name": name});
            self.say(message, effects);
        }
    }

    fn cleared(&mut self, _: u64, effects: &mut Effects) {
        if std::mem::take(&mut self.is_clearing) {
            self.say(json!({"event": "clearedAudio", "streamId": self.stream}), effects);
        }
    }

    fn notice(&mut self, notice: Notice, effects: &mut Effects) {
        if let Some(secure) = notice.secure().filter(|_| self.introduction.tells_secure) {
            let message = json!({"event": "secure", "streamId": self.stream, "secure": secure});
            self.say(message, effects);
        }
    }

    fn end(&mut self, _: &mut Effects) {
        // Closing the socket is all that Plivo does.
    }

    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault> {
        match payload::json(message)? {
            Heard::PlayAudio { media } => effects.acts.push(self.play(&media)?),
            Heard::Checkpoint { name } if name.len() > MAX_MARK => return Err(Fault::LongMark),
            Heard::Checkpoint { name } => effects.acts.push(Act::Mark(name)),
            Heard::ClearAudio => {
                self.is_clearing = true;
                effects.acts.push(Act::Clear);
            }
            Heard::SendDtmf { dtmf } => effects.acts.extend(keys(&dtmf)?),
            Heard::Other => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dtmf::Digit;
    use serde_json::json;

    use super::Plivo;
    use crate::testing::{act, hear, heard, introduction, said};
    use crate::{Act, Dialect, Encoding, Fault, Message, Notice, Reached};

    const STREAM: &str = "01010101-0101-0101-0101-010101010101";
    const HEADERS: &str = "from_number=+15550100;tenant=a;to_number=+15550199";

    fn stream() -> Plivo {
        Plivo::new(introduction(Encoding::Pcmu))
    }

    #[test]
    fn a_stream_is_told_as_plivo_tells_it() {
        let mut stream = stream();
        assert_eq!(
            said(|effects| stream.open(effects)),
            [json!({"event": "start", "sequenceNumber": 1, "extra_headers": HEADERS, "start": {
                "callId": "abababab-abab-abab-abab-abababababab", "streamId": STREAM,
                "accountId": "", "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
            }})]
        );
        said(|effects| stream.audio(&[0xff; 160], effects));
        assert_eq!(
            said(|effects| stream.audio(&[0xff; 3], effects)),
            [json!({"event": "media", "sequenceNumber": 3, "streamId": STREAM, "media": {
                "track": "inbound", "timestamp": "20", "chunk": 2, "payload": "////",
            }, "extra_headers": HEADERS})]
        );
        assert_eq!(
            said(|effects| stream.key(Digit::Five, effects)),
            [json!({"event": "dtmf", "sequenceNumber": 4, "streamId": STREAM, "dtmf": {
                "track": "inbound", "digit": "5", "timestamp": "40",
            }, "extra_headers": HEADERS})]
        );
        assert!(said(|effects| stream.end(effects)).is_empty());
    }

    #[test]
    fn a_parameter_that_would_be_two_is_left_out() {
        let mut introduction = introduction(Encoding::Pcmu);
        introduction.parameters.insert("a".to_owned(), "b;tenant=c".to_owned());
        assert_eq!(super::extra_headers(&introduction), HEADERS);
    }

    #[test]
    fn a_checkpoint_is_told_when_it_was_played() {
        let mut stream = stream();
        let checkpoint = r#"{"event":"checkpoint","streamId":"s","name":"c"}"#;
        assert!(matches!(act(&mut stream, checkpoint), Act::Mark(name) if name == "c"));
        let played = |number: u64| {
            json!({"event": "playedStream", "sequenceNumber": number, "streamId": STREAM,
                "name": "c"})
        };
        let told = said(|effects| stream.marked("c", Reached::Played, effects));
        assert_eq!(told, [played(1)]);
        // Thrown away by another hand than the engine's, which may wait for it.
        let told = said(|effects| stream.marked("c", Reached::Cleared, effects));
        assert_eq!(told, [played(2)]);
        assert!(said(|effects| stream.cleared(0, effects)).is_empty());
        assert!(matches!(act(&mut stream, r#"{"event":"clearAudio"}"#), Act::Clear));
        assert!(said(|effects| stream.marked("c", Reached::Cleared, effects)).is_empty());
        assert_eq!(
            said(|effects| stream.cleared(0, effects)),
            [json!({"event": "clearedAudio", "sequenceNumber": 3, "streamId": STREAM})]
        );
    }

    #[test]
    fn sound_and_keys_of_an_engine_are_understood() {
        let play = r#"{"event":"playAudio","media":
            {"contentType":"audio/x-mulaw","sampleRate":8000,"payload":"////"}}"#;
        assert!(matches!(act(&mut stream(), play), Act::Play(octets) if octets == [0xff; 3]));
        let keys = heard(&mut stream(), r#"{"event":"sendDTMF","dtmf":"1#"}"#);
        let acts = keys.unwrap_or_default().acts;
        let [Act::SendKey(one), Act::SendKey(pound)] = acts[..] else { panic!("two keys") };
        assert!(one == Digit::One && pound == Digit::Pound);
        assert!(heard(&mut stream(), r#"{"event":"greeting"}"#).is_ok());
    }

    #[test]
    fn what_an_engine_may_not_send_is_refused() {
        let fault = |text: &str| heard(&mut stream(), text).err();
        let play = |kind: &str, rate: u32, payload: &str| {
            let media = json!({"contentType": kind, "sampleRate": rate, "payload": payload});
            fault(&json!({"event": "playAudio", "media": media}).to_string())
        };
        assert_eq!(play("audio/x-l16", 8000, "////"), Some(Fault::BadAudio));
        assert_eq!(play("audio/x-mulaw", 16_000, "////"), Some(Fault::WrongRate));
        assert_eq!(play("audio/x-mulaw", 8000, "?"), Some(Fault::BadAudio));
        assert_eq!(fault("hello"), Some(Fault::Malformed));
        assert_eq!(fault(r#"{"event":"sendDTMF","dtmf":"1x"}"#), Some(Fault::Malformed));
        let many = format!(r#"{{"event":"sendDTMF","dtmf":"{}"}}"#, "1".repeat(33));
        assert_eq!(fault(&many), Some(Fault::Malformed));
        let long = format!(r#"{{"event":"checkpoint","name":"{}"}}"#, "x".repeat(257));
        assert_eq!(fault(&long), Some(Fault::LongMark));
        let octets = hear(&mut stream(), &Message::Binary(Vec::new()));
        assert_eq!(octets.err(), Some(Fault::WrongKind));
    }

    #[test]
    fn of_a_session_it_is_told_only_if_it_wants_to_be() {
        let mut stream = stream();
        assert!(said(|effects| stream.notice(Notice::SecureStarted, effects)).is_empty());
        stream.introduction.tells_secure = true;
        assert_eq!(
            said(|effects| stream.notice(Notice::SecureStarted, effects)),
            [json!({"event": "secure", "sequenceNumber": 1, "streamId": STREAM,
                "secure": {"state": "started"}})]
        );
    }
}
