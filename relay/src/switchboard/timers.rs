//! Timers: which call has to be looked at next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// One alarm a call. Setting it again replaces it; entries that were replaced are skipped lazily.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u32, u64)>>,
    current: Vec<Option<(Instant, u64)>>,
    stamps: u64,
}

impl Timers {
    /// Sets or clears the alarm of `slot`.
    pub(super) fn set(&mut self, slot: usize, due: Option<Instant>) {
        if self.current.len() <= slot {
            self.current.resize(slot + 1, None);
        }
        if self.current[slot].map(|(at, _)| at) == due {
            return;
        }
        self.current[slot] = due.map(|at| {
            self.stamps += 1;
            self.heap.push(Reverse((at, slot as u32, self.stamps)));
            (at, self.stamps)
        });
        self.skip_replaced();
    }

    /// The earliest alarm.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes one slot whose alarm is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let &Reverse((at, slot, _)) = self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        self.current[slot as usize] = None;
        self.skip_replaced();
        Some(slot as usize)
    }

    /// Keeps the top of the heap a live alarm, so that `next` needs no search.
    fn skip_replaced(&mut self) {
        while let Some(&Reverse((_, slot, stamp))) = self.heap.peek() {
            if self.current[slot as usize].is_some_and(|(_, live)| live == stamp) {
                return;
            }
            self.heap.pop();
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn alarms_ring_in_order_and_a_replaced_one_never() {
        let start = Instant::now();
        let at = |ms| Some(start + Duration::from_millis(ms));
        let mut timers = Timers::default();
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
}
