//! Watch: what an engine hears while its call is cut, octet by octet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most packets remembered of one cut: whatever comes beyond makes no difference to the verdict.
const REMEMBERED: usize = 4096;

/// What was heard of a caller whose call was, at the time, said to be cut.
#[derive(Default)]
pub(crate) struct Watch {
    /// When the cut was acknowledged, in ns of the wall clock; 0 while open.
    cut: AtomicU64,
    heard: Mutex<Vec<(u64, u64)>>,
}

impl Watch {
    /// The cut was acknowledged at this time.
    pub(crate) fn begin(&self, at: u64) {
        self.heard().clear();
        self.cut.store(at, Ordering::Relaxed);
    }

    /// Notes octets that are not the relay's own silence.
    pub(crate) fn hear(&self, at: u64, octets: u64) {
        let cut = self.cut.load(Ordering::Relaxed);
        if cut != 0 && at > cut {
            let mut heard = self.heard();
            if heard.len() < REMEMBERED {
                heard.push((at, octets));
            }
        }
    }

    /// Ends the watch: octets heard between the acknowledgement and `still_cut`, the last time at
    /// which the call was known to be cut.
    pub(crate) fn end(&self, still_cut: u64) -> u64 {
        self.cut.store(0, Ordering::Relaxed);
        let mut heard = self.heard();
        let leaked = heard.iter().filter(|(at, _)| *at < still_cut).map(|(_, octets)| octets).sum();
        heard.clear();
        leaked
    }

    fn heard(&self) -> MutexGuard<'_, Vec<(u64, u64)>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_count_from_the_acknowledgement_to_the_last_proof() {
        let watch = Watch::default();
        watch.hear(5, 160);
        watch.begin(10);
        watch.hear(9, 160);
        watch.hear(11, 160);
        watch.hear(12, 4);
        watch.hear(30, 160);
        assert_eq!(watch.end(20), 164);
        watch.begin(40);
        assert_eq!(watch.end(50), 0);
    }
}
