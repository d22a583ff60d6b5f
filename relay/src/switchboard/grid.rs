//! Grid: the instants at which generated frames may leave.

use std::time::{Duration, Instant};

use super::limits::GRID_STEP;

/// Instants [`GRID_STEP`] apart, the same for every call of a switchboard.
///
/// Frames of many calls are due at one of them together and made in one turn, where each alone
/// would wake the worker. They are due at the grid, not moved to it when they are made: what comes
/// in between, a key among it, makes none of them sooner.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    origin: Instant,
}

impl Grid {
    /// A grid with a point at `origin`.
    pub(super) fn new(origin: Instant) -> Grid {
        Grid { origin }
    }

    /// The first point that is not before `at`.
    pub(super) fn at_or_after(self, at: Instant) -> Instant {
        const STEP: u64 = GRID_STEP.as_nanos() as u64;
        let since = at.saturating_duration_since(self.origin).as_nanos() as u64;
        self.origin + Duration::from_nanos(since.next_multiple_of(STEP))
    }
}

/// Of the instants that are a whole number of `step`s from `place`, the one nearest to `at`.
pub(super) fn nearest_place(at: Instant, place: Instant, step: Duration) -> Instant {
    // What is left of a step is as short as one.
    let rest = |time: Duration| Duration::from_nanos((time.as_nanos() % step.as_nanos()) as u64);
    let late = match at.checked_duration_since(place) {
        Some(behind) => rest(behind),
        None => rest(step - rest(place.duration_since(at))),
    };
    let before = at - late;
    if late > step / 2 { before + step } else { before }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    #[test]
    fn the_next_point_is_less_than_a_step_away() {
        let origin = Instant::now();
        let grid = Grid::new(origin);
        assert_eq!(grid.at_or_after(origin), origin);
        for nanos in [1, 7_000, 999_999, 1_000_000] {
            let at = origin + 3 * GRID_STEP + Duration::from_nanos(nanos);
            assert_eq!(grid.at_or_after(at), origin + 4 * GRID_STEP, "{nanos} ns later");
        }
    }

    #[test]
    fn the_nearest_place_is_half_a_step_away_at_most() {
        let (place, ms) = (Instant::now(), Duration::from_millis(1));
        for (at, nearest) in [(0, 0), (9, 0), (10, 0), (11, 20), (20, 20), (70, 60), (79, 80)] {
            assert_eq!(nearest_place(place + at * ms, place, 20 * ms), place + nearest * ms);
            let later = place + 1000 * ms;
            assert_eq!(nearest_place(place + at * ms, later, 20 * ms), place + nearest * ms);
        }
    }
}
