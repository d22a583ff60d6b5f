//! `Script`: a collector, a clock that is turned by hand, and a party that takes what is accepted.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::time::{Duration, Instant};

use dtmf::brand::BrandSet;
use dtmf::expiry::Date;
use dtmf::keys::Keys;
use dtmf::{
    Accepted, CardMode, Collector, Delivery, Digit, Drive, FailReason, Field, FieldError,
    FieldKind, Phase, PlanRequest, Progress, SecurePlan, Step, Verdict,
};
use locked_page::Locked;

pub(crate) const NUMBER: Field = Field::new(FieldKind::CardNumber { allowed: BrandSet::COMMON });
pub(crate) const EXPIRY: Field = Field::new(FieldKind::ExpirationDate);
pub(crate) const CODE: Field = Field::new(FieldKind::SecurityCode);
pub(crate) const POSTAL: Field = Field::new(FieldKind::PostalCode { min: 3, max: 10 });

/// A collector whose plan hands over, and what it has handed over.
pub(crate) struct Script {
    pub(crate) collector: Collector,
    pub(crate) now: Instant,
    pub(crate) accepted: Option<Locked<Accepted>>,
    /// Whether what is accepted is taken at once and well.
    pub(crate) takes: bool,
}

impl Script {
    pub(crate) fn new(fields: &[Field]) -> Self {
        Self::of(request(fields))
    }

    pub(crate) fn with_keys(fields: &[Field], keys: Keys) -> Self {
        Self::of(PlanRequest { keys, ..request(fields) })
    }

    /// One whose script captures the fields.
    pub(crate) fn driven(fields: &[Field]) -> Self {
        Self::of(PlanRequest { drive: Drive::FieldAtATime, ..request(fields) })
    }

    pub(crate) fn of(request: PlanRequest<'_>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary start of a virtual clock")]
        let now = Instant::now();
        let plan = SecurePlan::new(request).unwrap();
        Self { collector: Collector::new(plan, now), now, accepted: None, takes: true }
    }

    /// Presses these keys, 300 ms apart.
    pub(crate) fn key(&mut self, keys: &str) -> &mut Self {
        for key in keys.bytes() {
            self.now += Duration::from_millis(300);
            self.collector.handle_key(self.now, Digit::from_ascii(key).unwrap());
            self.take();
        }
        self
    }

    /// Lets time pass and has it settled.
    pub(crate) fn wait(&mut self, milliseconds: u64) -> &mut Self {
        self.now += Duration::from_millis(milliseconds);
        self.collector.handle_timeout(self.now);
        self.take();
        self
    }

    /// Has the script capture a field.
    pub(crate) fn capture(&mut self, step: Step) -> &mut Self {
        self.collector.capture(self.now, step).unwrap();
        self
    }

    fn take(&mut self) {
        if self.takes && self.collector.phase() == Phase::Processing {
            self.accepted = self.collector.take_accepted().map(Result::unwrap);
            self.collector.delivered(self.now, Ok(()));
        }
    }

    /// What happened so far with the fields, in order.
    pub(crate) fn reports(&mut self) -> Vec<Progress> {
        let reports = std::iter::from_fn(|| self.collector.poll_progress());
        reports.filter(|&report| report != Progress::Processing).collect()
    }

    /// What was refused so far, in order.
    pub(crate) fn errors(&mut self) -> Vec<FieldError> {
        let error = |report| match report {
            Progress::FieldRejected { error, .. } => Some(error),
            Progress::FieldStarted { .. }
            | Progress::FieldRepeat { .. }
            | Progress::FieldAccepted { .. }
            | Progress::Processing => None,
        };
        self.reports().into_iter().filter_map(error).collect()
    }

    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.collector.verdict()
    }

    pub(crate) fn required(&self) -> Vec<Step> {
        self.collector.required().collect()
    }

    /// Whether this was handed over.
    pub(crate) fn holds(&self, step: Step, digits: &str) -> bool {
        let entry = self.accepted.as_ref().and_then(|accepted| accepted.get(step));
        entry.is_some_and(|entry| entry.reveal(|ascii| ascii == digits.as_bytes()))
    }
}

pub(crate) fn request(fields: &[Field]) -> PlanRequest<'_> {
    let today = Date::new(2026, 8, 15).unwrap();
    let request = PlanRequest::new(fields, today, CardMode::Test);
    PlanRequest { delivery: Delivery::Sink, ..request }
}

pub(crate) fn failed(reason: FailReason) -> Option<Verdict> {
    Some(Verdict::Failed(reason))
}

pub(crate) const PASSED: Option<Verdict> = Some(Verdict::Passed);
