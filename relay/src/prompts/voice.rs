//! `Voice`: all clips of one language.

use std::iter::successors;
use std::sync::Arc;

use dtmf::brand::Brand;
use dtmf::g711::Law;
use dtmf::{Digit, Step};

use super::cue::Cue;
use super::name::{ClipName, DIGITS, Subject};
use super::phrase::{ClipId, Phrase};

/// The longest clip, in seconds: a caller who has to listen for longer hangs up.
pub(super) const MAX_SECONDS: usize = 20;

/// All clips of one language: immutable, and shared by all sessions that speak it. Every [`Cue`]
/// has something to say.
///
/// There is no `Debug`: it is large, and nobody needs to see it.
pub struct Voice {
    clips: Vec<Clip>,
    /// Where the ten digits are.
    digits: [ClipId; DIGITS as usize],
}

/// One clip: mu-law at 8 kHz, one octet a sample.
#[derive(Clone)]
pub(super) struct Clip {
    pub(super) name: ClipName,
    pub(super) codes: Codes,
}

/// Where a clip's samples lie.
#[derive(Clone)]
pub(super) enum Codes {
    /// In the program itself.
    Builtin(&'static [u8]),
    /// In memory, shared by the voices that say the same.
    Loaded(Arc<[u8]>),
}

/// When something is to be said: what the names of clips may depend on.
#[derive(Clone, Copy)]
struct When {
    step: Option<Step>,
    brand: Option<Brand>,
    attempt: u8,
}

const ANY_TIME: When = When { step: None, brand: None, attempt: 1 };

impl Voice {
    /// How clips are kept.
    pub(super) const LAW: Law = Law::Mu;

    /// A voice of these clips, no two of the same name.
    ///
    /// # Errors
    /// The names of the clips without which something could not be said.
    pub(super) fn new(clips: Vec<Clip>) -> Result<Self, Vec<ClipName>> {
        assert!(clips.len() <= usize::from(ClipId::MAX), "each clip has an id");
        let mut voice = Self { clips, digits: [0; DIGITS as usize] };
        let missing: Vec<ClipName> = Subject::all()
            // What stands in for others is asked for itself.
            .filter(|subject| subject.stand_in().is_none())
            .filter(|subject| voice.find(*subject, ANY_TIME).is_none())
            .map(Subject::plain)
            .collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        for (digit, at) in (0..DIGITS).zip(0..) {
            voice.digits[at] = voice.find(Subject::Digit(digit), ANY_TIME).unwrap_or_default();
        }
        Ok(voice)
    }

    /// What is said on a cue.
    #[must_use]
    pub fn phrase(&self, cue: Cue) -> Phrase {
        let say = |subject| Phrase::new(self.find(subject, ANY_TIME));
        match cue {
            Cue::Ask { step, attempt, error, brand, date_order } => {
                let when = When { step: Some(step), brand, attempt };
                let what_was_wrong = error.and_then(|error| self.find(Subject::Error(error), when));
                let what_to_key = self.find(Subject::Ask(step), When { step: None, ..when });
                let order = date_order.map(Subject::DateOrder);
                let in_which_order = order.and_then(|order| self.find(order, ANY_TIME));
                Phrase::new([what_was_wrong, what_to_key, in_which_order].into_iter().flatten())
            }
            Cue::Repeat { step } => {
                let when = When { step: Some(step), ..ANY_TIME };
                Phrase::new(self.find(Subject::Repeat, when))
            }
            Cue::Processing => say(Subject::Processing),
            Cue::Passed => say(Subject::Passed),
            Cue::Failed(reason) => say(Subject::Failed(reason)),
            Cue::UseKeypad => say(Subject::UseKeypad),
        }
    }

    /// "Card ending in" and four digits. A key that is no digit is not said.
    #[must_use]
    pub fn last_four(&self, digits: &[Digit; 4]) -> Phrase {
        let ending = self.find(Subject::LastFour, ANY_TIME);
        let spoken = digits.iter().filter_map(|digit| self.digits.get(*digit as usize).copied());
        Phrase::new(ending.into_iter().chain(spoken))
    }

    /// The clips, for a voice that differs in some of them.
    pub(super) fn clips(&self) -> &[Clip] {
        &self.clips
    }

    /// The samples of a clip; none if there is no such clip.
    pub(super) fn codes(&self, id: ClipId) -> &[u8] {
        self.clips.get(usize::from(id)).map_or(&[], |clip| clip.codes.as_slice())
    }

    /// The clip that fits best: the subject itself before its stand-in, then one for this step,
    /// for this brand, for this attempt or the nearest before it.
    fn find(&self, subject: Subject, when: When) -> Option<ClipId> {
        successors(Some(subject), |subject| subject.stand_in())
            .find_map(|subject| self.find_exactly(subject, when))
    }

    fn find_exactly(&self, subject: Subject, when: When) -> Option<ClipId> {
        let fits = |name: &ClipName| {
            name.subject == subject
                && (name.step.is_none() || name.step == when.step)
                && (name.brand.is_none() || name.brand == when.brand)
                && name.attempt.is_none_or(|attempt| attempt <= when.attempt)
        };
        (0..)
            .zip(&self.clips)
            .filter(|(_, clip)| fits(&clip.name))
            .max_by_key(|(_, clip)| {
                let name = &clip.name;
                (name.step.is_some(), name.brand.is_some(), name.attempt)
            })
            .map(|(id, _)| id)
    }
}

impl Codes {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Builtin(codes) => codes,
            Self::Loaded(codes) => codes,
        }
    }
}

#[cfg(test)]
mod tests {
    use dtmf::brand::Brand;
    use dtmf::{Digit, FailReason, FieldError, Step};

    use super::Voice;
    use crate::prompts::name::{ClipName, Subject};
    use crate::prompts::phrase::Phrase;
    use crate::prompts::testing::{plain_voice, voice};
    use crate::prompts::{Cue, Prompts};

    /// The names of the clips of a phrase.
    fn names(voice: &Voice, phrase: &Phrase) -> Vec<String> {
        let name = |id: &u16| voice.clips()[usize::from(*id)].name.to_string();
        phrase.clips().iter().map(name).collect()
    }

    const SECOND: Cue = Cue::Ask {
        step: Step::PaymentCardNumber,
        attempt: 2,
        error: Some(FieldError::InvalidCardNumber),
        brand: None,
        date_order: None,
    };

    #[test]
    fn the_clip_that_fits_best_is_said() {
        let mut present: Vec<&str> = Vec::new();
        let expect = |present: &[&str], cue: Cue, wanted: &[&str]| {
            let voice = voice(present);
            assert_eq!(names(&voice, &voice.phrase(cue)), wanted, "with {present:?}");
        };
        let ask = "ask/payment-card-number.wav";
        expect(&present, SECOND, &["error/invalid.wav", ask]);
        // Each fits better than those before it, and the last two do not fit.
        for name in [
            "error/invalid.payment-card-number.wav",
            "error/invalid-card-number.wav",
            "error/invalid-card-number.attempt-2.wav",
            "error/invalid-card-number.payment-card-number.wav",
            "error/invalid-card-number.payment-card-number.attempt-2.wav",
        ] {
            present.push(name);
            expect(&present, SECOND, &[name, ask]);
        }
        let best = present[4];
        present.push("error/invalid-card-number.payment-card-number.visa.attempt-2.wav");
        present.push("ask/payment-card-number.attempt-3.wav");
        expect(&present, SECOND, &[best, ask]);
    }

    #[test]
    fn an_attempt_has_the_clip_of_the_nearest_before_it() {
        let voice = voice(&["ask/security-code.attempt-2.wav", "ask/security-code.amex.wav"]);
        let ask = |attempt, brand| {
            let step = Step::SecurityCode;
            let cue = Cue::Ask { step, attempt, error: None, brand, date_order: None };
            names(&voice, &voice.phrase(cue)).join(" ")
        };
        assert_eq!(ask(1, None), "ask/security-code.wav");
        assert_eq!(ask(1, Some(Brand::Visa)), "ask/security-code.wav");
        assert_eq!(ask(3, Some(Brand::Visa)), "ask/security-code.attempt-2.wav");
        assert_eq!(ask(3, Some(Brand::Amex)), "ask/security-code.amex.wav");
    }

    #[test]
    fn a_custom_field_and_a_rare_reason_have_a_stand_in() {
        let voice = plain_voice();
        let step = Step::from_word("custom-3").unwrap();
        let cue = Cue::Ask { step, attempt: 1, error: None, brand: None, date_order: None };
        assert_eq!(names(&voice, &voice.phrase(cue)), ["ask/custom.wav"]);
        let failed = Cue::Failed(FailReason::InternalError);
        assert_eq!(names(&voice, &voice.phrase(failed)), ["failed/otherwise.wav"]);
        let repeat = Cue::Repeat { step };
        assert_eq!(names(&voice, &voice.phrase(repeat)), ["repeat.wav"]);
    }

    #[test]
    fn the_order_of_a_date_is_said_behind_it() {
        let voice = plain_voice();
        let date_order = Some(dtmf::expiry::DateOrder::DayMonthYear);
        let step = Step::DateOfBirth;
        let cue = Cue::Ask { step, attempt: 1, error: None, brand: None, date_order };
        let wanted = ["ask/date-of-birth.wav", "date-order/day-month-year.wav"];
        assert_eq!(names(&voice, &voice.phrase(cue)), wanted);
    }

    #[test]
    fn the_last_four_are_the_right_digits() {
        let prompts = Prompts::builtin();
        for language in prompts.languages() {
            let voice = prompts.voice(language).unwrap();
            for number in 0..10_000_u32 {
                let ascii: Vec<u8> = format!("{number:04}").into_bytes();
                let digits: Vec<Digit> =
                    ascii.iter().filter_map(|ascii| Digit::from_ascii(*ascii)).collect();
                let phrase = voice.last_four(digits.first_chunk().unwrap());
                let (first, rest) = phrase.clips().split_first().unwrap();
                let subject = |id: &u16| voice.clips()[usize::from(*id)].name.subject;
                assert!(subject(first) == Subject::LastFour);
                assert_eq!(rest.len(), 4);
                for (id, ascii) in rest.iter().zip(ascii) {
                    assert!(subject(id) == Subject::Digit(ascii - b'0'), "{number:04}");
                }
            }
        }
    }

    #[test]
    fn a_key_that_is_no_digit_is_not_said() {
        let voice = plain_voice();
        let phrase = voice.last_four(&[Digit::Star, Digit::Pound, Digit::A, Digit::Seven]);
        assert_eq!(names(&voice, &phrase), ["last-four.wav", "digit/7.wav"]);
    }

    #[test]
    fn what_could_not_be_said_is_missing() {
        let complete = plain_voice();
        let all = complete.clips().len();
        for left_out in 0..all {
            let mut clips = complete.clips().to_vec();
            let name = clips.remove(left_out).name.to_string();
            let missing = Voice::new(clips).err().unwrap();
            assert_eq!(missing.iter().map(ClipName::to_string).collect::<Vec<_>>(), [name]);
        }
    }
}
