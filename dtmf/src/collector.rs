//! `Collector`: keys and time in, progress and one verdict out.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use locked_page::{LockError, Locked};

use crate::Digit;
use crate::brand::{Brand, BrandSet};
use crate::field::{Field, FieldError, FieldKind, Known, MAX_ATTEMPTS, Step};
use crate::keys::Role;
use crate::plan::{MAX_FIELDS, SecurePlan};
use crate::progress::{MaskedCount, Progress};
use crate::secret::SecretDigits;
use crate::verdict::{FailReason, Verdict};

/// Every attempt makes two reports, its start and its end, and there are only so many attempts:
/// the reports of a whole session fit, whether or not anybody reads them.
const MAX_PROGRESS: usize = 2 * MAX_FIELDS * MAX_ATTEMPTS as usize;

/// A collector fits into one page of memory, which is what a session locks.
const _: () = assert!(size_of::<Collector>() <= 4096);

/// The judge of one secure session. It walks through the fields of a plan and ends with one
/// [`Verdict`].
///
/// It is deterministic: the same keys at the same times give the same reports and the same
/// verdict, no matter how often or how late [`Collector::handle_timeout`] is called in between,
/// because whatever was due before an input is settled first, at the time it was due.
///
/// The digits are held here and nowhere else, in arrays of fixed size, so it is meant to live in a
/// locked page ([`Collector::locked`]) and is neither `Clone` nor `Debug`.
pub struct Collector {
    plan: SecurePlan,
    /// What was keyed into each field of the plan, in its order.
    entries: [SecretDigits; MAX_FIELDS],
    stage: Stage,
    deadline: Instant,
    progress: ArrayVec<Progress, MAX_PROGRESS>,
    progress_read: usize,
}

#[derive(Clone, Copy)]
enum Stage {
    Collecting(Attempt),
    Concluded(Verdict),
}

#[derive(Clone, Copy)]
struct Attempt {
    /// The index of the field in the plan.
    field: usize,
    /// Counts from 1.
    number: u8,
    /// When the caller has waited too long for the next key.
    due: Instant,
    /// The key before was a star that cleared the entry.
    after_star: bool,
}

impl Collector {
    /// Starts collecting the first field of the plan.
    #[must_use]
    pub fn new(plan: SecurePlan, now: Instant) -> Self {
        let first = plan.fields()[0];
        let mut collector = Self {
            deadline: now + plan.deadline(),
            plan,
            entries: [const { SecretDigits::new() }; MAX_FIELDS],
            stage: Stage::Collecting(Attempt::new(0, 1, first, now)),
            progress: ArrayVec::new(),
            progress_read: 0,
        };
        collector.report(Progress::FieldStarted { step: first.kind.step(), attempt: 1 });
        collector
    }

    /// Starts collecting in a page of its own that is never swapped or dumped.
    ///
    /// # Errors
    /// [`LockError`] if the system gives no such page; then nothing can be collected.
    pub fn locked(plan: SecurePlan, now: Instant) -> Result<Locked<Self>, LockError> {
        Locked::new(|| Self::new(plan, now))
    }

    /// The caller pressed a key. After the verdict it is ignored.
    pub fn handle_key(&mut self, now: Instant, digit: Digit) {
        self.handle_timeout(now);
        let Stage::Collecting(attempt) = self.stage else { return };
        let field = self.plan.fields()[attempt.field];
        let entry = &mut self.entries[attempt.field];
        match self.plan.keys().role(digit, attempt.after_star) {
            Role::Ignored => {}
            Role::Cancel => self.fail(FailReason::CallerInterruptedWithStar),
            Role::Clear => {
                entry.clear();
                let due = now + field.first_key_timeout;
                self.stage = Stage::Collecting(Attempt { due, after_star: true, ..attempt });
            }
            Role::Submit if entry.is_empty() => {
                self.stage = Stage::Collecting(Attempt { after_star: false, ..attempt });
            }
            Role::Submit => self.submit(attempt, now),
            Role::Numeral => {
                // No room means that the entry is too long already, and it stays so.
                let _ = entry.push(digit);
                let due = now + field.inter_key_timeout;
                let attempt = Attempt { due, after_star: false, ..attempt };
                self.stage = Stage::Collecting(attempt);
                if self.is_complete(attempt) {
                    self.submit(attempt, now);
                }
            }
        }
    }

    /// A prompt of this length begins to play: the first key may take its time from the prompt's
    /// end. Without effect once something has been keyed.
    pub fn handle_prompt(&mut self, now: Instant, length: Duration) {
        self.handle_timeout(now);
        let Stage::Collecting(attempt) = self.stage else { return };
        if self.entries[attempt.field].is_empty() {
            let length = length.min(self.plan.deadline());
            let due = now + length + self.plan.fields()[attempt.field].first_key_timeout;
            self.stage = Stage::Collecting(Attempt { due, ..attempt });
        }
    }

    /// Time has passed. Settles everything that was due by `now`, each at the time it was due.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Ends: each turn uses up an attempt or concludes, and a plan has a bounded number of them.
        while let (Stage::Collecting(attempt), Some(due)) = (self.stage, self.poll_timeout()) {
            if due > now {
                return;
            }
            if due == self.deadline {
                self.fail(FailReason::SessionTimeout);
            } else if self.is_long_enough(attempt) {
                self.submit(attempt, due);
            } else {
                self.reject(attempt, FieldError::InputTimeout, due);
            }
        }
    }

    /// When [`Collector::handle_timeout`] wants to be called; `None` after the verdict.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Collecting(attempt) => Some(attempt.due.min(self.deadline)),
            Stage::Concluded(_) => None,
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
            Stage::Collecting(attempt) => MaskedCount::of(self.entries[attempt.field].len()),
            Stage::Concluded(_) => MaskedCount::of(0),
        }
    }

    /// How the collection ended, once it has.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        match self.stage {
            Stage::Collecting(_) => None,
            Stage::Concluded(verdict) => Some(verdict),
        }
    }

    /// What was keyed for a step, for the sink that delivers it: only after [`Verdict::Passed`],
    /// and until [`Collector::wipe`].
    #[must_use]
    pub fn accepted(&self, step: Step) -> Option<&SecretDigits> {
        match self.stage {
            Stage::Concluded(Verdict::Passed) => {
                self.entries.get(self.plan.position(step)?).filter(|entry| !entry.is_empty())
            }
            Stage::Concluded(Verdict::Failed(_)) | Stage::Collecting(_) => None,
        }
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

    /// Whether one more key could only spoil the entry: it has the one length there is.
    fn is_complete(&self, attempt: Attempt) -> bool {
        self.look(attempt, |kind, entry, known| kind.lengths(entry, known).is_only(entry.len()))
    }

    fn is_long_enough(&self, attempt: Attempt) -> bool {
        self.look(attempt, |kind, entry, known| kind.lengths(entry, known).reached_by(entry.len()))
    }

    fn submit(&mut self, attempt: Attempt, now: Instant) {
        match self.look(attempt, FieldKind::judge) {
            Ok(()) => self.accept(attempt, now),
            Err(error) => self.reject(attempt, error, now),
        }
    }

    fn accept(&mut self, attempt: Attempt, now: Instant) {
        let step = self.plan.fields()[attempt.field].kind.step();
        self.report(Progress::FieldAccepted { step });
        if attempt.field + 1 < self.plan.fields().len() {
            self.start(attempt.field + 1, 1, now);
        } else {
            self.conclude(Verdict::Passed);
        }
    }

    fn reject(&mut self, attempt: Attempt, error: FieldError, now: Instant) {
        let Field { kind, attempts, .. } = self.plan.fields()[attempt.field];
        let (step, number) = (kind.step(), attempt.number);
        self.entries[attempt.field].clear();
        self.report(Progress::FieldRejected { step, attempt: number, error });
        if number < attempts {
            self.start(attempt.field, number + 1, now);
        } else {
            self.fail(FailReason::TooManyFailedAttempts);
        }
    }

    fn start(&mut self, field: usize, number: u8, now: Instant) {
        let started = self.plan.fields()[field];
        debug_assert!(self.entries[field].is_empty(), "an attempt starts with nothing keyed");
        self.stage = Stage::Collecting(Attempt::new(field, number, started, now));
        self.report(Progress::FieldStarted { step: started.kind.step(), attempt: number });
    }

    fn fail(&mut self, reason: FailReason) {
        self.clear_entries();
        self.conclude(Verdict::Failed(reason));
        assert!(self.entries.iter().all(SecretDigits::is_empty), "a failure leaves no digit");
    }

    fn conclude(&mut self, verdict: Verdict) {
        assert!(self.verdict().is_none(), "a collection ends once");
        self.stage = Stage::Concluded(verdict);
    }

    fn clear_entries(&mut self) {
        self.entries.iter_mut().for_each(SecretDigits::clear);
    }

    fn report(&mut self, progress: Progress) {
        self.progress.push(progress);
    }

    /// Looks at the current entry with what is needed to judge it.
    fn look<R>(&self, attempt: Attempt, look: impl FnOnce(FieldKind, &[u8], Known) -> R) -> R {
        let kind = self.plan.fields()[attempt.field].kind;
        let known = Known { today: self.plan.today(), issuer: self.issuer(attempt.field) };
        self.entries[attempt.field].reveal(|entry| look(kind, entry, known))
    }

    /// The brand of the card number accepted before this field.
    fn issuer(&self, field: usize) -> Option<Brand> {
        let done = self.plan.fields().iter().zip(&self.entries).take(field);
        done.filter_map(|(field, entry)| match field.kind {
            FieldKind::CardNumber { allowed } => {
                entry.reveal(|number| BrandSet::issuing(number, allowed)).sole()
            }
            FieldKind::ExpirationDate | FieldKind::SecurityCode | FieldKind::PostalCode { .. } => {
                None
            }
        })
        .next()
    }
}

impl Attempt {
    fn new(field: usize, number: u8, rule: Field, now: Instant) -> Self {
        Self { field, number, due: now + rule.first_key_timeout, after_star: false }
    }
}
