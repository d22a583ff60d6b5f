//! Gauges: figures of the workers that anyone may read at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::switchboard::WorkerIndex;

/// Upper bounds of the flip histogram's buckets, in microseconds; the last bucket has none.
pub const FLIP_BUCKETS_US: [u64; 10] =
    [50, 100, 250, 500, 1000, 2500, 5000, 10_000, 50_000, 250_000];

/// Figures of all workers. Cheap to clone.
#[derive(Clone)]
pub struct Gauges {
    figures: Arc<Figures>,
}

struct Figures {
    workers: Vec<[AtomicU64; 2]>,
    events_lost: AtomicU64,
    flips: [AtomicU64; FLIP_BUCKETS_US.len() + 1],
    flip_sum_us: AtomicU64,
}

impl Gauges {
    pub(super) fn new(workers: usize) -> Gauges {
        let figures = Figures {
            workers: (0..workers).map(|_| Default::default()).collect(),
            events_lost: AtomicU64::new(0),
            flips: Default::default(),
            flip_sum_us: AtomicU64::new(0),
        };
        Gauges { figures: Arc::new(figures) }
    }

    /// Calls in progress.
    pub fn calls(&self) -> u64 {
        self.figures.workers.iter().map(|[calls, _]| calls.load(Ordering::Relaxed)).sum()
    }

    /// Port pairs that are free or resting.
    pub fn free_port_pairs(&self) -> u64 {
        self.figures.workers.iter().map(|[_, pairs]| pairs.load(Ordering::Relaxed)).sum()
    }

    /// Events that the control plane was too slow to take.
    pub fn events_lost(&self) -> u64 {
        self.figures.events_lost.load(Ordering::Relaxed)
    }

    /// Flips by time from request to cut, one count for each of [`FLIP_BUCKETS_US`] and one for
    /// all above, and the sum of the times in microseconds.
    pub fn flips(&self) -> ([u64; FLIP_BUCKETS_US.len() + 1], u64) {
        let counts = std::array::from_fn(|n| self.figures.flips[n].load(Ordering::Relaxed));
        (counts, self.figures.flip_sum_us.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, worker: WorkerIndex, calls: usize, pairs: usize) {
        let [calls_gauge, pairs_gauge] = &self.figures.workers[worker.0];
        calls_gauge.store(calls as u64, Ordering::Relaxed);
        pairs_gauge.store(pairs as u64, Ordering::Relaxed);
    }

    pub(super) fn event_lost(&self) {
        self.figures.events_lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn flip(&self, took: Duration) {
        let us = took.as_micros() as u64;
        let bucket = FLIP_BUCKETS_US.iter().position(|&bound| us <= bound);
        let bucket = bucket.unwrap_or(FLIP_BUCKETS_US.len());
        self.figures.flips[bucket].fetch_add(1, Ordering::Relaxed);
        self.figures.flip_sum_us.fetch_add(us, Ordering::Relaxed);
    }
}
