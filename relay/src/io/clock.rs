//! Clock: the one reader of monotonic time.

use std::time::{Duration, Instant};

/// Reads the processor's time stamp counter through `quanta` and speaks `std::time::Instant`,
/// which is what everything else takes as an argument.
#[derive(Clone)]
pub struct Clock {
    counter: quanta::Clock,
    counted: quanta::Instant,
    anchor: Instant,
}

impl Clock {
    /// A clock that agrees with `Instant::now` at this moment.
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the time")]
    pub fn new() -> Clock {
        let counter = quanta::Clock::new();
        Clock { counted: counter.now(), counter, anchor: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        let since: Duration = self.counter.now().saturating_duration_since(self.counted);
        self.anchor + since
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}
