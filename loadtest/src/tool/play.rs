//! Play: a scenario as it happens, call by call, and what became of it.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use loadtest::client::NotDone;
use loadtest::relay_process::Failure;
use serde::Serialize;

use super::contender::Contender;
use super::generator::Totals;
use super::peer::Verdict;
use super::rig::{Place, Rig, RigCall, Terms};
use super::scenario::{CallScript, Scenario};
use super::tally::{ms, times};
use super::wall;

/// How often every call is looked at.
const TURN: Duration = Duration::from_millis(50);
/// How often figures are taken.
const SAMPLE: Duration = Duration::from_secs(1);
/// Longest a session may take beyond its keying.
const PATIENCE: Duration = Duration::from_secs(60);
/// A caller reaches for the keypad for so long.
const REACH: Duration = Duration::from_millis(800);
/// A caller hangs up so long after it began to key.
const HANG_UP: Duration = Duration::from_secs(1);

/// Figures of one second.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the beginning.
    pub(crate) at: f64,
    /// Calls that talk.
    pub(crate) calls: usize,
    /// Share of a core that the relay's process took.
    pub(crate) share: f64,
    /// Latency in ms: p50, p99, p99.9.
    pub(crate) latency_ms: [f64; 3],
    /// Lateness of the generator in ms, p99.
    pub(crate) lateness_ms: f64,
}

/// What became of a scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Played {
    /// Second by second.
    pub(crate) samples: Vec<Sample>,
    /// Calls that were opened and ended.
    pub(crate) calls: usize,
    /// Sessions that passed.
    pub(crate) passed: usize,
    /// Sessions that failed though all was keyed right, by reason.
    pub(crate) failed: BTreeMap<String, usize>,
    /// Callers that hung up while they keyed.
    pub(crate) hung_up: usize,
    /// From a request to enter to its receipt, in ms: p50, p99, the longest.
    pub(crate) flips_ms: [f64; 3],
    /// Octets of callers that engines got in a cut.
    pub(crate) leaked: u64,
    /// Packets of calls that were never cut: sent, and not arrived.
    pub(crate) sent: u64,
    /// See above.
    pub(crate) lost: u64,
    /// Packets that arrived behind a later one.
    pub(crate) reordered: u64,
    /// Packets that nobody had to send.
    pub(crate) foreign: u64,
}

impl std::fmt::Display for Played {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, longest] = self.flips_ms;
        writeln!(
            f,
            "{} calls; of {} packets on open ones {} lost, {} reordered",
            self.calls, self.sent, self.lost, self.reordered
        )?;
        writeln!(
            f,
            "{} sessions passed, {} callers hung up while they keyed",
            self.passed, self.hung_up
        )?;
        for (reason, sessions) in &self.failed {
            writeln!(f, "{sessions} sessions failed: {reason}")?;
        }
        writeln!(
            f,
            "request to receipt of a cut: p50 {p50:.2} ms, p99 {p99:.2} ms, longest {longest:.2} ms"
        )?;
        writeln!(f, "octets of callers at an engine in a cut: {}", self.leaked)
    }
}

/// Where a call stands.
enum Stage {
    Talking {
        until: u64,
    },
    /// Cut, and about to key.
    Reaching {
        until: u64,
    },
    Keying {
        since: u64,
        still_cut: u64,
    },
    Leaving {
        until: u64,
    },
    /// Silent, until the last packets have had time to arrive.
    Silent,
}

struct Actor {
    script: CallScript,
    call: RigCall,
    stage: Stage,
}

struct Stagehand<'a> {
    rig: &'a mut Rig,
    actors: Vec<Actor>,
    flips: Histogram<u64>,
    played: Played,
}

/// Plays a scenario on a relay.
pub(crate) fn run(
    contender: &Contender,
    scenario: &Scenario,
    terms: &Terms,
    mut progress: impl FnMut(&Sample, &Played) + Send,
) -> Result<Played, Failure> {
    Rig::with(contender, terms, Place::AnyCore, |rig| {
        let mut stage =
            Stagehand { rig, actors: Vec::new(), flips: times(), played: Played::new() };
        let (began, mut sampled) = (wall::now(), wall::now());
        let mut cpu = stage.rig.cpu()?;
        let mut coming = scenario.calls().into_iter().peekable();
        while coming.peek().is_some() || !stage.actors.is_empty() {
            let now = wall::now();
            while coming.peek().is_some_and(|script| began + nanos(script.at) <= now) {
                stage.enter(coming.next())?;
            }
            stage.turn()?;
            if now - sampled >= nanos(SAMPLE) {
                let (span, spent) = (now - sampled, stage.rig.cpu()?);
                let sample = stage.sample(now - began, (spent - cpu) / span as f64);
                progress(&sample, &stage.played);
                stage.played.samples.push(sample);
                (sampled, cpu) = (now, spent);
            }
            std::thread::sleep(TURN);
        }
        Ok(stage.close())
    })
}

impl Stagehand<'_> {
    fn enter(&mut self, script: Option<CallScript>) -> Result<(), Failure> {
        let Some(script) = script else { return Ok(()) };
        let call = self.rig.open_one(script.kind, script.method)?;
        let stage = Stage::Talking { until: wall::now() + nanos(script.talk) };
        self.actors.push(Actor { script, call, stage });
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Failure> {
        let mut at = 0;
        while at < self.actors.len() {
            if self.act(at)? {
                let Actor { call, script, .. } = self.actors.swap_remove(at);
                let totals = self.rig.close_one(&call)?;
                self.played.count(&totals, script.keys.is_none());
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// One call's next step; true if it ends.
    fn act(&mut self, at: usize) -> Result<bool, Failure> {
        let Stagehand { rig, actors, flips, played } = self;
        let Actor { script, call, stage } = &mut actors[at];
        let now = wall::now();
        match *stage {
            Stage::Talking { until } | Stage::Reaching { until } | Stage::Leaving { until }
                if now < until => {}
            Stage::Silent => return Ok(true),
            Stage::Leaving { .. } => *stage = fall_silent(rig, call),
            Stage::Talking { .. } => {
                if script.keys.is_none() {
                    *stage = fall_silent(rig, call);
                    return Ok(false);
                }
                rig.peer.collect(&call.id)?;
                let receipt = wall::now();
                call.watch.begin(receipt);
                flips.saturating_record(receipt - now);
                *stage = Stage::Reaching { until: receipt + nanos(REACH) };
            }
            Stage::Reaching { .. } => {
                let keys = script.keys.iter().flat_map(|keys| keys.keys.clone());
                rig.load.press(call.number, keys.collect());
                *stage = Stage::Keying { since: now, still_cut: now };
            }
            Stage::Keying { since, still_cut } => {
                if script.keys.as_ref().is_some_and(|keys| keys.hangs_up)
                    && now - since > nanos(HANG_UP)
                {
                    played.leaked += call.watch.end(now);
                    played.hung_up += 1;
                    *stage = fall_silent(rig, call);
                    return Ok(false);
                }
                *stage = match rig.peer.verdict(&call.id)? {
                    Verdict::Pending if now - since > nanos(PATIENCE) => {
                        let detail = "it took too long".to_owned();
                        return Err(NotDone { doing: "end a session", detail }.into());
                    }
                    // The cut was in force when this was asked, and it may have ended right after.
                    Verdict::Pending => Stage::Keying { since, still_cut: now },
                    verdict @ (Verdict::Passed | Verdict::Failed(_)) => {
                        played.leaked += call.watch.end(still_cut);
                        played.judge(verdict);
                        Stage::Leaving { until: now + nanos(script.talk) }
                    }
                };
            }
        }
        Ok(false)
    }

    fn sample(&self, since: u64, share: f64) -> Sample {
        let tally = self.rig.load.mark();
        Sample {
            at: since as f64 / 1e9,
            calls: self.actors.len(),
            share,
            latency_ms: [0.5, 0.99, 0.999].map(|quantile| ms(&tally.latency, quantile)),
            lateness_ms: ms(&tally.lateness, 0.99),
        }
    }

    fn close(self) -> Played {
        let Stagehand { flips, mut played, .. } = self;
        played.flips_ms = [ms(&flips, 0.5), ms(&flips, 0.99), flips.max() as f64 / 1e6];
        played
    }
}

fn fall_silent(rig: &Rig, call: &RigCall) -> Stage {
    rig.load.silence(call.number);
    Stage::Silent
}

impl Played {
    fn new() -> Played {
        Played {
            samples: Vec::new(),
            calls: 0,
            passed: 0,
            failed: BTreeMap::new(),
            hung_up: 0,
            flips_ms: [0.0; 3],
            leaked: 0,
            sent: 0,
            lost: 0,
            reordered: 0,
            foreign: 0,
        }
    }

    fn judge(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Pending => {}
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(reason) => *self.failed.entry(reason).or_default() += 1,
        }
    }

    /// Adds a call that has ended. In a cut packets are meant to be lost.
    fn count(&mut self, totals: &Totals, was_open: bool) {
        self.calls += 1;
        self.reordered += totals.reordered;
        if was_open {
            self.sent += totals.sent;
            self.lost += totals.sent.saturating_sub(totals.came);
        }
    }

    /// Nothing leaked, nothing lost, and everybody who keyed a right number passed.
    pub(crate) fn is_clean(&self) -> bool {
        self.leaked == 0 && self.lost == 0 && self.reordered == 0 && self.failed.is_empty()
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
