//! Gauges: figures of the workers that anyone may read at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::media_io::IoCounts;
use crate::switchboard::WorkerIndex;

/// Upper bounds of the flip histogram's buckets, in microseconds; the last bucket has none.
pub const FLIP_BUCKETS_US: [u64; 10] =
    [50, 100, 250, 500, 1000, 2000, 5000, 10_000, 50_000, 250_000];

/// Packets are told in steps of this many: a key is a few packets more or less, and how many were
/// keyed is told to nobody.
const PACKET_STEP: u64 = 256;
/// So is the time a worker was awake, in microseconds: that of some hundreds of packets.
const BUSY_STEP_US: u64 = 10_000;

/// Figures of all workers. Cheap to clone.
#[derive(Clone)]
pub struct Gauges {
    figures: Arc<Figures>,
}

struct Figures {
    workers: Vec<WorkerFigures>,
    events_lost: AtomicU64,
    flips: [AtomicU64; FLIP_BUCKETS_US.len() + 1],
    flip_sum_us: AtomicU64,
}

#[derive(Default)]
struct WorkerFigures {
    calls: AtomicU64,
    port_pairs: AtomicU64,
    received_by_ring: AtomicU64,
    received_by_socket: AtomicU64,
    sent_by_ring: AtomicU64,
    sent_by_socket: AtomicU64,
    unreadable: AtomicU64,
    wakes: AtomicU64,
    late: AtomicU64,
    busy_us: AtomicU64,
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
        self.figures.workers.iter().map(|worker| worker.calls.load(Ordering::Relaxed)).sum()
    }

    /// Port pairs that are free or resting.
    pub fn free_port_pairs(&self) -> u64 {
        let pairs = |worker: &WorkerFigures| worker.port_pairs.load(Ordering::Relaxed);
        self.figures.workers.iter().map(pairs).sum()
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

    /// What has gone which way on each worker, and how long it was awake, as of some second.
    pub fn io(&self) -> impl Iterator<Item = (IoCounts, Duration)> {
        self.figures.workers.iter().map(|worker| {
            let counts = IoCounts {
                received_by_ring: worker.received_by_ring.load(Ordering::Relaxed),
                received_by_socket: worker.received_by_socket.load(Ordering::Relaxed),
                sent_by_ring: worker.sent_by_ring.load(Ordering::Relaxed),
                sent_by_socket: worker.sent_by_socket.load(Ordering::Relaxed),
                unreadable: worker.unreadable.load(Ordering::Relaxed),
                wakes: worker.wakes.load(Ordering::Relaxed),
                late: worker.late.load(Ordering::Relaxed),
            };
            (counts, Duration::from_micros(worker.busy_us.load(Ordering::Relaxed)))
        })
    }

    pub(super) fn set(&self, worker: WorkerIndex, calls: usize, pairs: usize) {
        let worker = &self.figures.workers[worker.0];
        worker.calls.store(calls as u64, Ordering::Relaxed);
        worker.port_pairs.store(pairs as u64, Ordering::Relaxed);
    }

    pub(super) fn set_io(&self, worker: WorkerIndex, counts: IoCounts, busy: Duration) {
        let worker = &self.figures.workers[worker.0];
        let packets = [
            (&worker.received_by_ring, counts.received_by_ring),
            (&worker.received_by_socket, counts.received_by_socket),
            (&worker.sent_by_ring, counts.sent_by_ring),
            (&worker.sent_by_socket, counts.sent_by_socket),
            (&worker.wakes, counts.wakes),
        ];
        for (gauge, count) in packets {
            gauge.store(count / PACKET_STEP * PACKET_STEP, Ordering::Relaxed);
        }
        worker.unreadable.store(counts.unreadable, Ordering::Relaxed);
        worker.late.store(counts.late, Ordering::Relaxed);
        let busy_us = busy.as_micros() as u64 / BUSY_STEP_US * BUSY_STEP_US;
        worker.busy_us.store(busy_us, Ordering::Relaxed);
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
