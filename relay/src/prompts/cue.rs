//! `Cue`: something to tell the caller.

use dtmf::brand::Brand;
use dtmf::expiry::DateOrder;
use dtmf::{FailReason, FieldError, Step};

/// Something to tell the caller. There is no `Debug`: a brand is part of what was keyed.
#[derive(Clone, Copy)]
pub enum Cue {
    /// Key this field now.
    Ask {
        /// What is asked for.
        step: Step,
        /// Which attempt this is, from 1.
        attempt: u8,
        /// Why the attempt before it failed.
        error: Option<FieldError>,
        /// The brand of the card number accepted before, if it is known.
        brand: Option<Brand>,
        /// The order of the date's parts, if a date of birth is asked for.
        date_order: Option<DateOrder>,
    },
    /// Key this field once more: it is entered twice.
    Repeat {
        /// What is asked for.
        step: Step,
    },
    /// Everything is keyed and being processed.
    Processing,
    /// It is done.
    Passed,
    /// It ended before that.
    Failed(FailReason),
    /// Use the keypad: the caller was heard speaking.
    UseKeypad,
}
