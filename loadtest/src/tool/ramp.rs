//! Ramp: how many calls a relay holds before it loses packets or delays them too much.

use std::fmt;
use std::time::Duration;

use loadtest::KeyMethod;
use loadtest::relay_process::Failure;
use serde::Serialize;

use super::contender::Contender;
use super::peer::CallKind;
use super::process::figure;
use super::rig::{Place, Rig, Terms};
use super::tally::ms;

/// Calls that the port range has room for, at four ports a call.
pub(crate) const MOST_CALLS: usize = 2500;

/// What ends a ramp.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Share of packets that may be lost.
    pub(crate) loss: f64,
    /// Longest latency at the 99th percentile, in ms.
    pub(crate) p99_ms: f64,
    /// Longest lateness of the generator at the 99th percentile, in ms: beyond it, not the relay
    /// but the generator has met its limit.
    pub(crate) lateness_ms: f64,
}

/// Limits of calls that are worth holding.
pub(crate) const HELD: Limits = Limits { loss: 0.001, p99_ms: 7.0, lateness_ms: 5.0 };

/// One step of a ramp.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    /// Calls that talk.
    pub(crate) calls: usize,
    /// Share of the packets sent that did not arrive.
    pub(crate) loss: f64,
    /// Latency in ms: p50, p99, p99.9.
    pub(crate) latency_ms: [f64; 3],
    /// Lateness of the generator in ms, p99.
    pub(crate) lateness_ms: f64,
    /// Share of a core that the relay's process took.
    pub(crate) share: f64,
    /// Processor time of the relay's process for a packet, in us.
    pub(crate) cpu_us: f64,
}

/// Why a ramp ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// Too many packets were lost.
    Loss,
    /// They came too late.
    Latency,
    /// The generator could not keep its pace: the relay may hold more.
    Generator,
    /// There are no ports for more calls.
    Ports,
}

/// A whole ramp.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ramp {
    /// All steps, the last one beyond a limit unless ports ran out.
    pub(crate) steps: Vec<Step>,
    /// Most calls within the limits.
    pub(crate) held: usize,
    /// Why it ended.
    pub(crate) end: End,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, tail] = self.latency_ms;
        write!(
            f,
            "{} calls: latency p50 {p50:.2}, p99 {p99:.2}, p99.9 {tail:.2} ms, {:.3} % lost, {} us a \
             packet, {} of a core, generator late by {:.2} ms at p99",
            self.calls,
            self.loss * 100.0,
            figure(self.cpu_us),
            figure(self.share),
            self.lateness_ms
        )
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Loss => "loss",
            End::Latency => "latency",
            End::Generator => "the generator's own limit",
            End::Ports => "the end of the port range",
        })
    }
}

/// Adds `step` calls at a time until a limit is met. A step takes half the time of a trial: there
/// are many, and each is to be judged by limits, not compared.
pub(crate) fn run(
    contender: &Contender,
    step: usize,
    limits: Limits,
    terms: &Terms,
    mut progress: impl FnMut(&Step) + Send,
) -> Result<Ramp, Failure> {
    let kind = CallKind { srtp: false, record: false, secure: false };
    Rig::with(contender, terms, Place::OneCore, |rig| {
        let mut ramp = Ramp { steps: Vec::new(), held: 0, end: End::Ports };
        while rig.calls.len() + step <= MOST_CALLS {
            rig.open(step, kind, KeyMethod::Events)?;
            std::thread::sleep(terms.warm_up / 2);
            let taken = take_step(rig, terms.counted / 2)?;
            progress(&taken);
            let (calls, end) = (taken.calls, beyond(&taken, limits));
            ramp.steps.push(taken);
            if let Some(end) = end {
                ramp.end = end;
                break;
            }
            ramp.held = calls;
        }
        Ok(ramp)
    })
}

fn take_step(rig: &Rig, span: Duration) -> Result<Step, Failure> {
    let counted = rig.count(span)?;
    let tally = &counted.tally;
    let sent = tally.sent.max(1) as f64;
    Ok(Step {
        calls: rig.calls.len(),
        loss: tally.sent.saturating_sub(tally.arrived) as f64 / sent,
        latency_ms: [0.5, 0.99, 0.999].map(|quantile| ms(&tally.latency, quantile)),
        lateness_ms: ms(&tally.lateness, 0.99),
        share: counted.cpu / counted.span as f64,
        cpu_us: counted.cpu / sent / 1e3,
    })
}

fn beyond(step: &Step, limits: Limits) -> Option<End> {
    let late = step.lateness_ms > limits.lateness_ms;
    let checks = [
        (late, End::Generator),
        (step.loss > limits.loss, End::Loss),
        (step.latency_ms[1] > limits.p99_ms, End::Latency),
    ];
    checks.iter().find(|(beyond, _)| *beyond).map(|(_, end)| *end)
}
