//! Syslog: an entry as RFC 5424 has it, and the frames in which it goes over TLS (RFC 5425).

use std::fmt::Write;

use super::Exported;
use crate::event::Outcome;
use crate::limits::{MAX_HOSTNAME, MAX_SYSLOG};

/// Facility "log audit", RFC 5424 section 6.2.1.
const FACILITY: u8 = 13;
/// Severities "warning" and "informational".
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;
/// The program.
const APP_NAME: &str = "sotto";
/// The private enterprise number that is kept for documentation (RFC 5612): who has one of his own
/// may say so.
pub const EXAMPLE_ENTERPRISE: u32 = 32_473;

/// Who sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sender {
    hostname: Box<str>,
    enterprise: u32,
}

impl Sender {
    /// A host by its name, and the private enterprise number that names the structured data.
    /// `None` if the name has a character that syslog does not take, or too many.
    #[must_use]
    pub fn new(hostname: &str, enterprise: u32) -> Option<Sender> {
        let fits = (1..=MAX_HOSTNAME).contains(&hostname.len())
            && hostname.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Sender { hostname: hostname.into(), enterprise })
    }

    /// One message: head, structured data, and the line itself, so that its hash can be made again.
    #[must_use]
    pub fn message(&self, exported: &Exported) -> String {
        let entry = &exported.record.entry;
        let severity = match entry.outcome {
            Outcome::Success => INFORMATIONAL,
            Outcome::Failure => WARNING,
        };
        let priority = FACILITY * 8 + severity;
        let (at, host, event) = (entry.at, &self.hostname, entry.event.as_str());
        let mut message = format!("<{priority}>1 {at} {host} {APP_NAME} - {event} ");
        self.put_data(&mut message, exported);
        message.push(' ');
        message.push_str(&exported.line);
        debug_assert!(message.len() <= MAX_SYSLOG, "members are bounded");
        message
    }

    fn put_data(&self, message: &mut String, exported: &Exported) {
        let entry = &exported.record.entry;
        let put = |message: &mut String, name: &str, value: &str| {
            message.push_str(&parameter(name, value));
        };
        message.push_str("[audit@");
        // Writing to a string can't fail.
        let _ = write!(message, "{}", self.enterprise);
        put(message, "seq", &exported.record.seq.to_string());
        put(message, "actor", &entry.actor.to_string());
        put(message, "outcome", entry.outcome.as_str());
        put(message, "listener", entry.origin.listener.as_str());
        if let Some(peer) = entry.origin.peer {
            put(message, "peer", &peer.to_string());
        }
        put(message, "kind", entry.object.kind.as_str());
        let ids = [("call", entry.object.call), ("session", entry.object.session)];
        for (name, id) in ids.into_iter().chain([("id", entry.object.id)]) {
            if let Some(id) = id {
                put(message, name, &id.to_string());
            }
        }
        if let Some(key) = &entry.object.key {
            put(message, "key", key.as_str());
        }
        put(message, "hash", &exported.hash.to_string());
        message.push(']');
    }
}

/// A message in a frame: its octets counted, a space, and itself (RFC 5425 section 4.3, RFC 6587
/// section 3.4.1).
#[must_use]
pub fn frame(message: &str) -> Vec<u8> {
    format!("{} {message}", message.len()).into_bytes()
}

/// ` name="value"`, with a backslash before what would end the value (RFC 5424 section 6.3.3).
fn parameter(name: &str, value: &str) -> String {
    let mut text = String::with_capacity(name.len() + value.len() + 4);
    text.push(' ');
    text.push_str(name);
    text.push_str("=\"");
    for character in value.chars() {
        if matches!(character, '"' | '\\' | ']') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Sha256;
    use crate::line::Record;
    use crate::scratch::entry;

    fn exported(number: u32) -> Exported {
        let record = Record { seq: number.into(), prev: Sha256::ZERO, entry: entry(number) };
        let line = String::from_utf8(record.write()).unwrap();
        Exported { record, hash: Sha256::of(line.as_bytes()), line }
    }

    #[test]
    fn a_message_is_as_rfc_5424_has_it() {
        let sender = Sender::new("relay-1.example", EXAMPLE_ENTERPRISE).unwrap();
        let exported = exported(7);
        let (line, hash) = (&exported.line, exported.hash);
        let expected = format!(
            "<110>1 2026-11-30T18:34:07.123Z relay-1.example sotto - session.entered \
             [audit@32473 seq=\"7\" actor=\"key:7Gq3bXw9Kd2m\" outcome=\"success\" \
             listener=\"control\" peer=\"192.0.2.7:50312\" kind=\"session\" \
             call=\"00000000000000000000000000000007\" session=\"00000000000000070000000000000000\" \
             hash=\"{hash}\"] {line}"
        );
        assert_eq!(sender.message(&exported), expected);
        let failed = sender.message(&super::tests::exported(9));
        assert!(failed.starts_with("<108>1 ") && failed.contains(" outcome=\"failure\" "));
    }

    #[test]
    fn what_would_end_a_value_is_escaped() {
        assert_eq!(parameter("a", r#"x"y\z]"#), r#" a="x\"y\\z\]""#);
        assert_eq!(parameter("a", "é [ok"), " a=\"é [ok\"");
    }

    #[test]
    fn names_of_hosts_are_held_to_the_rule() {
        for bad in ["", "a b", "a\n", "é", &"h".repeat(256)] {
            assert!(Sender::new(bad, 1).is_none(), "{bad:?}");
        }
        assert!(Sender::new("-", 1).is_some());
    }

    #[test]
    fn a_frame_counts_octets() {
        assert_eq!(frame("<110>1 é"), "9 <110>1 é".as_bytes());
    }
}
