//! Model: the collector a second time, as a clock that is looked at every tenth of a second, over
//! strings; and [`Broken`], its rules broken one at a time.

use std::time::Duration;

use dtmf::keys::{Keys, PoundKey, StarKey};
use dtmf::{
    CaptureError, CardMode, Delivery, Drive, FailReason, Field, FieldError, FieldKind, PlanRequest,
    Progress, Step, Verdict,
};

use crate::card_table::issuers;
use crate::rules::{self, Facts};

pub(crate) mod chooser;

/// Tenths of a second.
pub(crate) type Time = u64;

/// Which rule of the model is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Nothing,
    /// Card numbers need no check digit.
    CheckDigit,
    /// The second of two entries may differ.
    Matching,
    /// An entry may take any time altogether.
    EntryTimeout,
    /// A security code outlives its card number.
    Recapture,
    /// Handing over may take any time.
    Delivery,
    /// The first star cancels already.
    Star,
    /// Amounts are handed over as keyed.
    MinorUnits,
    /// A pound key is an entry, even with nothing before it.
    Pound,
}

/// What an outsider can see of a collection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) phase: String,
    pub(crate) required: Vec<Step>,
    pub(crate) groups: usize,
    pub(crate) last_four: Option<String>,
    pub(crate) issuer: Option<&'static str>,
    pub(crate) new_reports: Vec<Progress>,
}

/// One field and what has become of it.
struct Slot {
    field: Field,
    accepted: Option<String>,
    attempts: u8,
    error: Option<FieldError>,
}

/// The attempt that is going on.
struct Going {
    slot: usize,
    /// The first of two entries, once it has been judged.
    first: Option<String>,
    entry: String,
    /// When the next key is late, and when the entry is.
    key_by: Time,
    entry_by: Time,
    after_star: bool,
}

enum State {
    Waiting,
    Going(Going),
    Processing { by: Time, taken: bool },
    Over(Verdict),
}

pub(crate) struct Model {
    broken: Broken,
    keys: Keys,
    drive: Drive,
    delivery: Delivery,
    facts: Facts,
    slots: Vec<Slot>,
    state: State,
    now: Time,
    deadline: Time,
    captures: usize,
    issuer: Option<&'static str>,
    reports: Vec<Progress>,
}

impl Model {
    /// `known` is the value that a keyed digest of the plan stands for.
    pub(crate) fn new(request: &PlanRequest<'_>, known: &str, broken: Broken) -> Self {
        let slot = |&field: &Field| Slot { field, accepted: None, attempts: 0, error: None };
        let mut model = Self {
            broken,
            keys: request.keys,
            drive: request.drive,
            delivery: request.delivery,
            facts: Facts {
                is_test: request.card_mode == CardMode::Test,
                luhn_unionpay: request.luhn_unionpay,
                no_luhn: broken == Broken::CheckDigit,
                known: known.to_owned(),
                code: None,
            },
            slots: request.fields.iter().map(slot).collect(),
            state: State::Waiting,
            now: 0,
            deadline: tenths(request.deadline),
            captures: 0,
            issuer: None,
            reports: Vec::new(),
        };
        if model.drive == Drive::WholePlan {
            model.begin(0);
        }
        model
    }

    /// Lets the clock run, tick by tick.
    pub(crate) fn run_to(&mut self, time: Time) {
        while self.now < time {
            self.now += 1;
            self.tick();
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        if now == self.deadline {
            return self.fail(FailReason::SessionTimeout);
        }
        match &self.state {
            State::Going(going) if now == going.key_by => {
                let kind = self.slots[going.slot].field.kind;
                let lengths = rules::lengths(kind, &going.entry, &self.facts);
                if lengths.iter().any(|&length| length <= going.entry.len()) {
                    self.submit();
                } else {
                    self.refuse(FieldError::InputTimeout);
                }
            }
            State::Going(going) if now == going.entry_by && self.broken != Broken::EntryTimeout => {
                self.refuse(FieldError::InputTimeout);
            }
            State::Processing { by, .. } if now == *by && self.broken != Broken::Delivery => {
                self.fail(FailReason::PaymentConnectorError);
            }
            State::Waiting | State::Going(_) | State::Processing { .. } | State::Over(_) => {}
        }
    }

    pub(crate) fn press(&mut self, key: char) {
        let (now, broken) = (self.now, self.broken);
        let State::Going(going) = &mut self.state else { return };
        let field = self.slots[going.slot].field;
        let has_point = matches!(field.kind, FieldKind::Amount { decimals: 1.., .. });
        let keys = match field.keys {
            Some(own) => own,
            None if has_point => Keys { star: StarKey::DecimalPoint, ..self.keys },
            None => self.keys,
        };
        let cancels = going.after_star || broken == Broken::Star;
        match (key, keys.star) {
            ('A'..='D', _) | ('*', StarKey::Ignore) => {}
            ('#', _) if keys.pound == PoundKey::Ignore => {}
            ('#', _) if going.entry.is_empty() && broken != Broken::Pound => {
                going.after_star = false;
            }
            ('#', _) => self.submit(),
            ('*', StarKey::Cancel) => self.fail(FailReason::CallerInterruptedWithStar),
            ('*', StarKey::ClearThenCancel) if cancels => {
                self.fail(FailReason::CallerInterruptedWithStar);
            }
            ('*', StarKey::Clear | StarKey::ClearThenCancel) => {
                going.entry.clear();
                going.after_star = true;
                going.key_by = now + tenths(field.first_key_timeout);
            }
            _ => {
                if going.entry.len() < 33 {
                    going.entry.push(key);
                }
                going.after_star = false;
                going.key_by = now + tenths(field.inter_key_timeout);
                if rules::lengths(field.kind, &going.entry, &self.facts) == [going.entry.len()] {
                    self.submit();
                }
            }
        }
    }

    pub(crate) fn prompt(&mut self, length: Time) {
        let end = self.now + length.min(self.deadline);
        if let State::Going(going) = &mut self.state
            && going.entry.is_empty()
        {
            going.key_by = end + tenths(self.slots[going.slot].field.first_key_timeout);
            going.entry_by = end + tenths(self.slots[going.slot].field.field_timeout);
        }
    }

    pub(crate) fn capture(&mut self, step: Step) -> Result<(), CaptureError> {
        self.can_go_on()?;
        let place = self.place(step).ok_or(CaptureError::NotInPlan)?;
        let number = self.place(Step::PaymentCardNumber);
        let has_number = number.is_some_and(|number| self.slots[number].accepted.is_some());
        if step == Step::SecurityCode && !has_number {
            return Err(CaptureError::CaptureSequence);
        }
        if self.captures == 24 {
            return Err(CaptureError::TooManyCaptures);
        }
        self.captures += 1;
        self.slots[place].accepted = None;
        if step == Step::PaymentCardNumber {
            (self.issuer, self.facts.code) = (None, None);
            if let Some(code) = self.place(Step::SecurityCode)
                && self.broken != Broken::Recapture
            {
                self.slots[code].accepted = None;
            }
        }
        self.begin(place);
        Ok(())
    }

    pub(crate) fn complete(&mut self) -> Result<(), CaptureError> {
        self.can_go_on()?;
        if self.slots.iter().any(|slot| slot.accepted.is_none()) {
            return Err(CaptureError::Incomplete);
        }
        self.finish();
        Ok(())
    }

    fn can_go_on(&self) -> Result<(), CaptureError> {
        if self.drive == Drive::WholePlan {
            return Err(CaptureError::WholePlan);
        }
        match self.state {
            State::Waiting => Ok(()),
            State::Going(_) => Err(CaptureError::Busy),
            State::Processing { .. } => Err(CaptureError::Processing),
            State::Over(_) => Err(CaptureError::Ended),
        }
    }

    /// What is handed over, the first time it is asked for.
    pub(crate) fn take(&mut self) -> Option<Vec<(Step, String)>> {
        let State::Processing { taken, .. } = &mut self.state else { return None };
        if std::mem::replace(taken, true) {
            return None;
        }
        let entry = |slot: &Slot| {
            let accepted = slot.accepted.clone().expect("nothing is handed over half done");
            (slot.field.kind.step(), accepted)
        };
        Some(self.slots.iter().map(entry).collect())
    }

    pub(crate) fn delivered(&mut self, outcome: Result<(), FailReason>) {
        match (&self.state, outcome) {
            (State::Processing { taken: true, .. }, Ok(())) => {
                self.state = State::Over(Verdict::Passed);
            }
            (State::Processing { .. }, Ok(())) => self.fail(FailReason::InternalError),
            (State::Processing { .. }, Err(reason)) => self.fail(reason),
            (State::Waiting | State::Going(_) | State::Over(_), _) => {}
        }
    }

    pub(crate) fn fail(&mut self, reason: FailReason) {
        if !self.is_over() {
            self.state = State::Over(Verdict::Failed(reason));
        }
    }

    fn submit(&mut self) {
        let State::Going(going) = &mut self.state else { return };
        let (place, is_lax) = (going.slot, self.broken == Broken::Matching);
        let Field { kind, double_entry, .. } = self.slots[place].field;
        let mut judged = rules::judge(kind, &going.entry, &self.facts);
        if self.broken == Broken::MinorUnits {
            judged = judged.map(|_| going.entry.clone());
        }
        match (going.first.take(), judged) {
            (None, Err(error)) => self.refuse(error),
            (None, Ok(entry)) if double_entry => self.ask_again(entry),
            (None, Ok(entry)) => self.accept(place, entry),
            (Some(first), again) if is_lax || again.as_ref() == Ok(&first) => {
                self.accept(place, first);
            }
            (Some(_), _) => self.refuse(FieldError::InputMatchingFailed),
        }
    }

    fn ask_again(&mut self, entry: String) {
        let State::Going(going) = &mut self.state else { return };
        let slot = &self.slots[going.slot];
        *going = Going::new(going.slot, slot.field, self.now);
        going.first = Some(entry);
        let (step, attempt) = (slot.field.kind.step(), slot.attempts);
        self.reports.push(Progress::FieldRepeat { step, attempt });
    }

    fn accept(&mut self, place: usize, entry: String) {
        let slot = &mut self.slots[place];
        let step = slot.field.kind.step();
        if let FieldKind::CardNumber { allowed } = slot.field.kind {
            let brands: Vec<_> = allowed.iter().collect();
            let all = issuers(&entry, &brands);
            let sole = if let [one] = all[..] { Some(one) } else { None };
            self.issuer = sole.map(|card| card.brand.as_str());
            self.facts.code = sole.and_then(|card| card.code);
        }
        (slot.accepted, slot.error) = (Some(entry), None);
        self.reports.push(Progress::FieldAccepted { step });
        if self.drive == Drive::FieldAtATime {
            self.state = State::Waiting;
        } else if place + 1 == self.slots.len() {
            self.finish();
        } else {
            self.begin(place + 1);
        }
    }

    fn refuse(&mut self, error: FieldError) {
        let State::Going(going) = &self.state else { return };
        let place = going.slot;
        let slot = &mut self.slots[place];
        slot.error = Some(error);
        let (step, attempt) = (slot.field.kind.step(), slot.attempts);
        let is_last = attempt == slot.field.attempts;
        self.reports.push(Progress::FieldRejected { step, attempt, error });
        if self.drive == Drive::FieldAtATime {
            self.state = State::Waiting;
        } else if is_last {
            self.fail(FailReason::TooManyFailedAttempts);
        } else {
            self.begin(place);
        }
    }

    fn begin(&mut self, place: usize) {
        let slot = &mut self.slots[place];
        slot.attempts += 1;
        let (step, attempt, error) = (slot.field.kind.step(), slot.attempts, slot.error);
        self.reports.push(Progress::FieldStarted { step, attempt, error });
        self.state = State::Going(Going::new(place, slot.field, self.now));
    }

    fn finish(&mut self) {
        if self.delivery == Delivery::Sink {
            self.reports.push(Progress::Processing);
            self.state = State::Processing { by: self.now + 300, taken: false };
        } else {
            self.state = State::Over(Verdict::Passed);
        }
    }

    fn place(&self, step: Step) -> Option<usize> {
        self.slots.iter().position(|slot| slot.field.kind.step() == step)
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    /// What whoever thinks up the next input knows: the field that is being keyed and how far.
    pub(crate) fn hint(&self) -> Hint<'_> {
        match &self.state {
            State::Going(going) => Hint::Key {
                kind: self.slots[going.slot].field.kind,
                first: going.first.as_deref(),
                code: self.facts.code,
            },
            State::Waiting => Hint::Capture,
            State::Processing { .. } => Hint::Deliver,
            State::Over(_) => Hint::Nothing,
        }
    }

    /// Whether the field that is being keyed takes this.
    pub(crate) fn would_take(&self, entry: &str) -> bool {
        let State::Going(going) = &self.state else { return false };
        rules::judge(self.slots[going.slot].field.kind, entry, &self.facts).is_ok()
    }

    /// The first field that has not been accepted yet.
    pub(crate) fn wanted(&self) -> Option<Step> {
        let open = self.slots.iter().find(|slot| slot.accepted.is_none())?;
        Some(open.field.kind.step())
    }

    pub(crate) fn look(&mut self) -> Sight {
        let number = self.place(Step::PaymentCardNumber);
        let number = number.and_then(|number| self.slots[number].accepted.as_ref());
        let (phase, groups, is_here) = match &self.state {
            State::Waiting => ("Waiting".to_owned(), 0, true),
            State::Going(going) => {
                let Slot { field, attempts, .. } = &self.slots[going.slot];
                let phase = format!("{} {attempts}", field.kind.step().as_str());
                (phase, going.entry.len().div_ceil(4).min(5), true)
            }
            State::Processing { taken, .. } => ("Processing".to_owned(), 0, !taken),
            State::Over(verdict) => (verdict.as_str().to_owned(), 0, false),
        };
        let open = self.slots.iter().filter(|slot| slot.accepted.is_none());
        Sight {
            phase,
            required: open.map(|slot| slot.field.kind.step()).collect(),
            groups,
            last_four: number.filter(|_| is_here).map(|it| it[it.len() - 4..].to_owned()),
            issuer: self.issuer.filter(|_| !self.is_over()),
            new_reports: std::mem::take(&mut self.reports),
        }
    }
}

/// What would make sense next.
pub(crate) enum Hint<'a> {
    Key { kind: FieldKind, first: Option<&'a str>, code: Option<usize> },
    Capture,
    Deliver,
    Nothing,
}

impl Going {
    fn new(slot: usize, field: Field, now: Time) -> Self {
        Self {
            slot,
            first: None,
            entry: String::new(),
            key_by: now + tenths(field.first_key_timeout),
            entry_by: now + tenths(field.field_timeout),
            after_star: false,
        }
    }
}

fn tenths(duration: Duration) -> Time {
    u64::try_from(duration.as_millis() / 100).expect("a short time")
}
