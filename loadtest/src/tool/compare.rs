//! Compare: Sotto and rtpengine in turn, on the same machine, under the same load.

use std::path::PathBuf;
use std::time::Duration;

use loadtest::relay_process::Failure;
use serde::Serialize;

use super::contender::Contender;
use super::course::{Course, Outcome};
use super::flips::{self, Flipped};
use super::peer::CallKind;
use super::ports::{self, Fillings};
use super::progress::Progress;
use super::ramp::{self, HELD, MOST_CALLS, Ramp, Step};
use super::rig::Terms;
use super::table::{Bar, Row, median};

const PLAIN: CallKind = CallKind { srtp: false, record: false, secure: false };
const SRTP: CallKind = CallKind { srtp: true, ..PLAIN };
const RECORDED: CallKind = CallKind { record: true, ..PLAIN };
const SECURE: CallKind = CallKind { record: true, secure: true, ..PLAIN };
/// What rtpengine has that comes next to a secure session records nothing.
const UNRECORDED: CallKind = CallKind { secure: true, ..PLAIN };

/// Calls of a light load.
const LIGHT: usize = 50;
/// Calls in a secure session that rtpengine can hold too: its masking takes a core for 250.
const MASKED: usize = 200;
/// Flips that are timed under each load.
const FLIPS: usize = 200;
/// Share of packets that may be lost, as on a line that holds its calls.
const MOST_LOST: f64 = 0.001;
/// Calls that make 20,000 packets a second.
const FLIP_CALLS: usize = 200;

/// What is compared, and how thoroughly.
pub(crate) struct Comparison {
    /// Sotto's program.
    pub(crate) sotto: PathBuf,
    /// rtpengine's program.
    pub(crate) rtpengine: PathBuf,
    /// How often each is tried, in turn.
    pub(crate) rounds: usize,
    /// Loads of plain calls, in calls.
    pub(crate) loads: Vec<usize>,
    /// Calls by which a ramp grows; without one, how many calls are held is not measured.
    pub(crate) ramp_step: Option<usize>,
    /// Sotto's media I/O without the socket layer.
    pub(crate) rings: String,
}

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Measured {
    /// Every trial: contender, course, outcome.
    pub(crate) trials: Vec<Trial>,
    /// Flips under a moderate and under the highest load.
    pub(crate) flips: Vec<Flipped>,
    /// Ramps of each contender.
    pub(crate) ramps: Vec<(String, Ramp)>,
    /// The port range, filled and emptied ten times.
    pub(crate) fillings: Option<Fillings>,
    /// The figures.
    pub(crate) rows: Vec<Row>,
}

/// One trial.
#[derive(Serialize)]
pub(crate) struct Trial {
    /// The relay's name.
    pub(crate) relay: String,
    /// What the calls were like.
    pub(crate) course: String,
    /// What it showed.
    pub(crate) outcome: Outcome,
}

impl Comparison {
    /// Measures everything.
    pub(crate) fn run(&self, terms: &Terms, progress: &Progress) -> Result<Measured, Failure> {
        let mut measured = Measured {
            trials: Vec::new(),
            flips: Vec::new(),
            ramps: Vec::new(),
            fillings: None,
            rows: Vec::new(),
        };
        let matches = self.matches();
        let trials: usize = matches.iter().map(|(_, relays)| relays.len()).sum();
        progress.begin((trials * self.rounds) as u64);
        for round in 0..self.rounds {
            for (course, relays) in &matches {
                let mut turn: Vec<&Contender> = relays.iter().collect();
                // Whoever was first is last in the next round: a drift of the machine evens out.
                turn.rotate_left(round % relays.len());
                for relay in turn {
                    self.try_one(relay, course, terms, progress, &mut measured)?;
                }
            }
        }
        self.flip(terms, progress, &mut measured)?;
        if let Some(step) = self.ramp_step {
            self.climb(step, terms, progress, &mut measured)?;
            measured.fillings = Some(ports::run(&self.sockets(), terms)?);
        }
        measured.rows = self.rows(&measured);
        Ok(measured)
    }

    fn sotto(&self, io: &str) -> Contender {
        Contender::Sotto { binary: self.sotto.clone(), io: io.to_owned() }
    }

    fn rings(&self) -> Contender {
        self.sotto(&self.rings)
    }

    fn sockets(&self) -> Contender {
        self.sotto("sockets")
    }

    fn rtpengine(&self) -> Contender {
        Contender::Rtpengine { binary: self.rtpengine.clone() }
    }

    /// Which relays take which course.
    fn matches(&self) -> Vec<(Course, Vec<Contender>)> {
        let (rings, sockets, rtpengine) = (self.rings(), self.sockets(), self.rtpengine());
        let heavy = self.loads[0];
        let mut matches = Vec::new();
        for &calls in &self.loads {
            let all = vec![rings.clone(), sockets.clone(), rtpengine.clone()];
            matches.push((Course { calls, kind: PLAIN }, all));
        }
        let both = vec![rings.clone(), rtpengine];
        matches.push((Course { calls: heavy, kind: SRTP }, both.clone()));
        matches.push((Course { calls: heavy, kind: RECORDED }, vec![rings.clone()]));
        matches.push((Course { calls: heavy, kind: SECURE }, vec![rings]));
        matches.push((Course { calls: MASKED.min(heavy), kind: SECURE }, both.clone()));
        let ours = vec![both[0].clone()];
        matches.push((Course { calls: MASKED.min(heavy), kind: UNRECORDED }, ours));
        matches.push((Course { calls: LIGHT.min(heavy), kind: PLAIN }, both));
        matches
    }

    fn try_one(
        &self,
        relay: &Contender,
        course: &Course,
        terms: &Terms,
        progress: &Progress,
        measured: &mut Measured,
    ) -> Result<(), Failure> {
        let (relay, course, outcome) =
            (relay.name(), course.to_string(), course.run(relay, terms)?);
        progress.step(&format!(
            "{relay}, {course}: {:.2} us a packet, p99 {:.2} ms, {} of {} lost",
            outcome.cpu_us, outcome.latency_ms[1], outcome.lost, outcome.sent
        ));
        measured.trials.push(Trial { relay, course, outcome });
        Ok(())
    }

    /// Flips under 20,000 packets a second, and with as many calls as the ports allow.
    fn flip(&self, terms: &Terms, progress: &Progress, all: &mut Measured) -> Result<(), Failure> {
        let most = if self.ramp_step.is_some() { MOST_CALLS } else { FLIP_CALLS };
        let loads = [(self.rings(), FLIP_CALLS), (self.sockets(), most)];
        progress.begin(loads.len() as u64);
        for (relay, calls) in loads {
            let flipped = flips::run(&relay, calls, FLIPS, terms)?;
            progress.step(&format!(
                "{}, {FLIPS} flips under {:.0} packets/s: p99 {:.2} ms, {} octets leaked",
                relay.name(),
                flipped.rate,
                flipped.took_ms[1],
                flipped.leaked
            ));
            all.flips.push(flipped);
        }
        Ok(())
    }

    /// How many calls each holds; in turns as well.
    fn climb(
        &self,
        step: usize,
        terms: &Terms,
        progress: &Progress,
        all: &mut Measured,
    ) -> Result<(), Failure> {
        progress.begin((2 * self.rounds) as u64);
        for _ in 0..self.rounds {
            for relay in [self.rings(), self.rtpengine()] {
                let name = relay.name();
                let say = |step: &Step| {
                    progress.note(&format!("{name}, {step}"));
                };
                let ramp = ramp::run(&relay, step, HELD, terms, say)?;
                progress.step(&format!("{name} holds {} calls ({:?})", ramp.held, ramp.end));
                all.ramps.push((name, ramp));
            }
        }
        Ok(())
    }

    fn rows(&self, all: &Measured) -> Vec<Row> {
        let (rings, sockets, peer) = (self.rings(), self.sockets(), self.rtpengine());
        let heavy = self.loads[0];
        let mut rows = Vec::new();
        let cpu = |outcome: &Outcome| outcome.cpu_us;
        let core = |outcome: &Outcome| outcome.core_us;
        for &calls in &self.loads {
            let course = Course { calls, kind: PLAIN };
            for (relay, bar) in [(&rings, 0.40), (&sockets, 0.75)] {
                let what = format!("{}, {}: process us a packet", relay.name(), course);
                rows.push(Row::ratio(
                    what,
                    &all.pairs(relay, &peer, &course, cpu),
                    Bar::AtMost(bar),
                ));
            }
            let what = format!("{}, {}: core us a packet", rings.name(), course);
            rows.push(Row::ratio(
                what,
                &all.pairs(&rings, &peer, &course, core),
                Bar::AtMost(0.65),
            ));
        }
        let srtp = Course { calls: heavy, kind: SRTP };
        let what = format!("{}, {}: process us a packet", rings.name(), srtp);
        rows.push(Row::ratio(what, &all.pairs(&rings, &peer, &srtp, cpu), Bar::AtMost(0.50)));
        let (open, cut) =
            (Course { calls: heavy, kind: RECORDED }, Course { calls: heavy, kind: SECURE });
        let cut_to_open = all.across((&rings, &cut), (&rings, &open), cpu);
        let what = format!("{} / {}: process us a packet", cut, open);
        rows.push(Row::ratio(what, &cut_to_open, Bar::AtMost(1.2)));
        let [masked, unrecorded] =
            [SECURE, UNRECORDED].map(|kind| Course { calls: MASKED.min(heavy), kind });
        for course in [masked, unrecorded] {
            let pairs = all.across((&rings, &course), (&peer, &masked), cpu);
            let what = format!("{}, {course}: process us a packet", rings.name());
            rows.push(Row::ratio(what, &pairs, Bar::AtMost(0.20)));
        }
        rows.extend(self.latency_rows(all));
        rows.extend(self.count_rows(all));
        rows
    }

    /// At 50 calls nothing is to be lost. Thousands of packets a tick meet a host that stalls now and
    /// then for longer than rings and buffers last, whoever relays them.
    fn loss_row(&self, lost: u64, sent: u64) -> Row {
        match self.ramp_step {
            None => Row::never("packets lost, all trials", lost),
            Some(_) => {
                let share = lost as f64 / sent.max(1) as f64;
                Row::alone("share of packets lost, all trials", share, Bar::AtMost(MOST_LOST))
            }
        }
    }

    fn latency_rows(&self, all: &Measured) -> Vec<Row> {
        let rings = self.rings();
        let light = Course { calls: LIGHT.min(self.loads[0]), kind: PLAIN };
        let p50 = median(all.of(&rings, &light).map(|outcome| outcome.latency_ms[0]));
        let what = format!("{}, {}: latency p50, ms", rings.name(), light);
        let mut rows = vec![Row::alone(what, p50, Bar::AtMost(0.1))];
        for (flipped, bar) in all.flips.iter().zip([2.0, 50.0]) {
            let (rate, share) = (flipped.rate, flipped.share * 100.0);
            let load = format!("flip at {rate:.0} packets/s and {share:.0} % of a core");
            let in_relay = flipped.in_relay_ms.unwrap_or(f64::NAN);
            let within = format!("{load}: in the relay, p99 within ms");
            rows.push(Row::alone(within, in_relay, Bar::AtMost(bar)));
            let over_rest = format!("{load}: REST request to answer, p99, ms");
            rows.push(Row::alone(over_rest, flipped.took_ms[1], Bar::AtMost(bar)));
        }
        if self.ramp_step.is_some() {
            let held = all.held(&rings, &self.rtpengine());
            rows.push(Row::ratio("calls held, p99 < 7 ms, loss < 0.1 %", &held, Bar::AtLeast(1.8)));
            let tails = all.tails_at_half(&rings, &self.rtpengine());
            rows.push(Row::ratio("latency p99.9 at half of that, ms", &tails, Bar::AtMost(1.0)));
        }
        rows
    }

    fn count_rows(&self, all: &Measured) -> Vec<Row> {
        let ours = || all.trials.iter().filter(|trial| trial.relay != self.rtpengine().name());
        let open = || ours().filter(|trial| !trial.course.contains("secure"));
        let sum =
            |value: fn(&Outcome) -> u64| open().map(|trial| value(&trial.outcome)).sum::<u64>();
        let leaked: u64 = all.flips.iter().map(|flipped| flipped.leaked).sum();
        let plain = Course { calls: *self.loads.last().unwrap_or(&0), kind: PLAIN };
        let rings = self.rings();
        let of = |value: fn(&Outcome) -> f64| median(all.of(&rings, &plain).map(value));
        let name = plain.to_string();
        let resident = of(|outcome| outcome.resident_kib);
        let mut rows = vec![
            self.loss_row(sum(|outcome| outcome.lost), sum(|outcome| outcome.sent)),
            Row::never("packets reordered", sum(|outcome| outcome.reordered)),
            Row::never("octets leaked in flips", leaked),
            Row::alone(format!("{name}: KiB a call"), resident, Bar::AtMost(16.0)),
        ];
        if let Some(fillings) = &all.fillings {
            let most = fillings.held.iter().max().unwrap_or(&0);
            let what = format!("ports lost, {most} calls opened and ended ten times");
            rows.push(Row::never(what, fillings.lost()));
            let (open, end) = (fillings.set_up_us, fillings.tear_down_us);
            rows.push(Row::alone("call set-up by REST, us CPU", open, Bar::AtMost(500.0)));
            rows.push(Row::alone("call teardown by REST, us CPU", end, Bar::AtMost(500.0)));
        }
        rows
    }
}

impl Measured {
    fn of<'a>(
        &'a self,
        relay: &Contender,
        course: &Course,
    ) -> impl Iterator<Item = &'a Outcome> + use<'a> {
        let (relay, course) = (relay.name(), course.to_string());
        let trials = self.trials.iter();
        trials.filter(move |it| it.relay == relay && it.course == course).map(|it| &it.outcome)
    }

    fn pairs(
        &self,
        ours: &Contender,
        theirs: &Contender,
        course: &Course,
        value: impl Fn(&Outcome) -> f64,
    ) -> Vec<(f64, f64)> {
        self.across((ours, course), (theirs, course), value)
    }

    fn across(
        &self,
        ours: (&Contender, &Course),
        theirs: (&Contender, &Course),
        value: impl Fn(&Outcome) -> f64,
    ) -> Vec<(f64, f64)> {
        let pairs = self.of(ours.0, ours.1).zip(self.of(theirs.0, theirs.1));
        pairs.map(|(ours, theirs)| (value(ours), value(theirs))).collect()
    }

    fn ramps<'a>(&'a self, relay: &Contender) -> impl Iterator<Item = &'a Ramp> + use<'a> {
        let relay = relay.name();
        self.ramps.iter().filter(move |(name, _)| *name == relay).map(|(_, ramp)| ramp)
    }

    fn held(&self, ours: &Contender, theirs: &Contender) -> Vec<(f64, f64)> {
        let pairs = self.ramps(ours).zip(self.ramps(theirs));
        pairs.map(|(ours, theirs)| (ours.held as f64, theirs.held as f64)).collect()
    }

    /// The tail of each at half of what it holds.
    fn tails_at_half(&self, ours: &Contender, theirs: &Contender) -> Vec<(f64, f64)> {
        let pairs = self.ramps(ours).zip(self.ramps(theirs));
        pairs
            .filter_map(|(ours, theirs)| Some((tail_at_half(ours)?, tail_at_half(theirs)?)))
            .collect()
    }
}

/// Of the step next to half of what was held.
fn tail_at_half(ramp: &Ramp) -> Option<f64> {
    let step = ramp.steps.iter().min_by_key(|step| (2 * step.calls).abs_diff(ramp.held))?;
    Some(step.latency_ms[2])
}

/// How long a full comparison talks before it counts, and how long it counts.
pub(crate) const FULL: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(5)];
/// The same of a short one.
pub(crate) const SHORT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
