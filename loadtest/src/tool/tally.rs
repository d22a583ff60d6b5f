//! Tally: what a load test has counted over a stretch of time.

use hdrhistogram::Histogram;

/// Longest time told apart, in ns: one minute.
const LONGEST: u64 = 60_000_000_000;
/// Significant figures of a time.
const FIGURES: u8 = 3;

/// Counts and times since the last mark.
#[derive(Clone)]
pub(crate) struct Tally {
    /// Packets of audio sent.
    pub(crate) sent: u64,
    /// Packets the kernel would not send.
    pub(crate) unsent: u64,
    /// Packets not sent since the generator came far too late.
    pub(crate) skipped: u64,
    /// Packets of audio that came out of the relay at the other leg.
    pub(crate) arrived: u64,
    /// Packets that the relay made itself: silence and prompts.
    pub(crate) generated: u64,
    /// Packets nobody had to send here, or that could not be read.
    pub(crate) foreign: u64,
    /// From sending to the kernel's getting what was forwarded, in ns.
    pub(crate) latency: Histogram<u64>,
    /// From when a packet was due to its sending, in ns.
    pub(crate) lateness: Histogram<u64>,
}

impl Tally {
    /// Nothing counted yet.
    pub(crate) fn new() -> Tally {
        Tally {
            sent: 0,
            unsent: 0,
            skipped: 0,
            arrived: 0,
            generated: 0,
            foreign: 0,
            latency: times(),
            lateness: times(),
        }
    }
}

/// A histogram of times in ns.
pub(crate) fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, FIGURES).expect("bounds that a histogram takes")
}

/// The time below which this share of the values lies, in ms.
pub(crate) fn ms(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1e6
}
