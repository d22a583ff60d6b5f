//! Flips: how long a request to enter a secure session takes under load, and what leaks meanwhile.

use std::time::Duration;

use hdrhistogram::Histogram;
use loadtest::KeyMethod;
use loadtest::relay_process::Failure;
use serde::Serialize;

use super::contender::Contender;
use super::peer::CallKind;
use super::rig::{Place, Rig, Terms};
use super::tally::{ms, times};
use super::wall;

/// Priority of the thread that times flips.
const AHEAD: i32 = -10;
/// Time between two flips.
const PAUSE: Duration = Duration::from_millis(10);
/// How long calls stay cut, and are looked at.
const CUT: Duration = Duration::from_secs(2);

/// What flips have shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Flipped {
    /// How many.
    pub(crate) flips: usize,
    /// Packets a second that the relay was sent.
    pub(crate) rate: f64,
    /// Share of a core that the relay's process took before the first flip.
    pub(crate) share: f64,
    /// From the request to the receipt, in ms: p50, p99, the longest.
    pub(crate) took_ms: [f64; 3],
    /// Within which the relay, by its own clock, had 99 of 100 in force from the command on, in ms:
    /// the upper bound of a bucket of its histogram.
    pub(crate) in_relay_ms: Option<f64>,
    /// Octets of callers that engines got after the receipt and before the call was open again.
    pub(crate) leaked: u64,
}

/// Flips each of `calls` calls once while all of them talk.
pub(crate) fn run(
    contender: &Contender,
    calls: usize,
    flips: usize,
    terms: &Terms,
) -> Result<Flipped, Failure> {
    Rig::with(contender, terms, Place::AnyCore, |rig| {
        let kind = CallKind { srtp: false, record: false, secure: false };
        rig.open(calls, kind, KeyMethod::Events)?;
        std::thread::sleep(terms.warm_up);
        let before = rig.count(terms.counted)?;
        // Whoever holds the watch goes before the generator on their core. Only root may say so, and
        // without it the times are a little longer.
        let _ = rustix::process::nice(AHEAD);
        let took = flip(rig, flips)?;
        std::thread::sleep(CUT);
        let leaked = leave(rig, flips)?;
        let in_relay_ms = rig.peer.flipped_within(0.99)?;
        rig.close_all()?;
        Ok(Flipped {
            flips,
            rate: before.tally.sent as f64 / before.span as f64 * 1e9,
            share: before.cpu / before.span as f64,
            took_ms: [ms(&took, 0.5), ms(&took, 0.99), took.max() as f64 / 1e6],
            in_relay_ms,
            leaked,
        })
    })
}

fn flip(rig: &mut Rig, flips: usize) -> Result<Histogram<u64>, Failure> {
    let mut took = times();
    for call in rig.calls.iter().take(flips) {
        let asked = wall::now();
        rig.peer.enter(&call.id)?;
        let receipt = wall::now();
        call.watch.begin(receipt);
        took.saturating_record(receipt - asked);
        std::thread::sleep(PAUSE);
    }
    Ok(took)
}

/// Ends the sessions, and adds up what was heard until the last moment at which each was cut.
fn leave(rig: &mut Rig, flips: usize) -> Result<u64, Failure> {
    let mut leaked = 0;
    for call in rig.calls.iter().take(flips) {
        // The cut is in force at least until this is asked.
        let still_cut = wall::now();
        rig.peer.leave(&call.id)?;
        leaked += call.watch.end(still_cut);
    }
    Ok(leaked)
}
