//! Export: entries of a verified log come out once each, as they are, and not if they were altered.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, Cursor};

use audit_log::export::{self, Exported, ocsf, syslog};
use audit_log::limits::MAX_SYSLOG;
use audit_log::{
    Actor, Detail, Ending, Entry, Event, Id, KeyName, Kind, Listener, LogName, Method, Object,
    Origin, Outcome, Peer, Record, Segment, Sha256, SigningKey, Time, Verified, VerifyError, Word,
    verify,
};
use ring::signature::Ed25519KeyPair;

/// Entries in two segments.
const ENTRIES: usize = 60;
const HALF: usize = 31;

#[test]
fn each_entry_comes_out_once_as_it_is() {
    let lines = written();
    let verified = verified(&lines);
    let exported: Vec<Exported> =
        export::entries(&verified, segments(&lines)).map(Result::unwrap).collect();
    assert_eq!(exported.len(), ENTRIES);
    for (exported, line) in exported.iter().zip(&lines) {
        assert_eq!(&exported.line, line, "JSON lines are the log's own");
        assert_eq!(exported.hash, Sha256::of(line.as_bytes()));
    }
    // What is added meanwhile is not verified, and does not come out.
    let longer = [&lines[..], &["not verified".to_owned()]].concat();
    assert_eq!(export::entries(&verified, segments(&longer)).count(), ENTRIES);
}

#[test]
fn what_was_altered_since_does_not_come_out() {
    let lines = written();
    let verified = verified(&lines);
    for seq in 0..ENTRIES {
        let mut altered = lines.clone();
        let mut record = Record::read(altered[seq].as_bytes()).unwrap();
        record.entry.outcome = match record.entry.outcome {
            Outcome::Success => Outcome::Failure,
            Outcome::Failure => Outcome::Success,
        };
        altered[seq] = String::from_utf8(record.write()).unwrap();
        let mut out = Vec::new();
        let mut errors = 0;
        for entry in export::entries(&verified, segments(&altered)) {
            match entry {
                Ok(exported) => out.push(exported.line),
                Err(VerifyError::Bad(_)) => errors += 1,
                Err(VerifyError::Io(error)) => panic!("{error}"),
            }
        }
        assert_eq!((out.len(), errors), (seq, 1), "entry {seq}");
        assert_eq!(out, lines[..seq]);
        let shorter: Vec<_> = export::entries(&verified, segments(&lines[..seq])).collect();
        assert!(shorter.last().unwrap().is_err(), "{seq} entries are left");
    }
}

#[test]
fn syslog_and_ocsf_say_what_the_entry_says() {
    let lines = written();
    let sender = syslog::Sender::new(&"h".repeat(255), u32::MAX).unwrap();
    for exported in export::entries(&verified(&lines), segments(&lines)) {
        let exported = exported.unwrap();
        let entry = &exported.record.entry;
        let message = sender.message(&exported);
        assert!(message.len() < MAX_SYSLOG && message.ends_with(&exported.line));
        let framed = String::from_utf8(syslog::frame(&message)).unwrap();
        let (length, framed) = framed.split_once(' ').unwrap();
        assert_eq!((length.parse(), framed), (Ok(message.len()), message.as_str()));

        let event = ocsf::event(&exported);
        let is_failure = entry.outcome == Outcome::Failure;
        assert_eq!(event["status_id"], if is_failure { 2 } else { 1 });
        assert_eq!(event["time"], entry.at.unix_ms());
        assert_eq!(event["metadata"]["sequence"], exported.record.seq);
        assert_eq!(event["raw_data"], exported.line);
        let class = event["class_uid"].as_u64().unwrap();
        let is_of_keys = entry.event.as_str().starts_with("auth.");
        assert_eq!(class, if is_of_keys { 3002 } else { 6003 }, "{}", entry.event.as_str());
        assert_eq!(event["type_uid"], class * 100 + event["activity_id"].as_u64().unwrap());
        if let Actor::Key(name) = &entry.actor {
            assert_eq!(event["actor"]["user"]["uid"], name.as_str());
        }
        if let Some(peer) = entry.origin.peer {
            assert_eq!(event["src_endpoint"]["ip"], peer.address.to_string());
        }
    }
}

fn written() -> Vec<String> {
    let mut prev = Sha256::ZERO;
    let lines = (0..ENTRIES).map(|seq| {
        let line = Record { seq: seq as u64, prev, entry: entry(seq) }.write();
        prev = Sha256::of(&line);
        String::from_utf8(line).unwrap()
    });
    lines.collect()
}

fn segments(
    lines: &[String],
) -> impl Iterator<Item = io::Result<Segment<Cursor<Vec<u8>>>>> + use<> {
    let halves = lines.split_at(HALF.min(lines.len()));
    let octets = [halves.0, halves.1].map(|half| {
        half.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect::<Vec<u8>>()
    });
    let segments = [0, HALF as u64].into_iter().zip(octets).filter(|(_, half)| !half.is_empty());
    segments.map(|(first, half)| Ok(Segment { first, reader: Cursor::new(half) }))
}

fn verified(lines: &[String]) -> Verified {
    let name = LogName::read("relay-1.example/audit").unwrap();
    let key = SigningKey::new(name, Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());
    verify(segments(lines), &b""[..], None, key.verifier(), Ending::Whole).unwrap()
}

/// An entry of each kind in turn.
fn entry(seq: usize) -> Entry {
    let key = KeyName::read("7Gq3bXw9Kd2m").unwrap();
    let events = Event::ALL.iter().copied().filter(|it| *it != Event::LogClosed);
    Entry {
        at: Time::from_unix_ms(1_796_063_640_000 + seq as u64),
        event: events.cycle().nth(seq).unwrap(),
        outcome: Outcome::ALL[seq % 2],
        actor: [Actor::Nobody, Actor::Relay, Actor::Key(key.clone())][seq % 3].clone(),
        origin: Origin {
            listener: Listener::ALL[seq % Listener::ALL.len()],
            peer: Peer::read("192.0.2.7:5060").filter(|_| !seq.is_multiple_of(5)),
        },
        object: match seq % 4 {
            0 => Object::call(Id(seq as u128)),
            1 => Object::session(Id(1), Id(seq as u128)),
            2 => Object::key(key),
            _ => Object::of(Kind::Api),
        },
        detail: Detail {
            method: [None, Some(Method::Get), Some(Method::Delete)][seq % 3],
            reason: Word::read("not_found").filter(|_| !seq.is_multiple_of(2)),
            status: Some(404),
            ..Detail::default()
        },
    }
}
