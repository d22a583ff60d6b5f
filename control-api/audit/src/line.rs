//! Line: an entry in canonical JSON, with its place and the hash of the line before.

use serde::{Deserialize, Serialize};

use crate::entry::{Actor, Detail, Entry, Object, Origin};
use crate::event::{Event, Outcome};
use crate::hash::Sha256;
use crate::limits::MAX_LINE;
use crate::time::Time;

/// An entry in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The entry's number, from 0: its leaf in the tree.
    pub seq: u64,
    /// The SHA-256 of the line before, without its newline.
    pub prev: Sha256,
    /// What happened.
    pub entry: Entry,
}

/// Not a line as this program writes it. It repeats nothing of what was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an entry in canonical form")]
pub struct NotCanonical;

/// A line's members, in its order. `R` and others are borrowed to write and owned to read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<A, D, O> {
    actor: A,
    at: Time,
    detail: D,
    event: Event,
    object: O,
    origin: Origin,
    outcome: Outcome,
    prev: Sha256,
    seq: u64,
}

impl Record {
    /// Writes the line, without a newline: members sorted, no space, no escape, no float.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        write(&self.entry, self.seq, self.prev)
    }

    /// Reads a line without its newline. Whatever would be written otherwise is refused, so that
    /// each entry has one form alone.
    ///
    /// # Errors
    /// If it is anything else than what [`Record::write`] gives.
    pub fn read(line: &[u8]) -> Result<Record, NotCanonical> {
        if line.len() >= MAX_LINE {
            return Err(NotCanonical);
        }
        let members: Members<Actor, Detail, Object> =
            serde_json::from_slice(line).map_err(|_| NotCanonical)?;
        let Members { actor, at, detail, event, object, origin, outcome, prev, seq } = members;
        let entry = Entry { at, event, outcome, actor, origin, object, detail };
        let record = Record { seq, prev, entry };
        if record.write() == line { Ok(record) } else { Err(NotCanonical) }
    }
}

/// Writes an entry's line, without a newline.
pub(crate) fn write(entry: &Entry, seq: u64, prev: Sha256) -> Vec<u8> {
    let Entry { at, event, outcome, actor, origin, object, detail } = entry;
    let members = Members {
        actor,
        at: *at,
        detail,
        event: *event,
        object,
        origin: *origin,
        outcome: *outcome,
        prev,
        seq,
    };
    let mut line = Vec::with_capacity(MAX_LINE);
    let written = serde_json::to_writer(&mut line, &members);
    debug_assert!(written.is_ok(), "every member has a form");
    debug_assert!(line.len() < MAX_LINE, "members are bounded");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Id, KeyName, Peer, Word};
    use crate::event::{Kind, Listener, Method, Role};

    /// The longest entry there can be: each member at its bound.
    fn longest() -> Record {
        let name = KeyName::read(&"k".repeat(32)).unwrap();
        let word = Word::read(&"w".repeat(96)).unwrap();
        let by_length = |events: &[Event]| *events.iter().max_by_key(|e| e.as_str().len()).unwrap();
        let id = Id(u128::MAX);
        Record {
            seq: u64::MAX,
            prev: Sha256([0xAB; 32]),
            entry: Entry {
                at: Time::from_unix_ms(u64::MAX),
                event: by_length(Event::ALL),
                outcome: Outcome::Success,
                actor: Actor::Key(name.clone()),
                origin: Origin {
                    listener: Listener::CommandLine,
                    peer: Peer::read("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535"),
                },
                object: Object {
                    call: Some(id),
                    id: Some(id),
                    key: Some(name),
                    kind: Kind::WebhookEvent,
                    session: Some(id),
                },
                detail: Detail {
                    count: Some(u32::MAX),
                    digest: Some(Sha256([0xAB; 32])),
                    method: Some(Method::Delete),
                    operation: Some(word.clone()),
                    reason: Some(word.clone()),
                    role: Some(Role::Operator),
                    status: Some(u16::MAX),
                    version: Some(word),
                },
            },
        }
    }

    #[test]
    fn the_longest_line_fits_and_its_members_are_sorted() {
        let record = longest();
        let line = record.write();
        assert!(line.len() < MAX_LINE, "{} octets", line.len());
        assert_eq!(Record::read(&line), Ok(record));
        assert!(line.iter().all(|octet| (b' '..=b'~').contains(octet) && *octet != b'\\'));
        assert_sorted(std::str::from_utf8(&line).unwrap());
    }

    #[test]
    fn each_word_is_read_as_it_is_written() {
        let record = longest();
        for event in Event::ALL {
            let entry = Entry { event: *event, ..record.entry.clone() };
            let record = Record { entry, ..record.clone() };
            assert_eq!(Record::read(&record.write()), Ok(record));
        }
    }

    #[test]
    fn whatever_else_says_the_same_is_refused() {
        let line = String::from_utf8(longest().write()).unwrap();
        let replaced = |from: &str, to: &str| {
            assert!(line.contains(from), "{from}");
            line.replacen(from, to, 1)
        };
        let others = [
            replaced(",\"at\"", ", \"at\""),
            replaced("{\"actor\"", "{ \"actor\""),
            replaced("\"success\"", "\"succe\\u0073s\""),
            replaced("\"success\"", "\"Success\""),
            replaced("\"status\":65535", "\"status\":65535.0"),
            replaced("\"status\":65535", "\"status\":065535"),
            replaced("\"status\":65535", "\"status\":65536"),
            replaced("\"status\":65535", "\"status\":null"),
            replaced("\"outcome\"", "\"note\":\"x\",\"outcome\""),
            replaced("\"kind\"", "\"kind\":\"call\",\"kind\""),
            replaced("\"seq\":18446744073709551615", "\"seq\":-1"),
            replaced("\"seq\":18446744073709551615", "\"seq\":18446744073709551616"),
            format!("{line} "),
            format!(" {line}"),
            line[1..].to_owned(),
            line[..line.len() - 1].to_owned(),
            String::new(),
        ];
        for other in others {
            assert_eq!(Record::read(other.as_bytes()), Err(NotCanonical), "{other}");
        }
        let swapped = line.replacen("\"outcome\":\"success\",", "", 1);
        let swapped = swapped.replacen("{\"actor\"", "{\"outcome\":\"success\",\"actor\"", 1);
        assert_eq!(Record::read(swapped.as_bytes()), Err(NotCanonical), "{swapped}");
    }

    /// Member names of each object, by a reader of its own, rise strictly.
    fn assert_sorted(json: &str) {
        let mut before: Vec<Option<&str>> = Vec::new();
        let mut rest = json;
        while let Some(at) = rest.find(['{', '}', '"']) {
            let (mark, behind) = (rest.as_bytes()[at], &rest[at + 1..]);
            rest = behind;
            match mark {
                b'{' => before.push(None),
                b'}' => drop(before.pop()),
                _ => {
                    let (text, behind) = behind.split_once('"').unwrap();
                    rest = behind;
                    if behind.starts_with(':') {
                        let last = before.last_mut().unwrap().replace(text);
                        assert!(last < Some(text), "{last:?} before {text}");
                    }
                }
            }
        }
        assert!(before.is_empty());
    }
}
