//! Rate: how often one source may be heard, in a table that does not grow.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// Buckets; sources that meet in one share it, and which do is not for them to know.
const BUCKETS: usize = 4096;

/// A bucket for each source, in a table of fixed size.
pub(crate) struct Rate {
    key: [u8; 32],
    /// Time that one takes from its bucket.
    each: Duration,
    /// How far a bucket may be ahead of the clock.
    burst: Duration,
    /// When each bucket is full again.
    full_at: Vec<Instant>,
}

impl Rate {
    /// So many a second, and so many at once.
    pub(crate) fn new(key: [u8; 32], per_second: u32, at_once: u32, now: Instant) -> Rate {
        let each = Duration::from_secs(1) / per_second.max(1);
        Rate { key, each, burst: each * at_once, full_at: vec![now; BUCKETS] }
    }

    /// Whether one more of `source` is within its rate.
    pub(crate) fn admits(&mut self, now: Instant, source: IpAddr) -> bool {
        let index = self.index(source);
        let Some(full_at) = self.full_at.get_mut(index) else { return false };
        let next = (*full_at).max(now) + self.each;
        let is_within = next <= now + self.burst;
        if is_within {
            *full_at = next;
        }
        is_within
    }

    /// Whether one more would be, which is not counted.
    pub(crate) fn has_room(&self, now: Instant, source: IpAddr) -> bool {
        let full_at = self.full_at.get(self.index(source));
        full_at.is_some_and(|full_at| (*full_at).max(now) + self.each <= now + self.burst)
    }

    fn index(&self, source: IpAddr) -> usize {
        let mut hash = Sha256::new();
        hash.update(self.key);
        match source.to_canonical() {
            IpAddr::V4(source) => hash.update(source.octets()),
            // Who has one address of a /64 has all of them.
            IpAddr::V6(source) => {
                hash.update(source.segments().map(u16::to_be_bytes)[..4].concat())
            }
        }
        let hash = hash.finalize();
        usize::from(u16::from_be_bytes([hash[0], hash[1]])) % BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Rate;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "some time to count from")]
    fn a_source_has_its_rate_and_no_other_pays_for_it() {
        let now = Instant::now();
        let mut rate = Rate::new([3; 32], 10, 5, now);
        let (loud, quiet) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        assert_eq!((0..100).filter(|_| rate.admits(now, loud)).count(), 5);
        assert!(!rate.has_room(now, loud) && rate.has_room(now, quiet));
        assert!(rate.admits(now, quiet));
        let later = now + Duration::from_millis(200);
        assert_eq!((0..100).filter(|_| rate.admits(later, loud)).count(), 2);
        let [one, same] = ["2001:db8::1", "2001:db8::ffff"].map(|ip| ip.parse().unwrap());
        assert_eq!(rate.index(one), rate.index(same));
    }
}
