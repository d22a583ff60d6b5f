//! `Progress`: what a collection shows of itself while it runs.

use crate::field_error::FieldError;
use crate::step::Step;

/// One step of a collection. It names the field and the attempt, never anything keyed; `attempt`
/// counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The caller may key this field now: time for its prompt.
    FieldStarted {
        /// What is asked for.
        step: Step,
        /// Which attempt this is.
        attempt: u8,
        /// Why the attempt before it failed, if there was one.
        error: Option<FieldError>,
    },
    /// The entry fits its rule and is to be keyed once more: time for that prompt.
    FieldRepeat {
        /// What is asked for again.
        step: Step,
        /// Which attempt it still is.
        attempt: u8,
    },
    /// The attempt failed.
    FieldRejected {
        /// What was asked for.
        step: Step,
        /// Which attempt it was.
        attempt: u8,
        /// Why it failed.
        error: FieldError,
    },
    /// The field is done.
    FieldAccepted {
        /// What was asked for.
        step: Step,
    },
    /// Every field is done, and what was accepted is being handed over: time for that prompt.
    Processing,
}

/// How far an entry has come, in groups of four digits begun: the same for card numbers of 13 to
/// 16 digits and for security codes of 3 and of 4, so that it does not tell the brand.
///
/// For an operator's screen, not for a log: hence no `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MaskedCount(u8);

impl MaskedCount {
    /// What is shown of any longer entry: five groups, enough for the longest card number.
    const MAX: u8 = 5;

    pub(crate) fn of(digits: usize) -> Self {
        let groups = u8::try_from(digits.div_ceil(4)).unwrap_or(Self::MAX);
        Self(groups.min(Self::MAX))
    }

    /// Groups of four digits begun, 0 to 5.
    #[must_use]
    pub const fn groups(self) -> u8 {
        self.0
    }
}
