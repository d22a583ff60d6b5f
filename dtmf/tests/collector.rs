//! Scripts for the collector: keys at given times in, exact reports and verdict out.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod script;

use std::time::{Duration, Instant};

use dtmf::brand::{Brand, BrandSet};
use dtmf::keys::{Keys, PoundKey, StarKey};
use dtmf::{
    CardMode, Collector, Delivery, FailReason, Field, FieldError, FieldKind, Phase, PlanRequest,
    Progress, Step, Verdict,
};
use script::{CODE, EXPIRY, NUMBER, PASSED, POSTAL, Script, failed, request};

#[test]
fn a_card_is_collected_field_by_field() {
    let mut script = Script::new(&[NUMBER, EXPIRY, CODE, POSTAL]);
    script.key("4242424242424242#").key("1230").key("123").key("94103#");
    let mut expected = Vec::new();
    for step in
        [Step::PaymentCardNumber, Step::ExpirationDate, Step::SecurityCode, Step::PostalCode]
    {
        expected.push(Progress::FieldStarted { step, attempt: 1, error: None });
        expected.push(Progress::FieldAccepted { step });
    }
    assert_eq!(script.reports(), expected);
    assert_eq!(script.verdict(), PASSED);
    assert!(script.holds(Step::PaymentCardNumber, "4242424242424242"));
    assert!(script.holds(Step::ExpirationDate, "1230"));
    assert!(script.holds(Step::SecurityCode, "123"));
    assert!(script.holds(Step::PostalCode, "94103"));
    assert_eq!(script.collector.poll_timeout(), None);
}

#[test]
fn nothing_is_given_out_before_every_field_is_accepted() {
    let mut script = Script::new(&[NUMBER, EXPIRY]);
    script.key("378282246310005");
    assert_eq!(script.reports().len(), 3, "the number was accepted and the date is asked for");
    assert!(script.collector.take_accepted().is_none());
    script.key("1230");
    assert!(script.holds(Step::PaymentCardNumber, "378282246310005"));
    assert!(script.accepted.as_ref().unwrap().get(Step::PostalCode).is_none(), "not asked for");
}

#[test]
fn a_number_of_a_brand_with_one_length_is_taken_without_the_pound_key() {
    for number in ["378282246310005", "5555555555554444", "5066991111111118"] {
        assert_eq!(Script::new(&[NUMBER]).key(number).verdict(), PASSED);
    }
    for number in ["4242424242424242", "6011111111111117", "30569309025904", "6200000000000005"] {
        let mut script = Script::new(&[NUMBER]);
        assert_eq!(script.key(number).verdict(), None, "a longer number is possible");
        assert_eq!(script.wait(4_999).verdict(), None);
        assert_eq!(script.wait(1).verdict(), PASSED, "the pause has finished it");
    }
}

#[test]
fn a_pound_key_out_of_habit_does_not_spoil_the_next_field() {
    let mut script = Script::new(&[NUMBER, EXPIRY]);
    script.key("5555555555554444#").key("1230#");
    assert_eq!(script.verdict(), PASSED);
    assert_eq!(script.errors(), []);
}

#[test]
fn three_wrong_entries_end_the_session_and_leave_nothing() {
    let mut script = Script::new(&[EXPIRY, NUMBER]);
    script.key("1230").key("4242424242424241#").key("4242#");
    assert_eq!(script.verdict(), None);
    script.key("4242424242424242424242424242424242424242#");
    assert_eq!(script.verdict(), failed(FailReason::TooManyFailedAttempts));
    assert_eq!(script.errors(), [FieldError::InvalidCardNumber; 3]);
    assert!(script.collector.take_accepted().is_none());
    assert_eq!(script.collector.masked_progress().groups(), 0);
}

#[test]
fn each_field_has_its_own_attempts() {
    let mut script =
        Script::new(&[Field { attempts: 2, ..EXPIRY }, Field { attempts: 1, ..POSTAL }]);
    script.key("1330").key("1230").key("12#");
    assert_eq!(script.verdict(), failed(FailReason::TooManyFailedAttempts));
    let (date, postal) = (Step::ExpirationDate, Step::PostalCode);
    let (bad_date, bad_postal) = (FieldError::InvalidDate, FieldError::InvalidPostalCode);
    assert_eq!(
        script.reports(),
        [
            Progress::FieldStarted { step: date, attempt: 1, error: None },
            Progress::FieldRejected { step: date, attempt: 1, error: bad_date },
            Progress::FieldStarted { step: date, attempt: 2, error: Some(bad_date) },
            Progress::FieldAccepted { step: date },
            Progress::FieldStarted { step: postal, attempt: 1, error: None },
            Progress::FieldRejected { step: postal, attempt: 1, error: bad_postal },
        ]
    );
}

#[test]
fn a_brand_that_is_not_allowed_is_named_as_such() {
    let visa = BrandSet::NONE.with(Brand::Visa);
    let mut script = Script::new(&[Field::new(FieldKind::CardNumber { allowed: visa })]);
    script.key("5555555555554444").key("5555555555554445").key("4242424242424242#");
    assert_eq!(script.verdict(), PASSED);
    assert_eq!(script.errors(), [FieldError::InvalidCardType, FieldError::InvalidCardNumber]);
}

#[test]
fn the_security_code_is_as_long_as_the_brand_of_the_number_says() {
    let mut script = Script::new(&[NUMBER, CODE]);
    script.key("378282246310005").key("123");
    assert_eq!(script.verdict(), None);
    assert_eq!(script.key("4").verdict(), PASSED);

    let mut script = Script::new(&[NUMBER, CODE]);
    script.key("378282246310005").key("123#").key("1234");
    assert_eq!(script.errors(), [FieldError::InvalidSecurityCode]);
    assert_eq!(script.verdict(), PASSED);
}

#[test]
fn the_security_code_of_an_uncertain_brand_has_three_or_four_digits() {
    let allowed = BrandSet::COMMON.with(Brand::RuPay);
    let number = Field::new(FieldKind::CardNumber { allowed });
    for code in ["123#", "1234#"] {
        let mut script = Script::new(&[number, CODE]);
        script.key("6555900000604105#").key(code);
        assert_eq!(script.verdict(), PASSED);
        assert_eq!(script.errors(), []);
    }
}

#[test]
fn a_star_clears_the_entry_and_two_in_a_row_cancel() {
    let mut script = Script::new(&[EXPIRY]);
    script.key("13*1230");
    assert_eq!(script.verdict(), PASSED);
    assert!(script.holds(Step::ExpirationDate, "1230"));

    let mut script = Script::new(&[EXPIRY]);
    assert_eq!(script.key("13*1*#*").verdict(), None, "never two in a row");
    assert_eq!(script.key("*").verdict(), failed(FailReason::CallerInterruptedWithStar));
    assert_eq!(script.errors(), []);
}

#[test]
fn stars_of_two_attempts_are_not_two_in_a_row() {
    let mut script = Script::new(&[EXPIRY]);
    script.key("*").wait(10_000).key("*");
    assert_eq!(script.verdict(), None);
    assert_eq!(script.errors(), [FieldError::InputTimeout]);
}

#[test]
fn star_and_pound_can_be_given_other_meanings() {
    let keyed = |keys: Keys, script: &str| {
        let mut collector = Script::with_keys(&[POSTAL], keys);
        let verdict = collector.key(script).verdict();
        (verdict, collector)
    };
    let star = |star| Keys { star, ..Keys::default() };
    let (verdict, _) = keyed(star(StarKey::Cancel), "1*");
    assert_eq!(verdict, failed(FailReason::CallerInterruptedWithStar));
    let (verdict, collector) = keyed(star(StarKey::Clear), "1**234#");
    assert!(verdict == PASSED && collector.holds(Step::PostalCode, "234"));
    let (verdict, collector) = keyed(star(StarKey::Ignore), "1**234#");
    assert!(verdict == PASSED && collector.holds(Step::PostalCode, "1234"));
    let (verdict, mut collector) =
        keyed(Keys { pound: PoundKey::Ignore, ..Keys::default() }, "12#34");
    assert_eq!(verdict, None);
    assert_eq!(collector.wait(5_000).verdict(), PASSED);
    assert!(collector.holds(Step::PostalCode, "1234"));
}

#[test]
fn letter_keys_do_nothing_at_all() {
    let mut script = Script::new(&[EXPIRY]);
    script.key("A12BC3D0");
    assert!(script.holds(Step::ExpirationDate, "1230"));

    let mut script = Script::new(&[EXPIRY]);
    script.key("12").wait(4_000).key("A").wait(700);
    assert_eq!(script.errors(), [FieldError::InputTimeout], "they gain no time either");

    let mut script = Script::new(&[EXPIRY]);
    assert_eq!(script.key("*A*").verdict(), failed(FailReason::CallerInterruptedWithStar));
}

#[test]
fn digits_beyond_the_longest_entry_spoil_it() {
    let mut script = Script::new(&[POSTAL]);
    script.key("12345678901#").key("1234567890#");
    assert_eq!(script.errors(), [FieldError::InvalidPostalCode]);
    assert!(script.holds(Step::PostalCode, "1234567890"));
}

#[test]
fn nothing_keyed_in_time_is_a_failed_attempt() {
    let mut script = Script::new(&[EXPIRY]);
    script.wait(9_999);
    assert_eq!(script.errors(), []);
    script.wait(1);
    assert_eq!(script.errors(), [FieldError::InputTimeout]);
    script.key("##").wait(9_399);
    assert_eq!(script.errors(), [], "a pound key alone is no entry and gains no time");
    script.wait(1).wait(10_000);
    assert_eq!(script.errors(), [FieldError::InputTimeout; 2]);
    assert_eq!(script.verdict(), failed(FailReason::TooManyFailedAttempts));
}

#[test]
fn an_entry_left_unfinished_is_a_failed_attempt() {
    let mut script = Script::new(&[NUMBER]);
    script.key("424242424242").wait(5_000);
    assert_eq!(script.errors(), [FieldError::InputTimeout]);
    script.key("4242424242424242").wait(5_000);
    assert!(script.holds(Step::PaymentCardNumber, "4242424242424242"), "and is forgotten");
}

#[test]
fn the_first_key_may_take_its_time_from_the_end_of_the_prompt() {
    let mut script = Script::new(&[EXPIRY]);
    script.collector.handle_prompt(script.now, Duration::from_secs(20));
    script.wait(29_999);
    assert_eq!(script.errors(), []);
    script.wait(1);
    assert_eq!(script.errors(), [FieldError::InputTimeout]);

    let mut script = Script::new(&[EXPIRY]);
    script.key("1");
    script.collector.handle_prompt(script.now, Duration::from_secs(20));
    script.wait(5_000);
    assert_eq!(script.errors(), [FieldError::InputTimeout], "too late: the entry has begun");
}

#[test]
fn a_prompt_of_any_length_ends_by_the_deadline() {
    let mut script = Script::new(&[EXPIRY]);
    script.collector.handle_prompt(script.now, Duration::MAX);
    assert_eq!(script.wait(179_999).verdict(), None);
    assert_eq!(script.wait(1).verdict(), failed(FailReason::SessionTimeout));
}

#[test]
fn the_session_ends_at_its_deadline_however_busy_the_caller_is() {
    let mut script = Script::new(&[POSTAL]);
    for _ in 0..599 {
        script.key("1");
    }
    assert_eq!(script.verdict(), None);
    assert_eq!(script.key("1").verdict(), failed(FailReason::SessionTimeout));
}

#[test]
fn the_end_of_the_session_can_come_from_outside() {
    type End = fn(&mut Collector, Instant);
    let ends: [(End, FailReason); 3] = [
        (Collector::cancel, FailReason::Cancelled),
        (Collector::hang_up, FailReason::CallerHungUp),
        (Collector::abort, FailReason::InternalError),
    ];
    for (end, reason) in ends {
        let mut script = Script::new(&[EXPIRY, NUMBER]);
        script.key("12304242");
        end(&mut script.collector, script.now);
        assert_eq!(script.verdict(), failed(reason));
    }
}

#[test]
fn what_was_due_before_an_input_comes_first() {
    let mut script = Script::of(PlanRequest { delivery: Delivery::Discard, ..request(&[POSTAL]) });
    script.key("1234");
    script.now += Duration::from_secs(60);
    script.collector.hang_up(script.now);
    assert_eq!(script.verdict(), PASSED, "the pause had finished the entry before");

    let mut script = Script::new(&[EXPIRY]);
    script.now += dtmf::plan::DEFAULT_DEADLINE;
    script.collector.cancel(script.now);
    assert_eq!(script.verdict(), failed(FailReason::TooManyFailedAttempts));
}

#[test]
fn after_the_verdict_nothing_changes_it() {
    let mut script = Script::new(&[EXPIRY]);
    script.key("1230");
    script.reports();
    script.key("0127#**").wait(1_000_000);
    script.collector.cancel(script.now);
    script.collector.hang_up(script.now);
    script.collector.abort(script.now);
    script.collector.handle_prompt(script.now, Duration::from_secs(1));
    assert_eq!(script.verdict(), PASSED);
    assert_eq!(script.reports(), []);
    script.collector.wipe();
    assert_eq!(script.verdict(), PASSED);
}

#[test]
fn a_wipe_ends_a_running_collection() {
    let mut script = Script::new(&[EXPIRY]);
    script.key("12");
    script.collector.wipe();
    assert_eq!(script.verdict(), failed(FailReason::Cancelled));
}

#[test]
fn an_operator_sees_the_same_for_numbers_of_fifteen_and_sixteen_digits() {
    let mut script = Script::new(&[NUMBER]);
    assert_eq!(script.collector.masked_progress().groups(), 0);
    let mut groups = Vec::new();
    for key in "424242424242424242424".chars() {
        script.key(&key.to_string());
        groups.push(script.collector.masked_progress().groups());
    }
    assert_eq!(groups, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5]);
}

#[test]
fn what_is_only_validated_is_not_handed_over() {
    let mut script = Script::of(PlanRequest { delivery: Delivery::Discard, ..request(&[EXPIRY]) });
    script.takes = false;
    script.key("1230");
    assert_eq!(script.verdict(), PASSED);
    assert!(script.collector.take_accepted().is_none());
    let accepted = Progress::FieldAccepted { step: Step::ExpirationDate };
    let all: Vec<Progress> = std::iter::from_fn(|| script.collector.poll_progress()).collect();
    assert_eq!(all.last(), Some(&accepted), "nothing is processed");
}

#[test]
fn a_live_plan_refuses_test_cards() {
    let request = PlanRequest { card_mode: CardMode::Live, ..request(&[NUMBER]) };
    let mut script = Script::of(request);
    script.key("378282246310005").key("4242424242424242#").key("4000000000000002#");
    assert_eq!(script.errors(), [FieldError::InvalidCardNumber; 2]);
    assert!(script.holds(Step::PaymentCardNumber, "4000000000000002"));
}

#[test]
fn a_prompt_may_name_the_brand_and_the_last_four_digits() {
    let mut script = Script::new(&[NUMBER, EXPIRY]);
    let known = |script: &Script| {
        let last_four = script.collector.last_four();
        (script.collector.issuer(), last_four.map(|last| last.map(dtmf::Digit::to_ascii)))
    };
    assert_eq!(known(script.key("37828224631000")), (None, None), "not before it is accepted");
    let amex = (Some(Brand::Amex), Some(*b"0005"));
    assert_eq!(known(script.key("5")), amex);
    script.takes = false;
    assert_eq!(known(script.key("1230")), amex);
    assert_eq!(script.collector.phase(), Phase::Processing);
    script.collector.hang_up(script.now);
    assert_eq!(known(&script), (None, None), "nor after the verdict");
}

#[test]
fn the_words_are_those_of_the_payment_verb() {
    for step in [
        "payment-card-number",
        "expiration-date",
        "security-code",
        "postal-code",
        "bank-routing-number",
        "bank-account-number",
        "payment-processing",
    ] {
        assert!(Step::from_word(step).is_some(), "{step}");
    }
    for error in [
        "input-timeout",
        "input-matching-failed",
        "invalid-card-number",
        "invalid-card-type",
        "invalid-date",
        "invalid-security-code",
        "invalid-postal-code",
        "invalid-bank-routing-number",
        "invalid-bank-account-number",
    ] {
        assert!(FieldError::ALL.iter().any(|it| it.as_str() == error), "{error}");
    }
    assert_eq!(Verdict::Passed.as_str(), "success");
    let reasons = FailReason::ALL.map(|reason| Verdict::Failed(reason).as_str());
    let words = [
        "too-many-failed-attempts",
        "caller-interrupted-with-star",
        "caller-hung-up",
        "session-timeout",
        "cancelled",
        "payment-connector-error",
        "validation-error",
        "internal-error",
    ];
    assert_eq!(reasons, words);
}
