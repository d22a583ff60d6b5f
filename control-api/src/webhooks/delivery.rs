//! Delivery: one event on its way to one webhook, and when it is tried again.

use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::{ContextV7, Uuid};

use crate::clock::{self, Timestamp};

/// What an id begins with, as in Standard Webhooks.
const PREFIX: &str = "msg_";
/// Hexadecimal digits of 128 bits.
const HEX_LEN: usize = 32;
/// How much a delay may be longer or shorter, in 1/256: receivers that were down together are not
/// all called at once when they come back.
const JITTER: u64 = 51;

/// A delivery's id, which sorts by time; the receiver knows repeats by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeliveryId(u128);

/// A delivery as its file has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The webhook's name.
    pub webhook: String,
    /// The event's type.
    pub kind: String,
    /// The call.
    pub call_id: String,
    /// The whole second in which the event was told, in ms since 1970.
    pub created_ms: u64,
    /// Attempts that failed.
    pub attempts: u32,
    /// When the next attempt is due, in ms since 1970.
    pub next_ms: u64,
    /// How the last attempt failed.
    pub failure: Option<String>,
    /// What is sent, octet for octet the same each time.
    pub body: String,
}

/// When a failed delivery is tried again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    delays: Vec<Duration>,
}

impl DeliveryId {
    /// Its 128 bits.
    #[must_use]
    pub const fn number(self) -> u128 {
        self.0
    }

    /// A new id. Its time is in whole seconds, as that of every event: it goes to the receiver, and
    /// a field is done when its last key is pressed. Within a second ids count on.
    #[must_use]
    pub fn new() -> DeliveryId {
        static SEQUENCE: Mutex<ContextV7> = Mutex::new(ContextV7::new());
        let seconds = clock::now().unix_ms() / 1000;
        DeliveryId(Uuid::new_v7(uuid::Timestamp::from_unix(&SEQUENCE, seconds, 0)).as_u128())
    }

    /// The id as text.
    #[must_use]
    pub fn text(self) -> String {
        format!("{PREFIX}{:032x}", self.0)
    }

    /// The id that `text` is, if it has the one form that ids have.
    #[must_use]
    pub fn parse(text: &str) -> Option<DeliveryId> {
        let hex = text.strip_prefix(PREFIX)?;
        let lower = hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex.len() != HEX_LEN || !lower {
            return None;
        }
        u128::from_str_radix(hex, 16).ok().map(DeliveryId)
    }
}

impl Default for DeliveryId {
    fn default() -> DeliveryId {
        DeliveryId::new()
    }
}

impl Default for Schedule {
    /// A day and a half: over a night with nobody at the receiver's end.
    fn default() -> Schedule {
        let seconds = [5, 30, 2 * 60, 10 * 60, 60 * 60, 6 * 60 * 60, 24 * 60 * 60];
        Schedule::new(seconds.map(Duration::from_secs).to_vec())
    }
}

impl Schedule {
    /// A try after each of these delays, after which it is given up.
    #[must_use]
    pub fn new(delays: Vec<Duration>) -> Schedule {
        Schedule { delays }
    }

    /// When to try again after `attempts` failures (1 or more), if at all; `random` moves it by up
    /// to a fifth either way. It counts from the end of the second that `now` lies in: `now` may be
    /// the moment of the key that the event tells of, and the shift has few enough values to be
    /// found out.
    #[must_use]
    pub fn next(&self, now: Timestamp, attempts: u32, random: u32) -> Option<Timestamp> {
        let index = usize::try_from(attempts.checked_sub(1)?).ok()?;
        let delay = u64::try_from(self.delays.get(index)?.as_millis()).ok()?;
        let factor = 256 - JITTER + u64::from(random) % (2 * JITTER + 1);
        let from = now.after(Duration::from_millis(999)).whole_seconds();
        Some(from.after(Duration::from_millis(delay.saturating_mul(factor) / 256)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DeliveryId, Schedule};
    use crate::clock::Timestamp;

    #[test]
    fn ids_are_read_as_they_are_written_and_nothing_else_is() {
        let id = DeliveryId::new();
        assert_eq!(DeliveryId::parse(&id.text()), Some(id));
        for bad in ["", "msg_", "../../etc", &id.text().to_uppercase(), &format!("{}0", id.text())]
        {
            assert_eq!(DeliveryId::parse(bad), None, "{bad}");
        }
    }

    /// A control beside it: ids of calls do tell the millisecond.
    #[test]
    fn no_id_tells_the_millisecond_of_its_event_and_all_sort_by_time() {
        let ids: Vec<_> = (0..100).map(|_| DeliveryId::new()).collect();
        assert!(ids.iter().all(|id| (id.0 >> 80) % 1000 == 0));
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
        let calls = (0..20).map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            crate::dto::id::new_call().0
        });
        assert!(calls.map(|id| (id >> 80) % 1000).any(|ms| ms != 0));
    }

    #[test]
    fn delays_grow_to_a_day_with_jitter_and_end() {
        let (schedule, now) = (Schedule::default(), Timestamp::from_unix_ms(1_000_000));
        let delays = [5, 30, 120, 600, 3600, 21_600, 86_400];
        for (attempts, seconds) in (1..).zip(delays) {
            let mut seen = Vec::new();
            for random in 0..1000_u32 {
                let next = schedule.next(now, attempts, random.wrapping_mul(2_654_435_761));
                seen.push(next.unwrap().unix_ms() - now.unix_ms());
            }
            let (least, most) = (*seen.iter().min().unwrap(), *seen.iter().max().unwrap());
            let delay = seconds * 1000;
            assert!(least >= delay * 79 / 100 && most <= delay * 121 / 100, "{least} {most}");
            assert!(least < delay * 85 / 100 && most > delay * 115 / 100, "spread: {least} {most}");
        }
        assert_eq!(schedule.next(now, 8, 0), None);
        assert_eq!(schedule.next(now, 0, 0), None);
        assert_eq!(Schedule::new(vec![Duration::ZERO]).next(now, 1, 7), Some(now));
    }

    /// The first attempt may fail at once, within a millisecond of the key that the event tells of.
    #[test]
    fn no_next_attempt_tells_the_millisecond_of_the_last() {
        let schedule = Schedule::default();
        let next = |ms: u64| schedule.next(Timestamp::from_unix_ms(1_000_000 + ms), 1, 7);
        assert!((1..=1000).all(|ms| next(ms) == next(1)));
        assert_ne!(next(1001), next(1), "the control");
    }
}
