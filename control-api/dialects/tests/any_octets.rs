//! Any octets: whatever an engine sends and in whatever order a call goes, no dialect panics, what
//! it says is JSON, and its numbers have no gap.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dialects::audiosocket::{CallerSocket, Deframer};
use dialects::{
    Act, Dialect, Effects, Encoding, Fault, Introduction, Kind, MAX_MARK, Message, Model, Notice,
    Options, Reached, Verdict,
};
use dtmf::Digit;
use proptest::prelude::*;
use serde_json::Value;

/// Something that happens to a connection.
#[derive(Clone, Debug)]
enum Step {
    Text(String),
    Octets(Vec<u8>),
    Frame,
    Key(usize),
    Marked(String),
    Cleared(u64),
    Backlog(usize),
    Notice(Notice),
    End,
}

/// Words that the dialects have, so that what is made of them gets further than the parser.
const WORDS: &[&str] = &[
    "event",
    "type",
    "action",
    "command",
    "media",
    "mark",
    "clear",
    "payload",
    "name",
    "data",
    "playAudio",
    "killAudio",
    "clearMarks",
    "disconnect",
    "checkpoint",
    "clearAudio",
    "sendDTMF",
    "dtmf",
    "notify",
    "streamAudio",
    "audioContent",
    "audioContentType",
    "audioDataType",
    "audioData",
    "contentType",
    "sampleRate",
    "audio/x-mulaw",
    "raw",
    "wav",
    "id",
    "queuePlay",
    "MARK_MEDIA",
    "STOP_MEDIA_BUFFERING",
    "START_MEDIA_BUFFERING",
    "FLUSH_MEDIA",
    "GET_STATUS",
    "REPORT_QUEUE_DRAINED",
    "SET_MEDIA_DIRECTION",
    "correlation_id",
    "direction",
    "both",
    "response.created",
    "response.done",
    "response.output_audio.delta",
    "response_id",
    "item_id",
    "delta",
    "input_audio_buffer.speech_started",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "item",
    "function_call",
    "call_id",
    "collect_payment",
    "arguments",
    "{}",
    "{\"plan\":\"a\"}",
    "response",
    "error",
    "code",
    "server_error",
    "////",
    "AQI=",
    "UklGRgAAAABXQVZF",
    "1#",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0..WORDS.len()).prop_map(|index| WORDS[index].to_owned()),
        1 => ".{0,300}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        8 => word().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => prop_oneof![Just(8000), Just(16_000), Just(24_000)].prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop::collection::btree_map(word(), inner, 1..5)
            .prop_map(|fields| Value::from(fields.into_iter().collect::<serde_json::Map<_, _>>()))
    })
}

/// Whole messages of engines, one of each.
const MESSAGES: &[&str] = &[
    r#"{"event":"media","media":{"payload":"////"}}"#,
    r#"{"event":"media","media":{"payload":"AQI="}}"#,
    r#"{"event":"mark","mark":{"name":"m"}}"#,
    r#"{"event":"clear"}"#,
    r#"{"event":"playAudio","media":{"contentType":"audio/x-mulaw","sampleRate":8000,"payload":"////"}}"#,
    r#"{"event":"checkpoint","name":"c"}"#,
    r#"{"event":"clearAudio"}"#,
    r#"{"event":"sendDTMF","dtmf":"12"}"#,
    r#"{"action":"clear"}"#,
    r#"{"action":"notify","payload":{"a":[1]}}"#,
    r#"{"type":"playAudio","data":{"audioContent":"AQI=","id":"p","queuePlay":true}}"#,
    r#"{"type":"playAudio","data":{"audioContent":"AQI="}}"#,
    r#"{"type":"mark","data":{"name":"m"}}"#,
    r#"{"type":"clearMarks"}"#,
    r#"{"type":"killAudio"}"#,
    r#"{"command":"MARK_MEDIA","correlation_id":"x"}"#,
    "STOP_MEDIA_BUFFERING x",
    "START_MEDIA_BUFFERING",
    "FLUSH_MEDIA",
    "GET_STATUS",
    "REPORT_QUEUE_DRAINED",
    r#"{"type":"response.created","response":{"id":"r"}}"#,
    r#"{"type":"response.done","response":{"id":"r"}}"#,
    r#"{"type":"response.output_audio.delta","response_id":"r","item_id":"i","delta":"//8="}"#,
    r#"{"type":"input_audio_buffer.speech_started"}"#,
    r#"{"type":"response.function_call_arguments.done","call_id":"c","name":"collect_payment","arguments":"{}"}"#,
    r#"{"type":"response.output_item.done","item":{"type":"function_call","call_id":"d","name":"collect_payment","arguments":"","status":"completed"}}"#,
    r#"{"type":"audio","audio_event":{"audio_base_64":"//8=","event_id":3}}"#,
    r#"{"type":"interruption","interruption_event":{"event_id":2}}"#,
    r#"{"type":"client_tool_call","client_tool_call":{"tool_name":"collect_payment","tool_call_id":"c"}}"#,
    r#"{"type":"UserStartedSpeaking"}"#,
    r#"{"type":"FunctionCallRequest","functions":[{"id":"c","name":"collect_payment","arguments":"{}"}]}"#,
    r#"{"type":"Welcome"}"#,
    r#"{"type":"SettingsApplied"}"#,
    r#"{"type":"ping","ping_event":{"event_id":1}}"#,
    r#"{"type":"error","error":{"type":"server_error","message":"m"}}"#,
];

fn notice() -> impl Strategy<Value = Notice> {
    prop_oneof![
        Just(Notice::SecureStarted),
        Just(Notice::SecureEnded(Verdict::Pass)),
        Just(Notice::SecureEnded(Verdict::Fail)),
        Just(Notice::NotCollected),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..MESSAGES.len()).prop_map(|index| Step::Text(MESSAGES[index].to_owned())),
        2 => value().prop_map(|value| Step::Text(value.to_string())),
        1 => ".{0,40}".prop_map(Step::Text),
        1 => prop::collection::vec(any::<u8>(), 0..50).prop_map(Step::Octets),
        1 => any::<u8>().prop_map(|kind| Step::Octets(vec![kind, 0, 2, 1, 2])),
        3 => Just(Step::Frame),
        1 => (0..16_usize).prop_map(Step::Key),
        1 => prop_oneof![Just("m:x".to_owned()), Just("1".to_owned()), ".{0,20}"]
            .prop_map(Step::Marked),
        1 => any::<u32>().prop_map(|played| Step::Cleared(played.into())),
        1 => (0..1_000_000_usize).prop_map(Step::Backlog),
        1 => notice().prop_map(Step::Notice),
        1 => Just(Step::End),
    ]
}

fn introduction(encoding: Encoding) -> Introduction {
    Introduction {
        call: [1; 16],
        stream: [2; 16],
        account: String::new(),
        from: "+15550100".to_owned(),
        to: "+15550199".to_owned(),
        parameters: BTreeMap::from([("event".to_owned(), "\"\\".to_owned())]),
        encoding,
        tells_secure: true,
    }
}

fn options() -> Options {
    let model = Model { plans: Some(vec!["a".to_owned()]), greets: true, ..Model::default() };
    Options { keys: true, plain_text: false, model }
}

/// One step; whether the connection goes on.
fn take(dialect: &mut dyn Dialect, step: &Step, effects: &mut Effects) -> bool {
    match step {
        Step::Text(text) => return dialect.hear(&Message::Text(text.clone()), effects).is_ok(),
        Step::Octets(octets) => {
            return dialect.hear(&Message::Binary(octets.clone()), effects).is_ok();
        }
        Step::Frame => {
            let octets = dialect.encoding().octets(20);
            dialect.audio(&vec![0; octets], effects);
        }
        Step::Key(index) => dialect.key(Digit::ALL[*index], effects),
        Step::Marked(name) => dialect.marked(name, Reached::Played, effects),
        Step::Cleared(played) => dialect.cleared(*played, effects),
        Step::Backlog(queued) => dialect.backlog(*queued, effects),
        Step::Notice(notice) => dialect.notice(*notice, effects),
        Step::End => dialect.end(effects),
    }
    true
}

/// What was asked for is done, as the driver does it.
fn carry_out(dialect: &mut dyn Dialect, effects: &mut Effects) {
    for act in std::mem::take(&mut effects.acts) {
        match act {
            Act::Mark(name) => {
                assert!(name.len() <= MAX_MARK);
                dialect.marked(&name, Reached::Cleared, effects);
            }
            Act::Clear => dialect.cleared(0, effects),
            Act::Play(octets) => {
                assert!(octets.len().is_multiple_of(dialect.encoding().sample()));
            }
            Act::Collect { .. } => dialect.notice(Notice::NotCollected, effects),
            Act::Pause
            | Act::Resume
            | Act::HangUp
            | Act::SendKey(_)
            | Act::Pressed(_)
            | Act::Identify(_) => {}
        }
    }
}

/// The number of a message, where this dialect has them.
fn number(message: &Value) -> Option<u64> {
    let number = message.get("sequenceNumber").or(message.get("sequence_number"))?;
    number.as_u64().or_else(|| number.as_str()?.parse().ok())
}

fn check_sent(kind: Kind, effects: &mut Effects, last: &mut u64) {
    for message in effects.send.drain(..) {
        match message {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                assert!(message.is_object());
                if let Some(number) = number(&message) {
                    assert_eq!(number, *last + 1, "{}", kind.name());
                    *last = number;
                }
            }
            Message::Binary(octets) => assert!(octets.len() <= 3 + 960),
        }
    }
}

fn run(kind: Kind, encoding: Encoding, steps: &[Step]) {
    let begin = || kind.dialect(introduction(encoding), &options()).expect("its own encoding");
    let mut dialect = begin();
    let (mut effects, mut last) = (Effects::default(), 0);
    dialect.open(&mut effects);
    check_sent(kind, &mut effects, &mut last);
    for step in steps {
        let goes_on = take(&mut *dialect, step, &mut effects);
        carry_out(&mut *dialect, &mut effects);
        check_sent(kind, &mut effects, &mut last);
        if !goes_on {
            // As the driver would: with a connection of its own.
            dialect = begin();
            last = 0;
        }
    }
}

proptest! {
    #[test]
    fn no_dialect_is_upset(steps in prop::collection::vec(step(), 0..40)) {
        for kind in Kind::ALL {
            for &encoding in kind.encodings() {
                run(kind, encoding, &steps);
            }
        }
    }

    #[test]
    fn no_caller_upsets_a_socket(octets in prop::collection::vec(0..20_u8, 0..200)) {
        let (mut deframer, mut frames) = (Deframer::default(), Vec::new());
        let mut socket = CallerSocket::new(Encoding::L16(8000), true).unwrap();
        let mut effects = Effects::default();
        for piece in octets.chunks(7) {
            deframer.push(piece, &mut frames);
        }
        for frame in &frames {
            let _ = socket.hear(frame, &mut effects);
        }
    }
}

/// Everything that is sent, and base64 in it as what it stands for.
fn sound_of(effects: &mut Effects) -> Vec<u8> {
    let sound = |message| match message {
        Message::Binary(octets) => octets,
        Message::Text(text) => {
            let words = text.split('"').filter(|word| word.len() > 100);
            words.flat_map(|word| BASE64_STANDARD.decode(word).expect("base64")).collect()
        }
    };
    effects.send.drain(..).flat_map(sound).collect()
}

/// Whether what a caller says is sent at once and wholly, and never after that.
fn keeps_nothing(dialect: &mut dyn Dialect) -> bool {
    let (length, silence) = (dialect.encoding().octets(20), dialect.encoding().silence());
    let mut effects = Effects::default();
    dialect.audio(&vec![0x5a; length], &mut effects);
    let is_all = sound_of(&mut effects).iter().filter(|&&octet| octet == 0x5a).count() == length;
    is_all
        && (0..10).all(|_| {
            dialect.audio(&vec![silence; length], &mut effects);
            !sound_of(&mut effects).contains(&0x5a)
        })
}

#[test]
fn nothing_of_the_caller_is_kept() {
    for kind in Kind::ALL {
        for &encoding in kind.encodings() {
            let mut dialect = kind.dialect(introduction(encoding), &options()).expect("its own");
            let mut effects = Effects::default();
            dialect.open(&mut effects);
            for begun in [r#"{"type":"Welcome"}"#, r#"{"type":"SettingsApplied"}"#] {
                let _ = dialect.hear(&Message::Text(begun.to_owned()), &mut effects);
            }
            assert!(keeps_nothing(&mut *dialect), "{}", kind.name());
        }
    }
}

/// A dialect that is a frame behind.
struct Behind(Vec<u8>);

impl Dialect for Behind {
    fn encoding(&self) -> Encoding {
        Encoding::Pcmu
    }
    fn open(&mut self, _: &mut Effects) {}
    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        let before = std::mem::replace(&mut self.0, frame.to_owned());
        effects.send.push(Message::Binary(before));
    }
    fn key(&mut self, _: Digit, _: &mut Effects) {}
    fn marked(&mut self, _: &str, _: Reached, _: &mut Effects) {}
    fn end(&mut self, _: &mut Effects) {}
    fn hear(&mut self, _: &Message, _: &mut Effects) -> Result<(), Fault> {
        Ok(())
    }
}

#[test]
fn a_dialect_that_keeps_something_is_found() {
    assert!(!keeps_nothing(&mut Behind(Vec::new())));
}

#[test]
fn the_steps_reach_every_act() {
    let heard = |kind: Kind, text: &str| {
        let encoding = kind.default_encoding();
        let mut dialect = kind.dialect(introduction(encoding), &options()).unwrap();
        let mut effects = Effects::default();
        dialect.hear(&Message::Text(text.to_owned()), &mut effects).is_ok()
            && !effects.acts.is_empty()
    };
    let useful = |text: &&&str| Kind::ALL.into_iter().any(|kind| heard(kind, text));
    let silent: Vec<_> = MESSAGES.iter().filter(|text| !useful(text)).collect();
    // They change what comes after them, and ask for nothing.
    assert_eq!(silent.len(), 10, "{silent:?}");
}
