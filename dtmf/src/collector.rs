//! `Collector`: keys and time in, progress and one verdict out.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use locked_page::{LockError, Locked};

use crate::brand::{Brand, BrandSet};
use crate::capture_error::CaptureError;
use crate::field::{Field, FieldKind, Known};
use crate::field_error::FieldError;
use crate::keys::Role;
use crate::plan::{Delivery, Drive, MAX_CAPTURES, MAX_DELIVERY, MAX_FIELDS, SecurePlan};
use crate::progress::{MaskedCount, Progress};
use crate::secret::SecretDigits;
use crate::step::Step;
use crate::verdict::{FailReason, Verdict};
use crate::{Accepted, Digit};

/// Every attempt makes three reports at most, its start, its repetition and its end, there are
/// only so many attempts, and one report more says that it is being handed over: the reports of a
/// whole session fit, whether or not anybody reads them.
const MAX_PROGRESS: usize = 3 * MAX_CAPTURES as usize + 1;

/// A collector fits into one page of memory, which is what a session locks.
const _: () = assert!(size_of::<Collector>() <= 4096);

/// The judge of one secure session. It walks through the fields of a plan, or is walked through
/// them by a script, and ends with one [`Verdict`].
///
/// It is deterministic: the same inputs at the same times give the same reports and the same
/// verdict, no matter how often or how late [`Collector::handle_timeout`] is called in between,
/// because whatever was due before an input is settled first, at the time it was due.
///
/// The digits are held here and nowhere else, in arrays of fixed size, so it is meant to live in a
/// locked page ([`Collector::locked`]) and is neither `Clone` nor `Debug`. They leave through
/// [`Collector::take_accepted`] alone, and a verdict leaves none.
pub struct Collector {
    plan: SecurePlan,
    /// What was keyed into each field of the plan, in its order.
    entries: [SecretDigits; MAX_FIELDS],
    /// What was keyed the second time into a field that is keyed twice.
    repetition: SecretDigits,
    tallies: [Tally; MAX_FIELDS],
    captures: u8,
    /// The brand of the card number accepted, if it is beyond doubt.
    issuer: Option<Brand>,
    stage: Stage,
    deadline: Instant,
    progress: ArrayVec<Progress, MAX_PROGRESS>,
    progress_read: usize,
}

/// Where a collection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for the script to capture a field, and listens to no key.
    Waiting,
    /// It listens for the keys of a field.
    Collecting {
        /// The field.
        step: Step,
        /// Which attempt it is, from 1.
        attempt: u8,
    },
    /// What was accepted is being handed over.
    Processing,
    /// It has ended.
    Concluded(Verdict),
}

/// What has become of one field so far.
#[derive(Clone, Copy)]
struct Tally {
    attempts: u8,
    /// Why the attempt before failed, since the field was last accepted.
    error: Option<FieldError>,
    accepted: bool,
}

#[derive(Clone, Copy)]
enum Stage {
    Waiting,
    Collecting(Attempt),
    Processing {
        due: Instant,
        /// What was accepted has been taken.
        taken: bool,
    },
    Concluded(Verdict),
}

#[derive(Clone, Copy)]
struct Attempt {
    /// The index of the field in the plan.
    field: usize,
    /// Counts from 1.
    number: u8,
    /// When the caller has waited too long for the next key.
    key_due: Instant,
    /// When the entry has taken too long altogether.
    entry_due: Instant,
    /// The entry fits its rule and is being keyed a second time.
    repeating: bool,
    /// The key before was a star that cleared the entry.
    after_star: bool,
}

/// What happens when a time has come.
#[derive(Clone, Copy)]
enum Due {
    Session,
    Key(Attempt),
    Entry(Attempt),
    Delivery,
}

impl Collector {
    /// Starts collecting the first field of the plan, or waits for a script to capture one.
    #[must_use]
    pub fn new(plan: SecurePlan, now: Instant) -> Self {
        let drive = plan.drive();
        let mut collector = Self {
            deadline: now + plan.deadline(),
            plan,
            entries: [const { SecretDigits::new() }; MAX_FIELDS],
            repetition: SecretDigits::new(),
            tallies: [Tally::NEW; MAX_FIELDS],
            captures: 0,
            issuer: None,
            stage: Stage::Waiting,
            progress: ArrayVec::new(),
            progress_read: 0,
        };
        match drive {
            Drive::WholePlan => collector.start(0, now),
            Drive::FieldAtATime => {}
        }
        collector
    }

    /// Starts collecting in a page of its own that is never swapped or dumped.
    ///
    /// # Errors
    /// [`LockError`] if the system gives no such page; then nothing can be collected.
    pub fn locked(plan: SecurePlan, now: Instant) -> Result<Locked<Self>, LockError> {
        Locked::new(|| Self::new(plan, now))
    }

    /// The caller pressed a key. Where no field is being collected it is ignored, not kept.
    pub fn handle_key(&mut self, now: Instant, digit: Digit) {
        self.handle_timeout(now);
        let Stage::Collecting(attempt) = self.stage else { return };
        let field = self.plan.fields()[attempt.field];
        match field.keys(self.plan.keys()).role(digit, attempt.after_star) {
            Role::Ignored => {}
            Role::Cancel => self.fail(FailReason::CallerInterruptedWithStar),
            Role::Clear => {
                self.entry_mut(attempt).clear();
                let key_due = now + field.first_key_timeout;
                self.stage = Stage::Collecting(Attempt { key_due, after_star: true, ..attempt });
            }
            Role::Submit if self.entry(attempt).is_empty() => {
                self.stage = Stage::Collecting(Attempt { after_star: false, ..attempt });
            }
            Role::Submit => self.submit(attempt, now),
            Role::Numeral => {
                // No room means that the entry is too long already, and it stays so.
                let _ = self.entry_mut(attempt).push(digit);
                let key_due = now + field.inter_key_timeout;
                let attempt = Attempt { key_due, after_star: false, ..attempt };
                self.stage = Stage::Collecting(attempt);
                if self.is_complete(attempt) {
                    self.submit(attempt, now);
                }
            }
        }
    }

    /// A prompt of this length begins to play: the entry and its first key may take their time
    /// from the prompt's end. Without effect once something has been keyed.
    pub fn handle_prompt(&mut self, now: Instant, length: Duration) {
        self.handle_timeout(now);
        let Stage::Collecting(attempt) = self.stage else { return };
        if self.entry(attempt).is_empty() {
            let end = now + length.min(self.plan.deadline());
            let field = self.plan.fields()[attempt.field];
            self.stage = Stage::Collecting(attempt.timed_from(end, field));
        }
    }

    /// Time has passed. Settles everything that was due by `now`, each at the time it was due.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Ends: each turn uses up an attempt or concludes, and there is a bounded number of them.
        while let Some((at, due)) = self.next_due().filter(|&(at, _)| at <= now) {
            match due {
                Due::Session => self.fail(FailReason::SessionTimeout),
                Due::Delivery => self.fail(FailReason::PaymentConnectorError),
                Due::Key(attempt) if self.is_long_enough(attempt) => self.submit(attempt, at),
                Due::Key(attempt) | Due::Entry(attempt) => {
                    self.reject(attempt, FieldError::InputTimeout, at);
                }
            }
        }
    }

    /// When [`Collector::handle_timeout`] wants to be called; `None` after the verdict.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_due().map(|(at, _)| at)
    }

    /// The script has one attempt made at a field of the plan. What was accepted for the field
    /// before is wiped, and with a card number its security code. Whether the attempt fails or
    /// not, the collection then waits for the next capture.
    ///
    /// # Errors
    /// [`CaptureError`] says why it can't be now; nothing has changed then. A field that is being
    /// keyed is not given up for another: the caller would key one thing into the other.
    pub fn capture(&mut self, now: Instant, step: Step) -> Result<(), CaptureError> {
        self.handle_timeout(now);
        self.expect_waiting()?;
        let field = self.plan.position(step).ok_or(CaptureError::NotInPlan)?;
        if step == Step::SecurityCode && !self.is_accepted(Step::PaymentCardNumber) {
            return Err(CaptureError::CaptureSequence);
        }
        if self.captures >= MAX_CAPTURES {
            return Err(CaptureError::TooManyCaptures);
        }
        self.captures += 1;
        self.forget(field);
        if step == Step::PaymentCardNumber {
            self.issuer = None;
            if let Some(code) = self.plan.position(Step::SecurityCode) {
                self.forget(code);
            }
        }
        self.start(field, now);
        Ok(())
    }

    /// The script needs no further field: what was accepted is handed over or wiped, as the plan
    /// says.
    ///
    /// # Errors
    /// [`CaptureError`] says why it can't be now; nothing has changed then.
    pub fn complete(&mut self, now: Instant) -> Result<(), CaptureError> {
        self.handle_timeout(now);
        self.expect_waiting()?;
        if self.required().next().is_some() {
            return Err(CaptureError::Incomplete);
        }
        self.finish(now);
        Ok(())
    }

    /// The steps that have not been accepted yet, in the order of the plan.
    pub fn required(&self) -> impl Iterator<Item = Step> {
        let fields = self.plan.fields().iter().zip(&self.tallies);
        fields.filter(|(_, tally)| !tally.accepted).map(|(field, _)| field.kind.step())
    }

    /// What was accepted, once, while it is being handed over; it is no longer here then.
    ///
    /// # Errors
    /// [`LockError`] if the system gives no page for it. It can be asked for again.
    pub fn take_accepted(&mut self) -> Option<Result<Locked<Accepted>, LockError>> {
        let Stage::Processing { due, taken: false } = self.stage else { return None };
        let (plan, issuer) = (&self.plan, self.issuer);
        let accepted = Locked::new(|| Accepted::room(plan, issuer)).map(|mut accepted| {
            accepted.take_from(&mut self.entries);
            self.stage = Stage::Processing { due, taken: true };
            accepted
        });
        Some(accepted)
    }

    /// How the handing over ended. Without effect unless it is going on; a success of what was
    /// never taken is an internal error.
    pub fn delivered(&mut self, now: Instant, outcome: Result<(), FailReason>) {
        self.handle_timeout(now);
        let Stage::Processing { taken, .. } = self.stage else { return };
        match outcome {
            Ok(()) if taken => self.conclude(Verdict::Passed),
            Ok(()) => self.fail(FailReason::InternalError),
            Err(reason) => self.fail(reason),
        }
    }

    /// An operator ends the collection.
    pub fn cancel(&mut self, now: Instant) {
        self.end(now, FailReason::Cancelled);
    }

    /// The caller has hung up.
    pub fn hang_up(&mut self, now: Instant) {
        self.end(now, FailReason::CallerHungUp);
    }

    /// The relay can't go on with this session, through no fault of the caller.
    pub fn abort(&mut self, now: Instant) {
        self.end(now, FailReason::InternalError);
    }

    /// The next report that has not been read yet.
    pub fn poll_progress(&mut self) -> Option<Progress> {
        let progress = self.progress.get(self.progress_read).copied()?;
        self.progress_read += 1;
        Some(progress)
    }

    /// How far the entry of the current field has come, for an operator.
    #[must_use]
    pub fn masked_progress(&self) -> MaskedCount {
        match self.stage {
            Stage::Collecting(attempt) => MaskedCount::of(self.entry(attempt).len()),
            Stage::Waiting | Stage::Processing { .. } | Stage::Concluded(_) => MaskedCount::of(0),
        }
    }

    /// Where the collection stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.stage {
            Stage::Waiting => Phase::Waiting,
            Stage::Collecting(attempt) => {
                let step = self.plan.fields()[attempt.field].kind.step();
                Phase::Collecting { step, attempt: attempt.number }
            }
            Stage::Processing { .. } => Phase::Processing,
            Stage::Concluded(verdict) => Phase::Concluded(verdict),
        }
    }

    /// Whether it listens for keys: [`Phase::Collecting`], without looking up the field.
    #[must_use]
    pub fn is_collecting(&self) -> bool {
        match self.stage {
            Stage::Collecting(_) => true,
            Stage::Waiting | Stage::Processing { .. } | Stage::Concluded(_) => false,
        }
    }

    /// How the collection ended, once it has.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        match self.stage {
            Stage::Waiting | Stage::Collecting(_) | Stage::Processing { .. } => None,
            Stage::Concluded(verdict) => Some(verdict),
        }
    }

    /// The brand of the card number accepted, if it is beyond doubt: for prompts, and not for
    /// events. `None` after the verdict.
    #[must_use]
    pub fn issuer(&self) -> Option<Brand> {
        self.issuer
    }

    /// The last four digits of the card number accepted, to be read back to the caller. `None`
    /// once they have been taken, and after the verdict.
    #[must_use]
    pub fn last_four(&self) -> Option<[Digit; 4]> {
        let number = self.plan.position(Step::PaymentCardNumber)?;
        self.tallies[number].accepted.then(|| self.entries[number].last_four())?
    }

    /// Overwrites everything keyed. A collection that still runs is cancelled by it.
    pub fn wipe(&mut self) {
        if self.verdict().is_none() {
            return self.fail(FailReason::Cancelled);
        }
        self.clear_entries();
    }

    fn end(&mut self, now: Instant, reason: FailReason) {
        self.handle_timeout(now);
        if self.verdict().is_none() {
            self.fail(reason);
        }
    }

    /// What is due first, and when; of several at once, the first listed.
    fn next_due(&self) -> Option<(Instant, Due)> {
        let session = (self.deadline, Due::Session);
        let earlier = |one: (Instant, Due), other: (Instant, Due)| {
            if other.0 < one.0 { other } else { one }
        };
        match self.stage {
            Stage::Waiting => Some(session),
            Stage::Collecting(attempt) => {
                let key = (attempt.key_due, Due::Key(attempt));
                Some(earlier(earlier(session, key), (attempt.entry_due, Due::Entry(attempt))))
            }
            Stage::Processing { due, .. } => Some(earlier(session, (due, Due::Delivery))),
            Stage::Concluded(_) => None,
        }
    }

    fn expect_waiting(&self) -> Result<(), CaptureError> {
        match (self.plan.drive(), self.stage) {
            (Drive::WholePlan, _) => Err(CaptureError::WholePlan),
            (Drive::FieldAtATime, Stage::Waiting) => Ok(()),
            (Drive::FieldAtATime, Stage::Collecting(_)) => Err(CaptureError::Busy),
            (Drive::FieldAtATime, Stage::Processing { .. }) => Err(CaptureError::Processing),
            (Drive::FieldAtATime, Stage::Concluded(_)) => Err(CaptureError::Ended),
        }
    }

    /// Whether one more key could only spoil the entry: it has the one length there is.
    fn is_complete(&self, attempt: Attempt) -> bool {
        self.look(attempt, |kind, entry, known| kind.lengths(entry, known).is_only(entry.len()))
    }

    fn is_long_enough(&self, attempt: Attempt) -> bool {
        self.look(attempt, |kind, entry, known| kind.lengths(entry, known).reached_by(entry.len()))
    }

    fn submit(&mut self, attempt: Attempt, now: Instant) {
        let Field { kind, double_entry, .. } = self.plan.fields()[attempt.field];
        let judged = self.look(attempt, FieldKind::judge);
        if judged.is_ok() {
            kind.normalise(self.entry_mut(attempt));
        }
        match judged {
            // What does not fit the rule differs from the first entry, which does.
            Err(_) if attempt.repeating => {
                self.reject(attempt, FieldError::InputMatchingFailed, now);
            }
            Err(error) => self.reject(attempt, error, now),
            Ok(()) if attempt.repeating => {
                if self.repetition.matches(&self.entries[attempt.field]) {
                    self.accept(attempt, now);
                } else {
                    self.reject(attempt, FieldError::InputMatchingFailed, now);
                }
            }
            Ok(()) if double_entry => self.repeat(attempt, now),
            Ok(()) => self.accept(attempt, now),
        }
    }

    fn repeat(&mut self, attempt: Attempt, now: Instant) {
        let field = self.plan.fields()[attempt.field];
        let again = Attempt { repeating: true, after_star: false, ..attempt };
        self.stage = Stage::Collecting(again.timed_from(now, field));
        self.report(Progress::FieldRepeat { step: field.kind.step(), attempt: attempt.number });
    }

    fn accept(&mut self, attempt: Attempt, now: Instant) {
        let kind = self.plan.fields()[attempt.field].kind;
        self.repetition.clear();
        self.tallies[attempt.field] =
            Tally { error: None, accepted: true, ..self.tallies[attempt.field] };
        if let Some(allowed) = kind.brands() {
            let entry = &self.entries[attempt.field];
            self.issuer = entry.reveal(|number| BrandSet::issuing(number, allowed)).sole();
        }
        self.report(Progress::FieldAccepted { step: kind.step() });
        match self.plan.drive() {
            Drive::FieldAtATime => self.stage = Stage::Waiting,
            Drive::WholePlan if attempt.field + 1 < self.plan.fields().len() => {
                self.start(attempt.field + 1, now);
            }
            Drive::WholePlan => self.finish(now),
        }
    }

    fn reject(&mut self, attempt: Attempt, error: FieldError, now: Instant) {
        let Field { kind, attempts, .. } = self.plan.fields()[attempt.field];
        let (step, number) = (kind.step(), attempt.number);
        self.repetition.clear();
        self.entries[attempt.field].clear();
        self.tallies[attempt.field].error = Some(error);
        self.report(Progress::FieldRejected { step, attempt: number, error });
        match self.plan.drive() {
            Drive::FieldAtATime => self.stage = Stage::Waiting,
            Drive::WholePlan if number < attempts => self.start(attempt.field, now),
            Drive::WholePlan => self.fail(FailReason::TooManyFailedAttempts),
        }
    }

    /// Begins the next attempt at a field.
    fn start(&mut self, field: usize, now: Instant) {
        debug_assert!(self.entries[field].is_empty(), "an attempt starts with nothing keyed");
        let tally = &mut self.tallies[field];
        tally.attempts += 1;
        let (rule, attempt, error) = (self.plan.fields()[field], tally.attempts, tally.error);
        self.stage = Stage::Collecting(Attempt::new(field, attempt, rule, now));
        self.report(Progress::FieldStarted { step: rule.kind.step(), attempt, error });
    }

    /// Every field has been accepted.
    fn finish(&mut self, now: Instant) {
        debug_assert!(self.required().next().is_none(), "nothing is handed over half done");
        match self.plan.delivery() {
            Delivery::Discard => self.conclude(Verdict::Passed),
            Delivery::Sink => {
                self.stage = Stage::Processing { due: now + MAX_DELIVERY, taken: false };
                self.report(Progress::Processing);
            }
        }
    }

    fn fail(&mut self, reason: FailReason) {
        self.conclude(Verdict::Failed(reason));
    }

    fn conclude(&mut self, verdict: Verdict) {
        assert!(self.verdict().is_none(), "a collection ends once");
        self.clear_entries();
        self.stage = Stage::Concluded(verdict);
        assert!(self.entries.iter().all(SecretDigits::is_empty), "a verdict leaves no digit");
    }

    fn clear_entries(&mut self) {
        self.entries.iter_mut().for_each(SecretDigits::clear);
        self.repetition.clear();
        self.issuer = None;
    }

    fn forget(&mut self, field: usize) {
        self.entries[field].clear();
        self.tallies[field].accepted = false;
    }

    fn report(&mut self, progress: Progress) {
        self.progress.push(progress);
    }

    fn is_accepted(&self, step: Step) -> bool {
        self.plan.position(step).is_some_and(|field| self.tallies[field].accepted)
    }

    /// What is being keyed.
    fn entry(&self, attempt: Attempt) -> &SecretDigits {
        if attempt.repeating { &self.repetition } else { &self.entries[attempt.field] }
    }

    fn entry_mut(&mut self, attempt: Attempt) -> &mut SecretDigits {
        if attempt.repeating { &mut self.repetition } else { &mut self.entries[attempt.field] }
    }

    /// Looks at the current entry with what is needed to judge it.
    fn look<R>(&self, attempt: Attempt, look: impl FnOnce(FieldKind, &[u8], Known) -> R) -> R {
        let kind = self.plan.fields()[attempt.field].kind;
        let known = Known {
            today: self.plan.today(),
            card_mode: self.plan.card_mode(),
            luhn_unionpay: self.plan.luhn_unionpay(),
            issuer: self.issuer,
        };
        self.entry(attempt).reveal(|entry| look(kind, entry, known))
    }
}

impl Tally {
    const NEW: Self = Self { attempts: 0, error: None, accepted: false };
}

impl Attempt {
    fn new(field: usize, number: u8, rule: Field, now: Instant) -> Self {
        let (key_due, entry_due) = (now, now);
        let begun = Self { field, number, key_due, entry_due, repeating: false, after_star: false };
        begun.timed_from(now, rule)
    }

    /// The attempt with its times counted from `begin`.
    fn timed_from(self, begin: Instant, rule: Field) -> Self {
        let key_due = begin + rule.first_key_timeout;
        Self { key_due, entry_due: begin + rule.field_timeout, ..self }
    }
}
