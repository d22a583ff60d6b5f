//! Meter: what the requests of one connection keep waiting, how many were given up, and since when it
//! has had none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::paced::WRITE_TIMEOUT;
use super::places::Standing;
use crate::clock;

/// Time without a request after which a connection of HTTP/2 is closed. One of HTTP/1.1 has
/// [`super::HEADER_TIMEOUT`] for the next one.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests that a client may give up before it has all of the answer, more than it lets be answered. A
/// page that is left gives up a few, and its event stream; who opens and resets streams in haste
/// (CVE-2023-44487) nothing else.
pub const MAX_GIVEN_UP: usize = 32;

/// What is known of one connection's requests.
pub(super) struct Meter {
    standing: Standing,
    state: Mutex<State>,
}

struct State {
    /// Requests that have begun and whose answer is not out.
    open: usize,
    /// Those that were given up, less those that were answered.
    given_up: usize,
    last: u64,
    /// Answers of which a piece waits for the client, since when. There are no more than streams.
    waiting: HashMap<u64, Instant>,
    idle_since: Instant,
}

/// One request from its beginning to the end of its answer.
pub(super) struct Turn {
    meter: Arc<Meter>,
    number: u64,
    is_answered: bool,
}

impl Meter {
    pub(super) fn new(standing: Standing, now: Instant) -> Arc<Meter> {
        let state =
            State { open: 0, given_up: 0, last: 0, waiting: HashMap::new(), idle_since: now };
        Arc::new(Meter { standing, state: Mutex::new(state) })
    }

    /// A request begins.
    pub(super) fn begin(meter: &Arc<Meter>) -> Turn {
        let mut state = meter.lock();
        state.open += 1;
        state.last += 1;
        let number = state.last;
        drop(state);
        Turn { meter: Arc::clone(meter), number, is_answered: false }
    }

    /// Whether the client takes too long to take an answer.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let late = |since: &Instant| now.saturating_duration_since(*since) >= WRITE_TIMEOUT;
        self.lock().waiting.values().any(late)
    }

    /// Whether nothing was asked for so long that the connection may close.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let state = self.lock();
        state.open == 0 && now.saturating_duration_since(state.idle_since) >= IDLE_TIMEOUT
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// All of the answer was taken over.
    pub(super) fn answered(&mut self) {
        if std::mem::replace(&mut self.is_answered, true) {
            return;
        }
        let mut state = self.meter.lock();
        state.given_up = state.given_up.saturating_sub(1);
    }

    /// A piece of the answer is on its way to the client.
    pub(super) fn waits_for_client(&self) {
        self.meter.lock().waiting.insert(self.number, clock::monotonic());
    }

    /// The client has room for the next piece.
    pub(super) fn is_taken(&self) {
        self.meter.lock().waiting.remove(&self.number);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.meter.lock();
        state.open -= 1;
        state.waiting.remove(&self.number);
        state.idle_since = clock::monotonic();
        if !self.is_answered {
            state.given_up += 1;
            if state.given_up > MAX_GIVEN_UP {
                self.meter.standing.cut();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{IDLE_TIMEOUT, MAX_GIVEN_UP, Meter, WRITE_TIMEOUT};
    use crate::clock;
    use crate::server::places::Standing;

    async fn is_cut(standing: &Standing) -> bool {
        tokio::time::timeout(Duration::ZERO, standing.is_cut()).await.is_ok()
    }

    #[tokio::test]
    async fn who_gives_up_more_than_it_lets_be_answered_is_cut() {
        let standing = Standing::default();
        let meter = Meter::new(standing.clone(), clock::monotonic());
        for _ in 0..3 * MAX_GIVEN_UP {
            drop(Meter::begin(&meter));
            Meter::begin(&meter).answered();
        }
        assert!(!is_cut(&standing).await);
        for _ in 0..=MAX_GIVEN_UP {
            drop(Meter::begin(&meter));
        }
        assert!(is_cut(&standing).await);
    }

    #[test]
    fn a_piece_that_waits_too_long_is_noticed_and_so_is_silence() {
        let begun = clock::monotonic();
        let meter = Meter::new(Standing::default(), begun);
        assert!(!meter.is_idle(begun) && meter.is_idle(begun + IDLE_TIMEOUT));
        let (one, mut other) = (Meter::begin(&meter), Meter::begin(&meter));
        other.answered();
        assert!(!meter.is_idle(begun + IDLE_TIMEOUT));
        one.waits_for_client();
        other.waits_for_client();
        let late = clock::monotonic() + WRITE_TIMEOUT;
        assert!(!meter.is_overdue(clock::monotonic()) && meter.is_overdue(late));
        one.is_taken();
        assert!(meter.is_overdue(late));
        drop(other);
        assert!(!meter.is_overdue(late));
        drop(one);
        assert!(meter.is_idle(clock::monotonic() + IDLE_TIMEOUT));
        assert!(Arc::strong_count(&meter) == 1);
    }
}
