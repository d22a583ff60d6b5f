//! An append-only log of who did what: hash-chained lines, a Merkle tree, signed checkpoints.
//!
//! ```text
//! Entry ── AuditLog::append ──► queue ──► line, chain, tree ──► segment, one sync for all that wait
//!                                                  │                │
//!   Receipt ◄── only once it is synced ────────────┼────────────────┘
//!                                                  └──► signed checkpoint ──► its file, the anchor
//! ```
//!
//! It holds what PCI DSS 10.2.2 asks for: who, what, when, whether it was done, from where, and to
//! what; and it is kept as 10.3 asks: only ever added to, and no change goes unnoticed.
//!
//! # What is on the disk
//!
//! A directory of mode 0700 that one process alone writes, with files of mode 0600:
//!
//! - `audit-<number of the first entry>.jsonl`: segments of lines, 64 MiB each;
//! - `audit-<number>.tree`: the tree that a segment begins with, so that the last one can be checked
//!   without the others ([`Check`]); no evidence, and none is missed;
//! - `checkpoints`: signed notes of five lines, one behind the other.
//!
//! The signing key is a PKCS#8 file, made at the first start. Whoever has it and the anchor can
//! rewrite the log unnoticed, so it belongs elsewhere than copies of the log do.
//!
//! A line is canonical JSON: members sorted, no space, no escape, no float. The second of a log,
//! broken here to be read:
//!
//! ```text
//! {"actor":"key:7Gq3bXw9Kd2m","at":"2026-11-30T18:34:05.123Z",
//! "detail":{"method":"POST","operation":"/v1/calls/{call_id}/secure-session",
//! "role":"engine","status":201},"event":"session.entered",
//! "object":{"call":"0192f3c55e6a7b8c9d0e1f2a3b4c5d6e","kind":"session",
//! "session":"0192f3c560017c1da2b3c4d5e6f70819"},"origin":{"listener":"control",
//! "peer":"192.0.2.7:50312"},"outcome":"success",
//! "prev":"7baf745a70ffda374e38dea9bdcb5f637f23550fd7c5088a35f7a8399bfa5367",
//! "seq":1}
//! ```
//!
//! `prev` is the SHA-256 of the line before, without its newline; that of the first line is zero.
//! `seq` counts from 0 over all segments. No member takes a text, a stranger's least of all: they are
//! words of closed sets, words of the program's own, ids and names that the program gave itself,
//! hashes, and numbers too small for a card's.
//!
//! A checkpoint attests to so many lines from the first, by the root of the tree over them (RFC 6962;
//! leaves are lines without their newlines). It has the text form of c2sp.org/tlog-checkpoint:
//!
//! ```text
//! relay-1.example/audit
//! 2
//! nHzpZixbFdfY47qpE8xk2ae7rnszOWbsawOum/k+7uM=
//!
//! — relay-1.example/audit nbFkulEyqeH5GrqN/vioou97nzUxj8vrDkP/RB1PPJksQywkxy4kkjKumIjH8KqmqQbOSqWbT5s+HQj/FlHlPy2VcwQ=
//! ```
//!
//! That log, verified with the public half of its key:
//!
//! ```
//! # use std::io::Cursor;
//! use audit_log::{Ending, Segment, VerifierKey, verify};
//!
//! let key: VerifierKey =
//!     "relay-1.example/audit+9db164ba+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs"
//!         .parse()?;
//! let lines = concat!(
//!     r#"{"actor":"relay","at":"2026-11-30T18:34:00.000Z","detail":{},"#,
//!     r#""event":"log.opened","object":{"kind":"audit_log"},"#,
//!     r#""origin":{"listener":"internal"},"outcome":"success","#,
//!     r#""prev":"0000000000000000000000000000000000000000000000000000000000000000","#,
//!     r#""seq":0}"#,
//!     "\n",
//!     r#"{"actor":"key:7Gq3bXw9Kd2m","at":"2026-11-30T18:34:05.123Z","#,
//!     r#""detail":{"method":"POST","operation":"/v1/calls/{call_id}/secure-session","#,
//!     r#""role":"engine","status":201},"event":"session.entered","#,
//!     r#""object":{"call":"0192f3c55e6a7b8c9d0e1f2a3b4c5d6e","kind":"session","#,
//!     r#""session":"0192f3c560017c1da2b3c4d5e6f70819"},"origin":{"listener":"control","#,
//!     r#""peer":"192.0.2.7:50312"},"outcome":"success","#,
//!     r#""prev":"7baf745a70ffda374e38dea9bdcb5f637f23550fd7c5088a35f7a8399bfa5367","#,
//!     r#""seq":1}"#,
//!     "\n",
//! );
//! let checkpoints = concat!(
//!     "relay-1.example/audit\n",
//!     "2\n",
//!     "nHzpZixbFdfY47qpE8xk2ae7rnszOWbsawOum/k+7uM=\n",
//!     "\n",
//!     "— relay-1.example/audit nbFkulEyqeH5GrqN/vioou97nzUxj8vrDkP/RB1PPJksQywkxy4kkjKumIjH8KqmqQbOSqWbT5s+HQj/FlHlPy2VcwQ=\n",
//! );
//! let verify = |lines: String| {
//!     let segments = std::iter::once(Ok(Segment { first: 0, reader: Cursor::new(lines) }));
//!     verify(segments, checkpoints.as_bytes(), None, &key, Ending::Whole)
//! };
//! assert_eq!(verify(lines.to_owned())?.attested, 2);
//!
//! let bad = verify(lines.replace("log.opened", "call.ended")).unwrap_err();
//! assert_eq!(
//!     bad.to_string(),
//!     "audit-00000000000000000000.jsonl line 1, entry 0: the log was not opened before it"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Writing
//!
//! ```
//! use audit_log::{Actor, AuditLog, Detail, Entry, Event, KeyName, Listener, LogName, Object};
//! use audit_log::{Options, Origin, Outcome, Time};
//! # let scratch = std::env::temp_dir().join(format!("audit-doc-{}", std::process::id()));
//! # std::fs::create_dir(&scratch)?;
//!
//! let name = LogName::read("relay-1.example/audit").ok_or("a name")?;
//! let options = Options::new(name, scratch.join("audit.key"));
//! let now = Time::from_unix_ms(1_796_063_640_000);
//! let (log, opened) = AuditLog::open(&scratch.join("audit"), options, now)?;
//! assert!(opened.was_closed);
//!
//! let key = KeyName::read("7Gq3bXw9Kd2m").ok_or("a name")?;
//! let receipt = log.append(Entry {
//!     at: now,
//!     event: Event::KeyRevoked,
//!     outcome: Outcome::Success,
//!     actor: Actor::Nobody,
//!     origin: Origin { listener: Listener::CommandLine, peer: None },
//!     object: Object::key(key),
//!     detail: Detail::default(),
//! });
//! // Or `.await`: a receipt is a future too.
//! assert_eq!(receipt.wait()?.seq, 1, "behind the entry that the log was opened");
//! log.close(now)?;
//! # std::fs::remove_dir_all(&scratch)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What fails, and how
//!
//! - An entry is acknowledged only once it is written and synced. All that wait are written together,
//!   so that a slow disk means longer waits and not fewer entries.
//! - A full queue refuses an entry at once. After a write or a sync that failed none is accepted until
//!   the log is opened anew, and nothing is tried again: the kernel may have dropped what it could not
//!   write, and would then say that all is well. Whoever must log what he does has to refuse to do it:
//!   [`AuditLog::is_writable`], and the receipt.
//! - A line or a checkpoint that a crash has left without an end was never acknowledged. It is cut off
//!   when the log is opened, and an entry says so. Anything else that is not as it was written keeps
//!   the log from being opened, and is left as it is.
//! - An anchor that fails is told, by an entry and in [`Counts`], and holds nothing up.
//!
//! # What verifying shows
//!
//! [`verify()`] names the first entry that is not as it was written; opening a log verifies it first,
//! whole or from its last segment on ([`Check`]). Without a checkpoint behind them
//! the last entries ([`Verified::attested`]) are no more than chained; without an anchor, whoever has
//! the signing key can rewrite all.

#![forbid(unsafe_code)]

mod anchor;
mod checkpoint;
mod disk;
mod entry;
mod event;
pub mod export;
mod hash;
mod key_file;
pub mod limits;
mod line;
mod lines;
mod log;
mod note;
mod receipt;
mod resume;
#[cfg(test)]
mod scratch;
mod time;
mod tree;
mod verify;
mod words;
mod writer;

pub use anchor::{Anchor, AnchorFile};
pub use checkpoint::Checkpoint;
pub use disk::DirectoryError;
pub use entry::{Actor, Detail, Entry, Id, KeyName, Object, Origin, Peer, Word};
pub use event::{Event, Kind, Listener, Method, Outcome, Role};
pub use hash::Sha256;
pub use key_file::{KeyFileError, read as read_key};
pub use line::{NotCanonical, Record};
pub use lines::{Bad, Place, Segment, VerifyError, Why, segment_name, segment_number};
pub use log::{
    AuditLog, Check, Counts, OpenError, Opened, Options, open_segments, verify_directory,
};
pub use note::{LogName, NotAVerifierKey, NoteError, SigningKey, VerifierKey};
pub use receipt::{AppendError, Appended, Receipt};
pub use time::Time;
pub use tree::Tree;
pub use verify::{ANCHOR, CHECKPOINTS, Ending, Verified, verify};
