//! Fuzz target: any messages of an engine in any dialect; what is said back is JSON.
//!
//! The first octet is the kind of engine, the second its encoding. What follows is cut into messages
//! by lines; one that begins with a zero octet is octets, another is text. All of it is a caller's
//! AudioSocket as well.
#![no_main]

use std::collections::BTreeMap;

use dialects::audiosocket::{CallerSocket, Deframer};
use dialects::{
    Act, Dialect, Effects, Encoding, Introduction, Kind, Message, Model, Notice, Options, Reached,
    Verdict,
};
use libfuzzer_sys::fuzz_target;

/// Messages of one input.
const MAX_MESSAGES: usize = 64;

fuzz_target!(|octets: &[u8]| {
    let [kind, encoding, rest @ ..] = octets else { return };
    let kind = Kind::ALL[usize::from(*kind) % Kind::ALL.len()];
    let encoding = kind.encodings()[usize::from(*encoding) % kind.encodings().len()];
    let mut dialect = kind.dialect(introduction(encoding), &options()).expect("its own encoding");
    let mut effects = Effects::default();
    dialect.open(&mut effects);
    for line in rest.split(|&octet| octet == b'\n').take(MAX_MESSAGES) {
        if dialect.hear(&message(line), &mut effects).is_err() {
            break;
        }
        carry_out(&mut *dialect, &mut effects);
    }
    dialect.end(&mut effects);
    check(&effects);
    call_in(rest);
});

fn message(line: &[u8]) -> Message {
    match line {
        [0, octets @ ..] => Message::Binary(octets.to_owned()),
        text => Message::Text(String::from_utf8_lossy(text).into_owned()),
    }
}

/// What was asked for is done, as the driver does it; a payment is made.
fn carry_out(dialect: &mut dyn Dialect, effects: &mut Effects) {
    for act in std::mem::take(&mut effects.acts) {
        match act {
            Act::Mark(name) => dialect.marked(&name, Reached::Played, effects),
            Act::Clear => dialect.cleared(0, effects),
            Act::Play(octets) => {
                assert!(octets.len().is_multiple_of(dialect.encoding().sample()));
                dialect.backlog(octets.len(), effects);
            }
            Act::Collect { .. } => {
                dialect.notice(Notice::SecureStarted, effects);
                dialect.notice(Notice::SecureEnded(Verdict::Pass), effects);
            }
            Act::Pause
            | Act::Resume
            | Act::HangUp
            | Act::SendKey(_)
            | Act::Pressed(_)
            | Act::Identify(_) => {}
        }
    }
}

fn check(effects: &Effects) {
    for message in &effects.send {
        if let Message::Text(text) = message {
            serde_json::from_str::<serde::de::IgnoredAny>(text).expect("JSON");
        }
    }
}

fn call_in(octets: &[u8]) {
    let (mut deframer, mut frames) = (Deframer::default(), Vec::new());
    let mut effects = Effects::default();
    let mut socket = CallerSocket::new(Encoding::L16(8000), false).expect("its own encoding");
    for piece in octets.chunks(61) {
        deframer.push(piece, &mut frames);
    }
    for frame in &frames {
        if socket.hear(frame, &mut effects).is_err() {
            break;
        }
    }
}

fn introduction(encoding: Encoding) -> Introduction {
    Introduction {
        call: [1; 16],
        stream: [2; 16],
        account: String::new(),
        from: String::new(),
        to: String::new(),
        parameters: BTreeMap::new(),
        encoding,
        tells_secure: true,
    }
}

fn options() -> Options {
    let model = Model { plans: Some(vec!["a".to_owned()]), ..Model::default() };
    Options { keys: true, plain_text: false, model }
}
