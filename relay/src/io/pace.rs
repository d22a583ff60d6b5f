//! Pace: whether a worker serves each packet at once, or many together twice a millisecond.

use std::time::{Duration, Instant};

/// Time between two looks at the rings under load: with half of it a packet costs a third more, with
/// twice of it hardly less.
pub(super) const TICK: Duration = Duration::from_micros(500);

/// Time over which the load is judged.
const WINDOW: Duration = Duration::from_millis(10);
/// Packets in a window above which a worker waits for ticks: four a tick and more. Below it there is
/// processor time enough to serve each packet when it comes.
const BUSY: u32 = 80;
/// Packets in a window below which it serves at once again: less than three a tick.
const IDLE: u32 = 60;

/// How a worker is to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// Until a packet is there.
    Packet,
    /// For this long, whatever comes.
    Tick(Duration),
}

/// One worker's pace.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    packets: u32,
    is_busy: bool,
    /// When the next look is due.
    next: Instant,
    late: u64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Pace {
        Pace { began: now, packets: 0, is_busy: false, next: now, late: 0 }
    }

    /// Counts a packet.
    pub(super) fn count(&mut self) {
        self.packets += 1;
    }

    /// How to wait from `now` on.
    pub(super) fn plan(&mut self, now: Instant) -> Wait {
        let since = now.saturating_duration_since(self.began);
        if since >= WINDOW {
            let windows = since.as_nanos() / WINDOW.as_nanos();
            let limit = if self.is_busy { IDLE } else { BUSY };
            self.is_busy = u128::from(self.packets) >= u128::from(limit) * windows;
            (self.began, self.packets) = (now, 0);
        }
        if !self.is_busy {
            self.next = now;
            return Wait::Packet;
        }
        if now >= self.next {
            if now > self.next + TICK {
                self.late += 1;
                self.next = now;
            }
            self.next += TICK;
        }
        Wait::Tick(self.next.saturating_duration_since(now))
    }

    /// Looks at the rings that came more than a tick late.
    pub(super) fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    /// Plans every tick for 50 ms with `packets` a tick; how the last wait is.
    fn play(pace: &mut Pace, now: &mut Instant, packets: u32) -> Wait {
        let mut wait = Wait::Packet;
        for _ in 0..100 {
            *now += TICK;
            (0..packets).for_each(|_| pace.count());
            wait = pace.plan(*now);
        }
        wait
    }

    #[test]
    fn load_makes_it_tick_and_quiet_ends_that() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(play(&mut pace, &mut now, 0), Wait::Packet);
        assert_eq!(play(&mut pace, &mut now, 3), Wait::Packet);
        assert!(matches!(play(&mut pace, &mut now, 5), Wait::Tick(_)));
        assert!(matches!(play(&mut pace, &mut now, 3), Wait::Tick(_)), "between the two it stays");
        assert_eq!(play(&mut pace, &mut now, 0), Wait::Packet);
    }

    #[test]
    fn ticks_keep_their_distance_and_late_ones_are_counted() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        play(&mut pace, &mut now, 5);
        let mut wait_of = |now| match pace.plan(now) {
            Wait::Tick(left) => left,
            Wait::Packet => panic!("under load"),
        };
        now += wait_of(now);
        assert_eq!(wait_of(now), TICK, "served in no time");
        let half = TICK / 2;
        assert_eq!(wait_of(now + half), half, "woken early, it waits for the same tick");
        assert_eq!(wait_of(now + TICK + half), half, "served slowly");
        assert_eq!(wait_of(now + 5 * TICK), TICK, "what a stall has missed is not made up for");
        assert_eq!(pace.late(), 1);
    }
}
