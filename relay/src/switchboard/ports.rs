//! PortPool: the free port pairs of one worker's slice of the range.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Instant;

use super::id::PortPair;
use super::limits::{MAX_LINKS, PORT_QUARANTINE};

/// Pairs of one worker: handed out from a random start, rested after use.
pub struct PortPool {
    free: VecDeque<PortPair>,
    resting: VecDeque<(Instant, PortPair)>,
}

impl PortPool {
    /// All pairs within `ports`, beginning at a random one so that the next port cannot be guessed
    /// from a restart.
    pub fn new(ports: RangeInclusive<u16>, random: u64) -> PortPool {
        let (low, high) = (*ports.start(), *ports.end());
        let mut free: VecDeque<PortPair> = (low..high).filter_map(PortPair::new).collect();
        if !free.is_empty() {
            let turn = (random % free.len() as u64) as usize;
            free.rotate_left(turn);
        }
        PortPool { free, resting: VecDeque::new() }
    }

    /// The slice of `ports` that belongs to worker `index` of `workers`; empty if there is none.
    pub fn slice(ports: &RangeInclusive<u16>, index: usize, workers: usize) -> RangeInclusive<u16> {
        assert!(index < workers);
        let low = u32::from(*ports.start()).next_multiple_of(2);
        let pairs = (u32::from(*ports.end()) + 1).saturating_sub(low) / 2;
        let edge = |n: usize| low + 2 * (pairs * n as u32 / workers as u32);
        let (from, to) = (edge(index), edge(index + 1));
        if from == to { RangeInclusive::new(1, 0) } else { from as u16..=(to - 1) as u16 }
    }

    /// Numbers for links, which take no port: as many pairs as there may be, on that side of the
    /// worker's own `slice` where there is more room.
    pub fn links(slice: &RangeInclusive<u16>) -> RangeInclusive<u16> {
        let above = (u32::from(*slice.end()) + 1).next_multiple_of(2);
        let (from, room) = match (u32::from(*slice.start()), 0x1_0000 - above) {
            (below, room) if below >= room => (0, below),
            (_, room) => (above, room),
        };
        let count = room.min(2 * MAX_LINKS as u32) & !1;
        if count == 0 { RangeInclusive::new(1, 0) } else { from as u16..=(from + count - 1) as u16 }
    }

    /// Takes a free pair.
    pub fn take(&mut self, now: Instant) -> Option<PortPair> {
        while let Some(&(until, pair)) = self.resting.front() {
            if until > now {
                break;
            }
            self.resting.pop_front();
            self.free.push_back(pair);
        }
        self.free.pop_front()
    }

    /// Gives a pair back; it rests before it is handed out again.
    pub fn give_back(&mut self, now: Instant, pair: PortPair) {
        self.resting.push_back((now + PORT_QUARANTINE, pair));
    }

    /// Pairs that are free or resting.
    pub fn left(&self) -> usize {
        self.free.len() + self.resting.len()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn slices_cover_the_range_without_overlap() {
        let range = 10000..=20000;
        let mut seen = HashSet::new();
        for index in 0..3 {
            let mut pool = PortPool::new(PortPool::slice(&range, index, 3), 7);
            while let Some(pair) = pool.take(Instant::now()) {
                assert!(pair.rtp().0.is_multiple_of(2));
                assert!(range.contains(&pair.rtcp().0));
                assert!(seen.insert(pair));
            }
        }
        assert_eq!(seen.len(), 5000);
    }

    #[test]
    fn links_have_numbers_that_no_port_of_the_worker_has() {
        for (first, last) in [(10000, 14999), (1024, 65535), (1024, 30001), (2, 65535)] {
            let links = PortPool::links(&(first..=last));
            assert!(links.clone().all(|link| !(first..=last).contains(&link)), "{first}-{last}");
            assert!(links.clone().count() <= 2 * MAX_LINKS && !links.is_empty());
            assert!(links.start().is_multiple_of(2) && !links.end().is_multiple_of(2));
        }
        assert!(PortPool::links(&(0..=65535)).is_empty());
    }

    #[test]
    fn a_used_pair_rests() {
        let now = Instant::now();
        let mut pool = PortPool::new(10000..=10001, 0);
        let pair = pool.take(now).unwrap();
        pool.give_back(now, pair);
        assert_eq!(pool.left(), 1);
        assert!(pool.take(now + PORT_QUARANTINE / 2).is_none());
        assert!(pool.take(now + PORT_QUARANTINE).is_some());
    }
}
