//! Scripts for the collector: entries that are keyed twice, amounts, and the time they may take.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod script;

use std::time::Duration;

use dtmf::keys::{Keys, StarKey};
use dtmf::{FailReason, Field, FieldError, FieldKind, Progress, Step};
use script::{EXPIRY, NUMBER, PASSED, POSTAL, Script, failed};

const ACCOUNT: Field =
    Field { double_entry: true, ..Field::new(FieldKind::BankAccountNumber { min: 4, max: 17 }) };
const AMOUNT: Field = Field::new(FieldKind::Amount { min: 100, max: 100_000, decimals: 2 });

#[test]
fn an_entry_that_is_keyed_twice_is_taken_when_both_are_the_same() {
    let mut script = Script::new(&[ACCOUNT]);
    script.key("12345678#").key("12345678#");
    let (step, attempt) = (Step::BankAccountNumber, 1);
    assert_eq!(
        script.reports(),
        [
            Progress::FieldStarted { step, attempt, error: None },
            Progress::FieldRepeat { step, attempt },
            Progress::FieldAccepted { step },
        ]
    );
    assert_eq!(script.verdict(), PASSED);
    assert!(script.holds(step, "12345678"));
}

#[test]
fn two_entries_that_differ_are_a_failed_attempt() {
    let mut script = Script::new(&[ACCOUNT]);
    script.key("12345678#").key("12345679#");
    let (step, error) = (Step::BankAccountNumber, FieldError::InputMatchingFailed);
    assert_eq!(
        script.reports()[2..],
        [
            Progress::FieldRejected { step, attempt: 1, error },
            Progress::FieldStarted { step, attempt: 2, error: Some(error) },
        ]
    );
    script.key("12345678#").key("123456789#").key("4444#").key("444#");
    assert_eq!(script.errors(), [error; 2], "longer and shorter ones too");
    assert_eq!(script.verdict(), failed(FailReason::TooManyFailedAttempts));
}

#[test]
fn the_first_of_two_entries_is_judged_before_the_second_is_asked_for() {
    let mut script = Script::new(&[Field { double_entry: true, ..EXPIRY }]);
    script.key("1330").key("1230").key("1230");
    assert_eq!(script.errors(), [FieldError::InvalidDate]);
    assert_eq!(script.verdict(), PASSED);
}

#[test]
fn a_second_entry_that_does_not_come_is_a_failed_attempt() {
    let mut script = Script::new(&[ACCOUNT]);
    script.key("12345678#").wait(9_999);
    assert_eq!(script.errors(), []);
    script.wait(1);
    assert_eq!(script.errors(), [FieldError::InputTimeout]);
    script.key("12345678#").key("12345678#");
    assert_eq!(script.verdict(), PASSED, "of the next attempt, from the beginning");
}

#[test]
fn the_second_entry_has_its_own_prompt_and_its_own_star() {
    let mut script = Script::new(&[ACCOUNT]);
    script.key("12345678#");
    script.collector.handle_prompt(script.now, Duration::from_secs(20));
    script.wait(29_000).key("99*12345678#");
    assert_eq!(script.errors(), [], "the star cleared the second entry alone");
    assert_eq!(script.verdict(), PASSED);
    let mut script = Script::new(&[ACCOUNT]);
    script.key("12*12345678#").key("*");
    assert_eq!(script.verdict(), None, "stars of two entries are not two in a row");
    script.key("*");
    assert_eq!(script.verdict(), failed(FailReason::CallerInterruptedWithStar));
}

#[test]
fn a_double_entry_of_an_amount_may_be_written_in_two_ways() {
    let mut script = Script::new(&[Field { double_entry: true, ..AMOUNT }]);
    script.key("5*#").key("005*00#");
    assert_eq!(script.verdict(), PASSED);
    assert!(script.holds(Step::Amount, "500"));
}

#[test]
fn a_star_is_the_point_of_an_amount() {
    for (keys, minor_units) in
        [("5*5#", "550"), ("12#", "1200"), ("*99*#", ""), ("1000*00#", "100000")]
    {
        let mut script = Script::new(&[AMOUNT]);
        script.key(keys);
        assert_eq!(script.holds(Step::Amount, minor_units), !minor_units.is_empty(), "{keys}");
    }
    let mut script = Script::new(&[AMOUNT]);
    script.key("0*99#").key("1000*01#").key("**#");
    assert_eq!(script.errors(), [FieldError::InvalidAmount; 3]);
    assert_eq!(script.verdict(), failed(FailReason::TooManyFailedAttempts), "and no star cancels");
}

#[test]
fn a_field_can_have_keys_of_its_own() {
    let clear = Some(Keys { star: StarKey::Clear, ..Keys::default() });
    let mut script = Script::new(&[EXPIRY, Field { keys: clear, ..AMOUNT }, POSTAL]);
    script.key("12*1230").key("9**50#").key("123#");
    assert_eq!(script.verdict(), PASSED);
    assert!(script.holds(Step::Amount, "5000"));
}

#[test]
fn an_entry_has_its_time_and_not_more() {
    let mut script = Script::new(&[Field { field_timeout: Duration::from_secs(5), ..POSTAL }]);
    script.key("1234").wait(1_200).key("567").wait(1_699);
    assert_eq!(script.errors(), []);
    script.wait(1);
    assert_eq!(script.errors(), [FieldError::InputTimeout], "unfinished, though long enough");

    let whole = Duration::from_secs(10);
    let mut script = Script::new(&[Field { field_timeout: whole, ..POSTAL }]);
    script.collector.handle_prompt(script.now, Duration::from_secs(20));
    script.wait(20_000).key("123").wait(4_600).key("4").wait(4_199);
    assert_eq!(script.errors(), [], "it counts from the end of the prompt");
    script.wait(1);
    assert_eq!(script.errors(), [FieldError::InputTimeout]);
}

#[test]
fn stars_gain_no_time_beyond_that_of_the_entry() {
    let mut script = Script::new(&[POSTAL]);
    for _ in 0..24 {
        script.wait(2_200).key("1*");
    }
    assert_eq!(script.errors(), [FieldError::InputTimeout], "67 s, and the field has 60");
}

#[test]
fn the_longest_entry_and_one_digit_more_are_told_apart() {
    let kind = |min, max| FieldKind::Custom {
        id: dtmf::CustomId::ALL[2],
        min,
        max,
        check: dtmf::Check::None,
    };
    let longest = "1".repeat(32);
    let mut script = Script::new(&[Field::new(kind(1, 32))]);
    script.key(&longest).key("1#").key(&longest).key("#");
    assert_eq!(script.errors().first().unwrap().as_str(), "invalid-custom-3");
    assert!(script.holds(Step::Custom(dtmf::CustomId::ALL[2]), &longest));
    let mut script = Script::new(&[Field::new(kind(32, 32)), NUMBER]);
    script.key(&longest);
    assert_eq!(script.required(), [Step::PaymentCardNumber], "a single length needs no pound key");
}
