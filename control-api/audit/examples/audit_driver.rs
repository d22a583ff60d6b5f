//! AuditDriver: appends entries and tells which are acknowledged, to be killed while it does.
//! `tests/audit_kills.py` runs it.
//!
//! ```text
//! audit_driver append DIRECTORY COUNT           appends, waits for each, tells each
//! audit_driver append-early DIRECTORY COUNT     a broken one: tells each before it is written
//! audit_driver append-together DIRECTORY COUNT  appends all, then waits for all
//! audit_driver check DIRECTORY                  opens, verifies, tells what there is
//! audit_driver verify DIRECTORY KEY [ANCHOR]    verifies, and writes nothing
//! audit_driver export DIRECTORY KEY ocsf|syslog tells each entry
//! audit_driver key DIRECTORY                    tells the public half of the signing key
//! ```
//!
//! The key is `DIRECTORY.key`, the anchor `DIRECTORY.anchor`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use audit_log::export::{self, ocsf, syslog};
use audit_log::{
    Actor, AnchorFile, AppendError, AuditLog, Check, Detail, Ending, Entry, Event, Id, KeyName,
    Listener, LogName, Method, Object, OpenError, Opened, Options, Origin, Outcome, Peer, Role,
    Time, Word, open_segments, read_key, verify_directory,
};

/// Smallest segments and a checkpoint every few entries, so that few entries go through all.
const SEGMENT_OCTETS: u64 = 4096;
const CHECKPOINT_ENTRIES: u64 = 4;
/// Some time: the driver reads no clock.
const START: u64 = 1_796_063_640_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["append", directory, count] => append(Path::new(directory), count.parse().unwrap(), true),
        ["append-early", directory, count] => {
            append(Path::new(directory), count.parse().unwrap(), false);
        }
        ["append-together", directory, count] => {
            append_together(Path::new(directory), count.parse().unwrap());
        }
        ["check", directory] => check(Path::new(directory)),
        ["verify", directory, key] => verify(directory, key, None),
        ["verify", directory, key, anchor] => verify(directory, key, Some(anchor)),
        ["export", directory, key, form] => export_all(directory, key, form),
        ["key", directory] => {
            let name = LogName::read("relay-1.example/audit").unwrap();
            println!(
                "{}",
                read_key(&beside(Path::new(directory), "key"), name).unwrap().verifier()
            );
            return;
        }
        _ => panic!("unknown arguments"),
    }
    println!("done");
}

/// Tells `acknowledged SEQ` or `refused SEQ`, and goes on either way.
fn append(directory: &Path, count: u64, waits: bool) {
    let Some((log, opened)) = open_or_tell(directory) else { return };
    for seq in opened.found.entries + 1..=opened.found.entries + count {
        let receipt = log.append(entry(seq));
        if !waits {
            println!("acknowledged {seq}");
        }
        tell(seq, receipt.wait(), waits);
    }
    close(&log);
}

fn append_together(directory: &Path, count: u64) {
    let Some((log, opened)) = open_or_tell(directory) else { return };
    let first = opened.found.entries + 1;
    let receipts: Vec<_> = (first..first + count).map(|seq| log.append(entry(seq))).collect();
    for (seq, receipt) in (first..).zip(receipts) {
        tell(seq, receipt.wait(), true);
    }
    close(&log);
}

fn open_or_tell(directory: &Path) -> Option<(AuditLog, Opened)> {
    match open(directory) {
        Ok((log, opened)) => {
            println!("opened {}", opened.found.entries);
            Some((log, opened))
        }
        Err(error) => {
            println!("refused 0: {error}\nwritable false");
            None
        }
    }
}

fn close(log: &AuditLog) {
    println!("writable {}", log.is_writable());
    match log.close(Time::from_unix_ms(START)) {
        Ok(()) => println!("closed"),
        Err(error) => println!("not closed: {error}"),
    }
}

fn tell(seq: u64, answer: Result<audit_log::Appended, AppendError>, tells_success: bool) {
    match answer {
        Ok(appended) if tells_success => println!("acknowledged {}", appended.seq),
        Ok(_) => {}
        Err(error) => println!("refused {seq}: {error}"),
    }
}

fn check(directory: &Path) {
    match open(directory) {
        Ok((log, opened)) => {
            println!("entries {}", opened.found.entries);
            println!("torn {} {}", opened.torn_octets, opened.is_checkpoint_torn);
            log.close(Time::from_unix_ms(START)).unwrap();
        }
        Err(error) => println!("not opened: {error}"),
    }
}

fn verify(directory: &str, key: &str, anchor: Option<&str>) {
    let (directory, key) = (Path::new(directory), key.parse().unwrap());
    match verify_directory(directory, anchor.map(Path::new), &key, Ending::Whole) {
        Ok(found) => println!("{} entries, {} attested", found.entries, found.attested),
        Err(error) => println!("bad: {error}"),
    }
}

fn export_all(directory: &str, key: &str, form: &str) {
    let directory = Path::new(directory);
    let key = key.parse().unwrap();
    let verified = verify_directory(directory, None, &key, Ending::Whole).unwrap();
    let sender = syslog::Sender::new("relay-1.example", syslog::EXAMPLE_ENTERPRISE).unwrap();
    for exported in export::entries(&verified, open_segments(directory).unwrap()) {
        let exported = exported.unwrap();
        match form {
            "ocsf" => println!("{}", ocsf::event(&exported)),
            "syslog" => println!("{}", sender.message(&exported)),
            _ => panic!("unknown form"),
        }
    }
}

fn open(directory: &Path) -> Result<(AuditLog, Opened), OpenError> {
    let name = LogName::read("relay-1.example/audit").unwrap();
    let options = Options {
        segment_octets: SEGMENT_OCTETS,
        checkpoint_entries: CHECKPOINT_ENTRIES,
        checkpoint_after: Duration::from_secs(3600),
        // What `verify` reads is all of it.
        check: Check::LastSegment,
        anchor: Some(Box::new(AnchorFile::new(beside(directory, "anchor")))),
        ..Options::new(name, beside(directory, "key"))
    };
    AuditLog::open(directory, options, Time::from_unix_ms(START))
}

fn beside(directory: &Path, what: &str) -> PathBuf {
    directory.with_extension(what)
}

/// An entry of each kind in turn; all of them have the same time, so that a checkpoint comes by
/// number alone.
fn entry(seq: u64) -> Entry {
    let (call, session) = (Id(seq.into()), Id(u128::from(seq) << 64));
    let event = Event::ALL[seq as usize % Event::ALL.len()];
    // Those of the log about itself are its own.
    let event = if event.as_str().starts_with("log.") { Event::SessionEntered } else { event };
    Entry {
        at: Time::from_unix_ms(START),
        event,
        outcome: Outcome::ALL[seq as usize % 2],
        actor: match seq % 3 {
            0 => Actor::Nobody,
            1 => Actor::Relay,
            _ => Actor::Key(KeyName::read("7Gq3bXw9Kd2m").unwrap()),
        },
        origin: Origin {
            listener: Listener::ALL[seq as usize % Listener::ALL.len()],
            peer: Peer::read("[2001:db8::7]:50312").filter(|_| !seq.is_multiple_of(4)),
        },
        object: match seq % 4 {
            0 => Object::session(call, session),
            1 => Object::recording(call),
            2 => Object::key(KeyName::read("7Gq3bXw9Kd2m").unwrap()),
            _ => Object::of(audit_log::Kind::Api),
        },
        detail: Detail {
            method: Some(Method::Post).filter(|_| !seq.is_multiple_of(2)),
            operation: Word::read("/v1/calls/{call_id}/secure-session")
                .filter(|_| !seq.is_multiple_of(2)),
            reason: Word::read("not_found").filter(|_| !seq.is_multiple_of(2)),
            role: Some(Role::Script),
            status: Some(404).filter(|_| !seq.is_multiple_of(5)),
            ..Detail::default()
        },
    }
}
