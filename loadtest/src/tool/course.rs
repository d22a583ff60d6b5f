//! Course: what a relay is put through in one trial, and what that showed.

use std::fmt;

use hdrhistogram::Histogram;
use loadtest::KeyMethod;
use loadtest::relay_process::Failure;
use serde::Serialize;

use super::contender::Contender;
use super::peer::CallKind;
use super::process::figure;
use super::rig::{Counted, Place, Rig, Terms};
use super::tally::ms;

/// Calls of one kind, all at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Course {
    /// How many.
    pub(crate) calls: usize,
    /// What they are like.
    pub(crate) kind: CallKind,
}

/// What a trial has shown; a packet is one that the relay was sent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// Processor time of the relay's process for a packet, in us.
    pub(crate) cpu_us: f64,
    /// Time of its whole core for a packet, in us.
    pub(crate) core_us: f64,
    /// Share of a core that its process took.
    pub(crate) share: f64,
    /// Packets a second.
    pub(crate) rate: f64,
    /// From sending to arriving, in ms, of what was forwarded: p50, p99, p99.9.
    pub(crate) latency_ms: [f64; 3],
    /// By how much the generator was late, in ms, p99.
    pub(crate) lateness_ms: f64,
    /// Packets of the whole trial that never arrived.
    pub(crate) lost: u64,
    /// Packets of the whole trial.
    pub(crate) sent: u64,
    /// Packets that arrived behind a later one.
    pub(crate) reordered: u64,
    /// Packets that nobody had to send.
    pub(crate) foreign: u64,
    /// Packets that the generator could not send.
    pub(crate) unsent: u64,
    /// Datagrams that found no room in a socket of the relay's.
    pub(crate) dropped: u64,
    /// Growth of the relay's memory for a call, in KiB.
    pub(crate) resident_kib: f64,
    /// Growth of the relay's memory while it was counted, in KiB.
    pub(crate) grown_kib: f64,
    /// Processor time of the relay to open a call, and to end it, in us.
    pub(crate) set_up_us: f64,
    /// See above.
    pub(crate) tear_down_us: f64,
}

impl Course {
    /// Puts a relay through it.
    pub(crate) fn run(&self, contender: &Contender, terms: &Terms) -> Result<Outcome, Failure> {
        Rig::with(contender, terms, Place::OneCore, |rig| {
            let cost = rig.open(self.calls, self.kind, KeyMethod::Events)?;
            if self.kind.secure {
                rig.enter_all()?;
            }
            std::thread::sleep(terms.warm_up);
            let counted = rig.count(terms.counted)?;
            let totals = rig.hush();
            let tear_down_us = rig.close_all()?;
            let Counted { tally, cpu, core, span, dropped, grown } = counted;
            let sent = tally.sent.max(1) as f64;
            Ok(Outcome {
                cpu_us: cpu / sent / 1e3,
                core_us: core / sent / 1e3,
                share: cpu / span as f64,
                rate: sent / span as f64 * 1e9,
                latency_ms: percentiles(&tally.latency),
                lateness_ms: ms(&tally.lateness, 0.99),
                lost: totals.sent.saturating_sub(totals.came),
                sent: totals.sent,
                reordered: totals.reordered,
                foreign: tally.foreign,
                unsent: tally.unsent + tally.skipped,
                dropped,
                resident_kib: cost.resident / 1024.0,
                grown_kib: grown / 1024.0,
                set_up_us: cost.open,
                tear_down_us,
            })
        })
    }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CallKind { srtp, record, secure } = self.kind;
        let kind = match (srtp, record, secure) {
            (_, true, true) => "recorded secure calls",
            (_, false, true) => "secure calls",
            (true, _, false) => "SRTP calls",
            (false, true, false) => "recorded calls",
            (false, false, false) => "plain calls",
        };
        write!(f, "{} {kind}", self.calls)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, tail] = self.latency_ms;
        write!(
            f,
            "{} us of the process and {} of its core a packet, {:.0} packets/s, latency p50 \
             {p50:.2}, p99 {p99:.2}, p99.9 {tail:.2} ms, {} of {} packets lost, {} KiB a call \
             and {} KiB more since, \
             generator late by {:.2} ms at p99",
            figure(self.cpu_us),
            figure(self.core_us),
            self.rate,
            self.lost,
            self.sent,
            figure(self.resident_kib),
            figure(self.grown_kib),
            self.lateness_ms
        )
    }
}

fn percentiles(times: &Histogram<u64>) -> [f64; 3] {
    [0.5, 0.99, 0.999].map(|quantile| ms(times, quantile))
}
