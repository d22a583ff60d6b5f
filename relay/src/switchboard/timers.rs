//! Timers: which call has to be looked at next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::wheel::Wheel;

/// One alarm a call. Setting it again replaces it.
///
/// What rings soon is on a wheel: a call whose streams are generated sets its alarm a hundred
/// times a second. What rings later, reports and time limits, is on a heap, whose entries are
/// skipped lazily once they have been replaced.
pub(super) struct Timers {
    alarms: Vec<Alarm>,
    wheel: Wheel,
    heap: BinaryHeap<Reverse<(Instant, u32, u64)>>,
    stamps: u64,
}

/// The alarm of one slot.
#[derive(Clone, Copy)]
enum Alarm {
    Off,
    /// On the wheel.
    Soon(Instant),
    /// On the heap, under this stamp.
    Later(Instant, u64),
}

impl Alarm {
    fn at(self) -> Option<Instant> {
        match self {
            Alarm::Off => None,
            Alarm::Soon(at) | Alarm::Later(at, _) => Some(at),
        }
    }
}

impl Timers {
    /// Without alarms. `origin` is an instant not after any other.
    pub(super) fn new(origin: Instant) -> Timers {
        let (alarms, heap) = (Vec::new(), BinaryHeap::new());
        Timers { alarms, wheel: Wheel::new(origin), heap, stamps: 0 }
    }

    /// Sets or clears the alarm of `slot`.
    pub(super) fn set(&mut self, slot: usize, due: Option<Instant>) {
        if self.alarms.len() <= slot {
            self.alarms.resize(slot + 1, Alarm::Off);
        }
        if self.alarms[slot].at() == due {
            return;
        }
        self.turn_off(slot);
        if let Some(at) = due {
            self.alarms[slot] = self.turn_on(slot as u32, at);
        }
        self.skip_replaced();
    }

    /// The alarm of `slot`.
    pub(super) fn of(&self, slot: usize) -> Option<Instant> {
        self.alarms.get(slot).and_then(|alarm| alarm.at())
    }

    /// The earliest alarm.
    pub(super) fn next(&self) -> Option<Instant> {
        self.earliest().map(|(at, _)| at)
    }

    /// Takes one slot whose alarm is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let Some((_, slot)) = self.earliest().filter(|&(at, _)| at <= now) else {
            self.wheel.advance(now);
            return None;
        };
        self.turn_off(slot as usize);
        self.skip_replaced();
        Some(slot as usize)
    }

    fn turn_on(&mut self, slot: u32, at: Instant) -> Alarm {
        if self.wheel.insert(slot, at) {
            return Alarm::Soon(at);
        }
        self.stamps += 1;
        self.heap.push(Reverse((at, slot, self.stamps)));
        Alarm::Later(at, self.stamps)
    }

    fn turn_off(&mut self, slot: usize) {
        match std::mem::replace(&mut self.alarms[slot], Alarm::Off) {
            Alarm::Soon(_) => self.wheel.remove(slot as u32),
            Alarm::Off | Alarm::Later(..) => {}
        }
    }

    fn earliest(&self) -> Option<(Instant, u32)> {
        let soon = self.wheel.first();
        let later = self.heap.peek().map(|&Reverse((at, slot, _))| (at, slot));
        match (soon, later) {
            (Some(soon), Some(later)) => Some(if soon.0 <= later.0 { soon } else { later }),
            (soon, later) => soon.or(later),
        }
    }

    /// Keeps the top of the heap a live alarm, so that `next` needs no search.
    fn skip_replaced(&mut self) {
        while let Some(&Reverse((_, slot, stamp))) = self.heap.peek() {
            match self.alarms[slot as usize] {
                Alarm::Later(_, live) if live == stamp => return,
                Alarm::Off | Alarm::Soon(_) | Alarm::Later(..) => self.heap.pop(),
            };
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::time::Duration;

    #[test]
    fn alarms_ring_in_order_and_a_replaced_one_never() {
        let start = Instant::now();
        let at = |ms| Some(start + Duration::from_millis(ms));
        let mut timers = Timers::new(start);
        timers.set(0, at(30));
        timers.set(1, at(20));
        timers.set(1, at(40));
        timers.set(2, at(10));
        timers.set(2, None);
        assert_eq!(timers.next(), at(30));
        assert_eq!(timers.pop_due(start + Duration::from_millis(29)), None);
        assert_eq!(timers.pop_due(start + Duration::from_millis(50)), Some(0));
        assert_eq!(timers.pop_due(start + Duration::from_millis(50)), Some(1));
        assert_eq!(timers.next(), None);
    }

    /// Alarms of every distance, moved and cleared at random, against a plain table.
    #[test]
    fn agrees_with_a_table_of_all_alarms() {
        const SLOTS: usize = 40;
        let mut random = StdRng::from_seed([5; 32]);
        let start = Instant::now();
        let mut now = start;
        let mut timers = Timers::new(start);
        let mut table = [None; SLOTS];
        let mut rung = 0;
        for _ in 0..30_000 {
            let slot = random.random_range(0..SLOTS);
            // Late ones, a microsecond, a frame, a turn of the wheel, seconds.
            let span = [1, 1_000, 20_000, 140_000, 5_000_000][random.random_range(0..5)];
            let ahead = Duration::from_micros(random.random_range(0..=span));
            let due = match random.random_range(0..10) {
                0 => None,
                1 => now.checked_sub(ahead).filter(|&at| at >= start),
                _ => Some(now + ahead),
            };
            timers.set(slot, due);
            table[slot] = due;
            assert_eq!(timers.next(), table.iter().flatten().min().copied());
            if random.random_range(0..4) == 0 {
                now += Duration::from_micros(random.random_range(0..=span / 4));
                while let Some(slot) = timers.pop_due(now) {
                    let at = table[slot].take();
                    assert!(at.is_some_and(|at| at <= now), "it had rung, or was not due");
                    assert!(table.iter().flatten().all(|&other| Some(other) >= at), "the earliest");
                    rung += 1;
                }
                assert!(table.iter().flatten().all(|&at| at > now), "one was forgotten");
            }
        }
        assert!(rung > 1_000, "{rung}");
    }
}
