//! `ClipName`: what a clip says and when, as its file's name tells it.
//!
//! A name is `WHAT[.STEP][.BRAND][.attempt-N].wav`; the README beside the built-in prompts has the
//! table.

use std::fmt;

use dtmf::brand::Brand;
use dtmf::expiry::DateOrder;
use dtmf::field::MAX_ATTEMPTS;
use dtmf::{FailReason, FieldError, Step};

/// How the name of every clip ends.
pub(super) const EXTENSION: &str = ".wav";
/// The digits that can be said, 0 to 9.
pub(super) const DIGITS: u8 = 10;

const DATE_ORDERS: [DateOrder; 3] =
    [DateOrder::MonthDayYear, DateOrder::DayMonthYear, DateOrder::YearMonthDay];

/// What a clip says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// What to key.
    Ask(Step),
    /// What to key in a custom field that has no clip of its own.
    AskCustom,
    /// In which order to key the parts of a date.
    DateOrder(DateOrder),
    /// What was wrong with an entry.
    Error(FieldError),
    /// What was wrong, where the error has no clip of its own.
    Invalid,
    /// To key the same once more.
    Repeat,
    /// That it is being processed.
    Processing,
    /// That it is done.
    Passed,
    /// That it failed and why.
    Failed(FailReason),
    /// That it failed, where the reason has no clip of its own.
    FailedOtherwise,
    /// To use the keypad.
    UseKeypad,
    /// That the last four digits of a card follow.
    LastFour,
    /// One digit, 0 to 9.
    Digit(u8),
}

/// What a clip says, and when it is to be taken rather than another one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ClipName {
    pub(super) subject: Subject,
    /// Only at this step.
    pub(super) step: Option<Step>,
    /// Only with a card of this brand.
    pub(super) brand: Option<Brand>,
    /// Only from this attempt on, 2 to [`MAX_ATTEMPTS`].
    pub(super) attempt: Option<u8>,
}

impl Subject {
    /// All that can be said.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let asks = Step::ALL.into_iter().map(Self::Ask);
        let orders = DATE_ORDERS.into_iter().map(Self::DateOrder);
        let errors = FieldError::ALL.into_iter().map(Self::Error);
        let failures = FailReason::ALL.into_iter().map(Self::Failed);
        let others = [
            Self::AskCustom,
            Self::Invalid,
            Self::Repeat,
            Self::Processing,
            Self::Passed,
            Self::FailedOtherwise,
            Self::UseKeypad,
            Self::LastFour,
        ];
        let digits = (0..DIGITS).map(Self::Digit);
        asks.chain(orders).chain(errors).chain(failures).chain(others).chain(digits)
    }

    /// What is said where this has no clip.
    pub(super) const fn stand_in(self) -> Option<Self> {
        match self {
            Self::Ask(Step::Custom(_)) => Some(Self::AskCustom),
            Self::Ask(Step::PaymentProcessing) => Some(Self::Processing),
            Self::Error(_) => Some(Self::Invalid),
            Self::Failed(_) => Some(Self::FailedOtherwise),
            Self::Ask(_)
            | Self::AskCustom
            | Self::DateOrder(_)
            | Self::Invalid
            | Self::Repeat
            | Self::Processing
            | Self::Passed
            | Self::FailedOtherwise
            | Self::UseKeypad
            | Self::LastFour
            | Self::Digit(_) => None,
        }
    }

    /// The name of the clip that says this whenever no other one fits better.
    pub(super) const fn plain(self) -> ClipName {
        ClipName { subject: self, step: None, brand: None, attempt: None }
    }

    const fn takes_step(self) -> bool {
        matches!(self, Self::Error(_) | Self::Invalid | Self::Repeat)
    }

    const fn takes_brand_and_attempt(self) -> bool {
        matches!(self, Self::Ask(_) | Self::AskCustom | Self::Error(_) | Self::Invalid)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(step) => write!(f, "ask/{}", step.as_str()),
            Self::AskCustom => f.write_str("ask/custom"),
            Self::DateOrder(order) => write!(f, "date-order/{}", order_word(*order)),
            Self::Error(error) => write!(f, "error/{}", error.as_str()),
            Self::Invalid => f.write_str("error/invalid"),
            Self::Repeat => f.write_str("repeat"),
            Self::Processing => f.write_str("processing"),
            Self::Passed => f.write_str("passed"),
            Self::Failed(reason) => write!(f, "failed/{}", reason.as_str()),
            Self::FailedOtherwise => f.write_str("failed/otherwise"),
            Self::UseKeypad => f.write_str("use-keypad"),
            Self::LastFour => f.write_str("last-four"),
            Self::Digit(digit) => write!(f, "digit/{digit}"),
        }
    }
}

const fn order_word(order: DateOrder) -> &'static str {
    match order {
        DateOrder::MonthDayYear => "month-day-year",
        DateOrder::DayMonthYear => "day-month-year",
        DateOrder::YearMonthDay => "year-month-day",
    }
}

impl ClipName {
    /// The name that a path below a language's folder has, `/` between its parts. `None` if no
    /// clip is called that.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut parts = path.strip_suffix(EXTENSION)?.split('.');
        let what = parts.next()?;
        let subject = Subject::all().find(|subject| subject.to_string() == what)?;
        let mut name = subject.plain();
        for part in parts {
            name.qualify(part)?;
        }
        // One way to write each name: two files never mean the same.
        let is_allowed = (name.step.is_none() || subject.takes_step())
            && ((name.brand.is_none() && name.attempt.is_none())
                || subject.takes_brand_and_attempt());
        (is_allowed && name.to_string() == path).then_some(name)
    }

    fn qualify(&mut self, part: &str) -> Option<()> {
        let step = Step::from_word(part);
        let brand = Brand::ALL.into_iter().find(|brand| brand.as_str() == part);
        let number = part.strip_prefix("attempt-").and_then(|number| number.parse().ok());
        let attempt = number.filter(|attempt| (2..=MAX_ATTEMPTS).contains(attempt));
        match (step, brand, attempt) {
            (Some(_), _, _) => self.step = step,
            (None, Some(_), _) => self.brand = brand,
            (None, None, Some(_)) => self.attempt = attempt,
            (None, None, None) => return None,
        }
        Some(())
    }
}

impl fmt::Display for ClipName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.subject)?;
        if let Some(step) = self.step {
            write!(f, ".{}", step.as_str())?;
        }
        if let Some(brand) = self.brand {
            write!(f, ".{}", brand.as_str())?;
        }
        if let Some(attempt) = self.attempt {
            write!(f, ".attempt-{attempt}")?;
        }
        f.write_str(EXTENSION)
    }
}

#[cfg(test)]
mod tests {
    use super::{ClipName, Subject};

    #[test]
    fn every_subject_has_a_name_of_its_own() {
        let names: Vec<String> =
            Subject::all().map(|subject| subject.plain().to_string()).collect();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name} twice");
            let parsed = ClipName::parse(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(parsed.to_string(), *name);
        }
    }

    #[test]
    fn qualifiers_are_read_back() {
        for name in [
            "ask/payment-card-number.attempt-2.wav",
            "ask/security-code.amex.wav",
            "ask/security-code.amex.attempt-3.wav",
            "error/input-timeout.security-code.amex.attempt-2.wav",
            "error/invalid.postal-code.wav",
            "repeat.postal-code.wav",
        ] {
            assert_eq!(ClipName::parse(name).map(|name| name.to_string()).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_is_no_name_is_none() {
        for name in [
            "",
            ".wav",
            "ask.wav",
            "ask/.wav",
            "ask/card.wav",
            "ask/security-code",
            "ask/security-code.mp3",
            "ask/security-code.amex.visa.wav",
            "ask/security-code.attempt-2.amex.wav",
            "ask/security-code.attempt-1.wav",
            "ask/security-code.attempt-4.wav",
            "ask/security-code.attempt-02.wav",
            "ask/security-code.postal-code.wav",
            "ask/security-code..wav",
            "processing.visa.wav",
            "digit/10.wav",
            "digit/*.wav",
            "../ask/security-code.wav",
        ] {
            assert!(ClipName::parse(name).is_none(), "{name}");
        }
    }
}
