//! The collector against an independent model, and against itself, over plans and keys by chance.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod card_table;
mod chance;
mod model;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use chance::Chance;
use dtmf::plan::MAX_DEADLINE;
use dtmf::{
    Collector, Digit, FailReason, FieldError, KeyedDigest, Phase, Progress, SecurePlan, Step,
};
use model::chooser::{Chooser, Chosen, Input, KNOWN, seconds_10};
use model::{Broken, Model, Sight, Time};
use ring::hmac;

/// How many plans are tried against the model.
const PLANS: u64 = 10_000;
/// How often a session is run over again.
const REPLAYS: u64 = 1_000;
/// Of how many sessions.
const SESSIONS: usize = 5;
/// The most inputs of a session: more than a caller gives within the longest.
const MAX_INPUTS: usize = 500;

#[test]
fn ten_thousand_plans_go_as_the_model_says() {
    let mut seen = BTreeMap::new();
    let mut inputs = 0;
    for seed in 0..PLANS {
        let run = Run::new(seed, Broken::Nothing).played_out();
        if let Some(difference) = run.difference {
            panic!("plan {seed}: {difference}\n{:#?}", run.chosen.fields);
        }
        inputs += run.inputs.len();
        for word in run.seen {
            *seen.entry(word).or_insert(0) += 1;
        }
    }
    // Nothing is agreed upon that never happened.
    let verdicts = FailReason::ALL.map(FailReason::as_str).into_iter().chain(["success"]);
    let errors = FieldError::ALL.map(FieldError::as_str).into_iter();
    for word in verdicts.chain(errors).map(str::to_owned) {
        assert!(seen.contains_key(&word), "{word} is among the ends");
    }
    for step in Step::ALL.into_iter().filter(|&step| step != Step::PaymentProcessing) {
        assert!(seen.contains_key(&format!("accepted {}", step.as_str())), "{}", step.as_str());
    }
    println!(
        "figure: {PLANS} random plans against the model: {inputs} inputs, {} passed, {} handed \
         over, {} entries repeated, differences 0",
        seen["success"], seen["handed over"], seen["repeated"]
    );
}

#[test]
fn a_model_with_a_broken_rule_is_found_out() {
    let mut found = Vec::new();
    for broken in [
        Broken::CheckDigit,
        Broken::Matching,
        Broken::EntryTimeout,
        Broken::Recapture,
        Broken::Delivery,
        Broken::Star,
        Broken::MinorUnits,
        Broken::Pound,
    ] {
        let differs = |&seed: &u64| Run::new(seed, broken).played_out().difference.is_some();
        let after = (0..PLANS).find(differs).unwrap_or_else(|| panic!("{broken:?} is not found"));
        found.push(format!("{broken:?} by plan {after}"));
    }
    println!("figure: control, one rule of the model broken: {}", found.join(", "));
}

#[test]
fn a_session_is_the_same_however_often_it_is_run() {
    let mut chance = Chance(1);
    let mut runs: Vec<Run> =
        (0..PLANS / 10).map(|seed| Run::new(seed, Broken::Nothing).played_out()).collect();
    // Those in which the most happens: there a difference would show.
    runs.sort_by_key(|run| std::cmp::Reverse(run.seen.iter().collect::<BTreeSet<_>>().len()));
    let mut observed = 0;
    for mut run in runs.into_iter().take(SESSIONS) {
        let first = replay(&run, &mut |_| None);
        for _ in 0..REPLAYS {
            let again = replay(&run, &mut |until| Some(chance.below(100 * until.max(1))));
            assert!(again == first, "the same inputs at the same times");
        }
        observed += first.len();
        run.delay();
        assert!(replay(&run, &mut |_| None) != first, "the control: keys that come too late");
    }
    println!(
        "figure: {REPLAYS} replays of each of {SESSIONS} sessions, the time asked for in between \
         at random: {observed} observations a round, differences 0"
    );
}

/// One session by chance, run by the model and by the collector side by side.
struct Run {
    chosen: Chosen,
    chooser: Chooser,
    model: Model,
    collector: Collector,
    start: Instant,
    now: Time,
    inputs: Vec<(Time, Input)>,
    seen: Vec<String>,
    difference: Option<String>,
}

impl Run {
    fn new(seed: u64, broken: Broken) -> Self {
        let mut chooser = Chooser { chance: Chance(seed), digest: digest() };
        let chosen = chooser.plan();
        let start = start();
        let plan = SecurePlan::new(chosen.request()).unwrap();
        Self {
            model: Model::new(&chosen.request(), KNOWN, broken),
            collector: Collector::new(plan, start),
            chosen,
            chooser,
            start,
            now: 0,
            inputs: Vec::new(),
            seen: Vec::new(),
            difference: None,
        }
    }

    fn played_out(mut self) -> Self {
        self.compare("the start", &"", &"");
        while self.difference.is_none() && !self.is_done() {
            for (gap, input) in self.chooser.next(&self.chosen, &self.model) {
                self.now += gap;
                self.input(input);
            }
        }
        self.now = self.now.max(3_000);
        self.model.run_to(self.now);
        self.collector.handle_timeout(self.start + seconds_10(self.now));
        self.compare("the end", &"", &"");
        let verdict = self.collector.verdict();
        self.seen.push(verdict.expect("every session has an end").as_str().to_owned());
        self
    }

    /// Whether the session is over, and something has been tried on it then.
    fn is_done(&mut self) -> bool {
        let is_over = self.model.is_over() && self.chooser.chance.below(4) == 0;
        is_over || self.inputs.len() > MAX_INPUTS
    }

    fn input(&mut self, input: Input) {
        if self.difference.is_some() {
            return;
        }
        self.inputs.push((self.now, input));
        self.model.run_to(self.now);
        let now = self.start + seconds_10(self.now);
        let expected = tell(&mut self.model, input);
        let answer = apply(&mut self.collector, now, input);
        if answer.starts_with("Some") {
            self.seen.push("handed over".to_owned());
        }
        self.compare(&format!("{input:?} at {}", self.now), &answer, &expected);
    }

    fn compare(&mut self, what: &str, answer: &dyn Debug, expected: &dyn Debug) {
        let (sight, seen) = (look(&mut self.collector), self.model.look());
        self.seen.extend(sight.new_reports.iter().filter_map(word));
        let [answer, expected] = [answer, expected].map(|it| format!("{it:?}"));
        if self.difference.is_none() && (sight != seen || answer != expected) {
            let difference =
                format!("after {what}: {answer} {sight:?}\nand not {expected} {seen:?}");
            self.difference = Some(difference);
        }
    }

    /// Has the first key, and everything after it, come when the session is over.
    fn delay(&mut self) {
        let is_key = |(_, input): &(Time, Input)| matches!(input, Input::Key(_));
        let first = self.inputs.iter().position(is_key).expect("a session with keys");
        for (at, _) in &mut self.inputs[first..] {
            *at += 3_000;
        }
    }
}

/// Runs the inputs of a session over again on a new collector, which is asked about the time in
/// between whenever `ask` says so, in milliseconds from the input before.
fn replay(run: &Run, ask: &mut dyn FnMut(Time) -> Option<u64>) -> Vec<String> {
    let plan = SecurePlan::new(run.chosen.request()).unwrap();
    let mut collector = Collector::new(plan, run.start);
    let mut observed = vec![format!("{:?}", look(&mut collector))];
    let mut before = 0;
    for &(at, input) in &run.inputs {
        let mut asked: Vec<u64> = (0..3).filter_map(|_| ask(at - before)).collect();
        asked.sort_unstable();
        for later in asked {
            let now = run.start + seconds_10(before) + Duration::from_millis(later);
            collector.handle_timeout(now.min(run.start + seconds_10(at)));
        }
        let answer = apply(&mut collector, run.start + seconds_10(at), input);
        observed.push(format!("{answer} {:?}", look(&mut collector)));
        before = at;
    }
    collector.handle_timeout(run.start + seconds_10(before) + MAX_DEADLINE);
    observed.push(format!("{:?}", look(&mut collector)));
    observed
}

/// Does it to the collector, as a relay does: what is due is settled first.
fn apply(collector: &mut Collector, now: Instant, input: Input) -> String {
    collector.handle_timeout(now);
    match input {
        Input::Key(key) => {
            let digit = Digit::from_ascii(u8::try_from(key).unwrap()).unwrap();
            collector.handle_key(now, digit);
        }
        Input::Prompt(length) => collector.handle_prompt(now, seconds_10(length)),
        Input::Capture(step) => return format!("{:?}", collector.capture(now, step)),
        Input::Complete => return format!("{:?}", collector.complete(now)),
        Input::Take => return format!("{:?}", taken(collector)),
        Input::Delivered(outcome) => collector.delivered(now, outcome),
        Input::Cancel => collector.cancel(now),
        Input::HangUp => collector.hang_up(now),
        Input::Abort => collector.abort(now),
    }
    String::new()
}

/// Does it to the model.
fn tell(model: &mut Model, input: Input) -> String {
    match input {
        Input::Key(key) => model.press(key),
        Input::Prompt(length) => model.prompt(length),
        Input::Capture(step) => return format!("{:?}", model.capture(step)),
        Input::Complete => return format!("{:?}", model.complete()),
        Input::Take => return format!("{:?}", model.take()),
        Input::Delivered(outcome) => model.delivered(outcome),
        Input::Cancel => model.fail(FailReason::Cancelled),
        Input::HangUp => model.fail(FailReason::CallerHungUp),
        Input::Abort => model.fail(FailReason::InternalError),
    }
    String::new()
}

fn taken(collector: &mut Collector) -> Option<Vec<(Step, String)>> {
    let accepted = collector.take_accepted()?.unwrap();
    let text = |ascii: &[u8]| String::from_utf8(ascii.to_vec()).unwrap();
    Some(accepted.entries().map(|(step, entry)| (step, entry.reveal(text))).collect())
}

fn look(collector: &mut Collector) -> Sight {
    let listens = matches!(collector.phase(), Phase::Collecting { .. });
    assert_eq!(collector.is_collecting(), listens);
    let phase = match collector.phase() {
        Phase::Waiting => "Waiting".to_owned(),
        Phase::Collecting { step, attempt } => format!("{} {attempt}", step.as_str()),
        Phase::Processing => "Processing".to_owned(),
        Phase::Concluded(verdict) => verdict.as_str().to_owned(),
    };
    let text = |digits: [Digit; 4]| digits.map(|digit| char::from(digit.to_ascii()));
    Sight {
        phase,
        required: collector.required().collect(),
        groups: collector.masked_progress().groups().into(),
        last_four: collector.last_four().map(|digits| text(digits).iter().collect()),
        issuer: collector.issuer().map(dtmf::brand::Brand::as_str),
        new_reports: std::iter::from_fn(|| collector.poll_progress()).collect(),
    }
}

/// What is worth counting of a report.
fn word(report: &Progress) -> Option<String> {
    match report {
        Progress::FieldStarted { .. } => None,
        Progress::FieldRepeat { .. } => Some("repeated".to_owned()),
        Progress::FieldRejected { error, .. } => Some(error.as_str().to_owned()),
        Progress::FieldAccepted { step } => Some(format!("accepted {}", step.as_str())),
        Progress::Processing => Some("processing".to_owned()),
    }
}

fn digest() -> KeyedDigest {
    let key = [7; 32];
    let digest = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), KNOWN.as_bytes());
    KeyedDigest::new(key, digest.as_ref().try_into().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "an arbitrary start of a virtual clock")]
fn start() -> Instant {
    Instant::now()
}
