//! Twilio Media Streams, two-way: JSON text alone (Twilio's documentation, "Media Streams -
//! WebSocket messages").
//!
//! Numbers are texts where Twilio has them so (`sequenceNumber`, `chunk`, `timestamp`). Every
//! message but `connected` is numbered; `timestamp` is the sum of the frames, never the wall clock.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dtmf::Digit;
use ring::hmac;
use serde::Serialize;
use serde_json::json;

use crate::introduction::hex;
use crate::{
    Dialect, Effects, Encoding, Fault, Introduction, Message, Notice, Reached, Secret, payload,
    wish,
};

/// Length of a frame, which `timestamp` counts.
const FRAME_MS: u64 = 20;

/// One stream to an engine that expects Twilio.
pub struct Twilio {
    introduction: Introduction,
    ids: Ids,
    sequence: u64,
    chunk: u64,
}

/// How call, account and stream are written: two letters and 32 hexadecimal digits.
struct Ids {
    account: String,
    call: String,
    stream: String,
}

/// The call's id as Twilio would write it.
#[must_use]
pub fn call_sid(call: [u8; 16]) -> String {
    format!("CA{}", hex(&call))
}

/// What `X-Twilio-Signature` says of a URL: HMAC-SHA1 by the account's token, in base64 (Twilio's
/// documentation, "Webhooks security"; a stream has no parameters in its request).
#[must_use]
pub fn signature(token: &Secret, url: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.reveal());
    BASE64_STANDARD.encode(hmac::sign(&key, url.as_bytes()))
}

/// The message that there is most of, written without a tree.
#[derive(Serialize)]
struct MediaOut<'a> {
    event: &'static str,
    #[serde(rename = "sequenceNumber")]
    sequence: String,
    #[serde(rename = "streamSid")]
    stream: &'a str,
    media: MediaBody,
}

#[derive(Serialize)]
struct MediaBody {
    track: &'static str,
    chunk: String,
    timestamp: String,
    payload: String,
}

impl Twilio {
    /// A stream that has not begun.
    #[must_use]
    pub fn new(introduction: Introduction) -> Twilio {
        let account = match introduction.account.as_str() {
            "" => format!("AC{}", hex(&[0; 16])),
            account => account.to_owned(),
        };
        let call = call_sid(introduction.call);
        let stream = format!("MZ{}", hex(&introduction.stream));
        let ids = Ids { account, call, stream };
        Twilio { introduction, ids, sequence: 0, chunk: 0 }
    }

    fn number(&mut self) -> String {
        self.sequence += 1;
        self.sequence.to_string()
    }

    fn say(&mut self, mut message: serde_json::Value, effects: &mut Effects) {
        message["sequenceNumber"] = self.number().into();
        message["streamSid"] = self.ids.stream.clone().into();
        effects.send.push(Message::Text(message.to_string()));
    }
}

impl Dialect for Twilio {
    fn encoding(&self) -> Encoding {
        self.introduction.encoding
    }

    fn open(&mut self, effects: &mut Effects) {
        let connected = json!({"event": "connected", "protocol": "Call", "version": "1.0.0"});
        effects.send.push(Message::Text(connected.to_string()));
        let encoding = match self.introduction.encoding {
            Encoding::Pcmu => "audio/x-mulaw",
            Encoding::Pcma => "audio/x-alaw",
            Encoding::L16(_) => "audio/x-l16",
        };
        let start = json!({"event": "start", "start": {
            "streamSid": self.ids.stream,
            "accountSid": self.ids.account,
            "callSid": self.ids.call,
            "tracks": ["inbound"],
            "customParameters": self.introduction.parameters_and_numbers(),
            "mediaFormat": {
                "encoding": encoding,
                "sampleRate": self.introduction.encoding.rate(),
                "channels": 1,
            },
        }});
        self.say(start, effects);
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        self.chunk += 1;
        let media = MediaBody {
            track: "inbound",
            chunk: self.chunk.to_string(),
            timestamp: ((self.chunk - 1) * FRAME_MS).to_string(),
            payload: payload::encode(frame),
        };
        let sequence = self.number();
        let message = MediaOut { event: "media", sequence, stream: &self.ids.stream, media };
        // Texts and numbers alone: nothing that JSON could not have.
        let text = serde_json::to_string(&message).unwrap_or_default();
        effects.send.push(Message::Text(text));
    }

    fn key(&mut self, key: Digit, effects: &mut Effects) {
        let digit = char::from(key.to_ascii()).to_string();
        let dtmf = json!({"track": "inbound_track", "digit": digit});
        self.say(json!({"event": "dtmf", "dtmf": dtmf}), effects);
    }

    fn marked(&mut self, name: &str, reached: Reached, effects: &mut Effects) {
        // The same message for both: what was cleared counts as over.
        let (Reached::Played | Reached::Cleared) = reached;
        self.say(json!({"event": "mark", "mark": {"name": name}}), effects);
    }

    fn notice(&mut self, notice: Notice, effects: &mut Effects) {
        if let Some(secure) = notice.secure().filter(|_| self.introduction.tells_secure) {
            self.say(json!({"event": "secure", "secure": secure}), effects);
        }
    }

    fn end(&mut self, effects: &mut Effects) {
        let stop = json!({"accountSid": self.ids.account, "callSid": self.ids.call});
        self.say(json!({"event": "stop", "stop": stop}), effects);
    }

    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault> {
        wish::hear(message, self.introduction.encoding, effects)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dtmf::Digit;
    use serde_json::{Value, json};

    use super::{Twilio, signature};
    use crate::{
        Act, Dialect, Effects, Encoding, Fault, Introduction, Message, Notice, Reached, Secret,
    };

    fn stream(tells_secure: bool) -> Twilio {
        Twilio::new(Introduction {
            call: [0xab; 16],
            stream: [0x01; 16],
            account: String::new(),
            from: "+15550100".to_owned(),
            to: String::new(),
            parameters: BTreeMap::from([("tenant".to_owned(), "a".to_owned())]),
            encoding: Encoding::Pcmu,
            tells_secure,
        })
    }

    fn said(mut step: impl FnMut(&mut Effects)) -> Vec<Value> {
        let mut effects = Effects::default();
        step(&mut effects);
        let json = |message| match message {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            Message::Binary(_) => panic!("text alone"),
        };
        effects.send.into_iter().map(json).collect()
    }

    fn heard(text: &str) -> Result<Vec<Act>, Fault> {
        let mut effects = Effects::default();
        stream(false).hear(&Message::Text(text.to_owned()), &mut effects)?;
        Ok(effects.acts)
    }

    #[test]
    fn a_stream_is_told_as_twilio_tells_it() {
        let mut stream = stream(false);
        let sid = "MZ01010101010101010101010101010101";
        let opened = said(|effects| stream.open(effects));
        assert_eq!(
            opened[0],
            json!({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        );
        assert_eq!(
            opened[1],
            json!({"event": "start", "sequenceNumber": "1", "streamSid": sid, "start": {
                "streamSid": sid,
                "accountSid": "AC00000000000000000000000000000000",
                "callSid": "CAabababababababababababababababab",
                "tracks": ["inbound"],
                "customParameters": {"tenant": "a", "from_number": "+15550100"},
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            }})
        );
        said(|effects| stream.audio(&[0xff; 160], effects));
        let second = said(|effects| stream.audio(&[0xff; 3], effects));
        assert_eq!(
            second,
            [json!({"event": "media", "sequenceNumber": "3", "streamSid": sid, "media": {
                "track": "inbound", "chunk": "2", "timestamp": "20", "payload": "////",
            }})]
        );
        let five = Digit::from_ascii(b'5').unwrap();
        assert_eq!(
            said(|effects| stream.key(five, effects)),
            [json!({"event": "dtmf", "sequenceNumber": "4", "streamSid": sid,
                "dtmf": {"track": "inbound_track", "digit": "5"}})]
        );
        assert_eq!(
            said(|effects| stream.marked("m", Reached::Cleared, effects)),
            [json!({"event": "mark", "sequenceNumber": "5", "streamSid": sid,
                "mark": {"name": "m"}})]
        );
        let stop = said(|effects| stream.end(effects));
        assert_eq!(stop[0]["stop"]["callSid"], "CAabababababababababababababababab");
    }

    #[test]
    fn what_an_engine_may_send_is_understood() {
        let media = r#"{"event":"media","media":{"payload":"////"}}"#;
        assert!(matches!(&heard(media).unwrap()[..], [Act::Play(octets)] if octets == &[0xff; 3]));
        let mark = r#"{"event":"mark","streamSid":"MZ","mark":{"name":"x"}}"#;
        assert!(matches!(&heard(mark).unwrap()[..], [Act::Mark(name)] if name == "x"));
        assert!(matches!(heard(r#"{"event":"clear"}"#).unwrap()[..], [Act::Clear]));
        assert!(heard(r#"{"event":"greeting","more":[1]}"#).unwrap().is_empty());
    }

    #[test]
    fn what_it_may_not_is_refused() {
        let fault = |text: &str| heard(text).err();
        assert_eq!(fault("hello"), Some(Fault::Malformed));
        assert_eq!(fault(r#"{"event":"media"}"#), Some(Fault::Malformed));
        let not_base64 = r#"{"event":"media","media":{"payload":"?"}}"#;
        assert_eq!(fault(not_base64), Some(Fault::BadAudio));
        let long = format!(r#"{{"event":"mark","mark":{{"name":"{}"}}}}"#, "x".repeat(257));
        assert_eq!(fault(&long), Some(Fault::LongMark));
        let octets = Message::Binary(Vec::new());
        let refused = stream(false).hear(&octets, &mut Effects::default());
        assert_eq!(refused, Err(Fault::WrongKind));
    }

    #[test]
    fn of_a_session_it_is_told_only_if_it_wants_to_be() {
        let notice = |tells| said(|effects| stream(tells).notice(Notice::SecureStarted, effects));
        assert!(notice(false).is_empty());
        assert_eq!(notice(true)[0]["secure"], json!({"state": "started"}));
    }

    #[test]
    fn a_signature_is_an_hmac_of_the_url() {
        // By `printf URL | openssl dgst -sha1 -hmac 12345 -binary | base64`.
        let signed = signature(&Secret::new(b"12345"), "wss://example.com/media");
        assert_eq!(signed, "7PR3qMkpDyEJtMrVOY/LDyNq8J8=");
    }
}
