//! Wheel: the alarms of the next moments, in buckets by time.
//!
//! A stream that is generated has an alarm every 20 ms, and there may be thousands. Setting one
//! costs the same however many others there are: each bucket is a list in order of time, linked
//! through a table with one place a slot, and a new alarm is nearly always the last of its bucket.

use std::time::Instant;

/// A bucket lasts 2^17 ns, 131 us: with 5,000 streams of 20 ms it holds some thirty alarms.
const TICK_BITS: u32 = 17;

/// Buckets of one turn, 134 ms: longer than the longest packet time and a block of a recording.
const BUCKETS: usize = 1024;

/// Buckets whose occupation one word tells.
const WORD: usize = u64::BITS as usize;

/// No slot: an end of a list.
const NONE: u32 = u32::MAX;

/// Alarms of slots, at most one each, of the next [`BUCKETS`] ticks.
pub(super) struct Wheel {
    origin: Instant,
    /// No alarm lies before this tick, those aside that were late when they were set.
    base: u64,
    buckets: Box<[Bucket; BUCKETS]>,
    /// Bit `n` of word `w` says that bucket `64 w + n` has an alarm.
    occupied: [u64; BUCKETS / WORD],
    links: Vec<Link>,
}

/// The ends of a list.
#[derive(Clone, Copy)]
struct Bucket {
    first: u32,
    last: u32,
}

/// One slot's alarm and its neighbours.
#[derive(Clone, Copy)]
struct Link {
    at: Instant,
    bucket: u32,
    before: u32,
    after: u32,
}

impl Wheel {
    /// Without alarms; ticks count from `origin`.
    pub(super) fn new(origin: Instant) -> Wheel {
        Wheel {
            origin,
            base: 0,
            buckets: Box::new([Bucket { first: NONE, last: NONE }; BUCKETS]),
            occupied: [0; BUCKETS / WORD],
            links: Vec::new(),
        }
    }

    /// Takes in an alarm of a slot that has none; false if it is further away than a turn.
    pub(super) fn insert(&mut self, slot: u32, at: Instant) -> bool {
        let tick = self.tick(at).max(self.base);
        if tick - self.base >= BUCKETS as u64 {
            return false;
        }
        let bucket = (tick % BUCKETS as u64) as u32;
        let mut before = self.buckets[bucket as usize].last;
        while before != NONE && self.links[before as usize].at > at {
            before = self.links[before as usize].before;
        }
        let after = match before {
            NONE => self.buckets[bucket as usize].first,
            before => self.links[before as usize].after,
        };
        let link = Link { at, bucket, before, after };
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, link);
        }
        self.links[slot as usize] = link;
        self.join(bucket, before, slot);
        self.join(bucket, slot, after);
        true
    }

    /// Takes out the alarm of a slot that has one.
    pub(super) fn remove(&mut self, slot: u32) {
        let Link { bucket, before, after, .. } = self.links[slot as usize];
        self.join(bucket, before, after);
    }

    /// The earliest alarm; of equal ones the one set first.
    pub(super) fn first(&self) -> Option<(Instant, u32)> {
        let slot = self.buckets[self.first_occupied()?].first;
        Some((self.links[slot as usize].at, slot))
    }

    /// The alarms up to `now` have all been taken out: its tick is the next turn's first.
    pub(super) fn advance(&mut self, now: Instant) {
        debug_assert!(self.first().is_none_or(|(at, _)| at > now), "what is due is taken out");
        self.base = self.base.max(self.tick(now));
    }

    fn tick(&self, at: Instant) -> u64 {
        (at.saturating_duration_since(self.origin).as_nanos() >> TICK_BITS) as u64
    }

    /// Makes two slots neighbours; where one is none, the other is that end of the bucket.
    fn join(&mut self, bucket: u32, before: u32, after: u32) {
        match before {
            NONE => self.buckets[bucket as usize].first = after,
            before => self.links[before as usize].after = after,
        }
        match after {
            NONE => self.buckets[bucket as usize].last = before,
            after => self.links[after as usize].before = before,
        }
        let (word, bit) = (bucket as usize / WORD, 1 << (bucket as usize % WORD));
        if self.buckets[bucket as usize].first == NONE {
            self.occupied[word] &= !bit;
        } else {
            self.occupied[word] |= bit;
        }
    }

    /// The first bucket with an alarm, from the base's on and once around.
    fn first_occupied(&self) -> Option<usize> {
        let base = (self.base % BUCKETS as u64) as usize;
        let behind = !0 << (base % WORD);
        let found = |word: usize, mask: u64| {
            let bits = self.occupied[word] & mask;
            (bits != 0).then(|| word * WORD + bits.trailing_zeros() as usize)
        };
        let words = self.occupied.len();
        found(base / WORD, behind)
            .or_else(|| (1..words).find_map(|step| found((base / WORD + step) % words, !0)))
            .or_else(|| found(base / WORD, !behind))
    }
}
