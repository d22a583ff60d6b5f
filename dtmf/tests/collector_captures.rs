//! Scripts for the collector: fields that a script captures, one at a time.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod script;

use dtmf::plan::MAX_CAPTURES;
use dtmf::{CaptureError, FailReason, Field, FieldError, Phase, Progress, Step};
use script::{CODE, EXPIRY, NUMBER, PASSED, POSTAL, Script, failed};

const CARD: [Field; 3] = [NUMBER, EXPIRY, CODE];
const NUMBER_STEP: Step = Step::PaymentCardNumber;

#[test]
fn a_script_captures_the_fields_in_its_own_order() {
    let mut script = Script::driven(&CARD);
    assert_eq!(script.collector.phase(), Phase::Waiting);
    assert_eq!(script.required(), [NUMBER_STEP, Step::ExpirationDate, Step::SecurityCode]);
    script.capture(Step::ExpirationDate).key("1230");
    assert_eq!(script.required(), [NUMBER_STEP, Step::SecurityCode]);
    script.capture(NUMBER_STEP).key("378282246310005");
    assert_eq!(script.collector.complete(script.now), Err(CaptureError::Incomplete));
    script.capture(Step::SecurityCode);
    let phase = Phase::Collecting { step: Step::SecurityCode, attempt: 1 };
    assert_eq!(script.collector.phase(), phase);
    assert_eq!(script.key("1234").required(), []);
    assert_eq!(script.verdict(), None, "the script says when it is complete");
    script.collector.complete(script.now).unwrap();
    assert_eq!(script.wait(0).verdict(), PASSED);
    assert!(script.holds(NUMBER_STEP, "378282246310005"));
    assert!(script.holds(Step::ExpirationDate, "1230"));
    assert!(script.holds(Step::SecurityCode, "1234"));
}

#[test]
fn keys_while_no_field_is_captured_count_nowhere() {
    let mut script = Script::driven(&[EXPIRY]);
    script.key("1230#**").wait(60_000).capture(Step::ExpirationDate).key("01");
    assert_eq!(script.collector.masked_progress().groups(), 1);
    script.key("27").key("#99");
    script.collector.complete(script.now).unwrap();
    assert!(script.wait(0).holds(Step::ExpirationDate, "0127"));
}

#[test]
fn a_capture_is_one_attempt_and_may_be_repeated() {
    let mut script = Script::driven(&[Field { attempts: 1, ..EXPIRY }]);
    let (step, error) = (Step::ExpirationDate, FieldError::InvalidDate);
    script.capture(step).key("1330");
    assert_eq!(script.collector.phase(), Phase::Waiting);
    script.capture(step).key("1230").capture(step).key("0127").capture(step).key("9999");
    assert_eq!(
        script.reports(),
        [
            Progress::FieldStarted { step, attempt: 1, error: None },
            Progress::FieldRejected { step, attempt: 1, error },
            Progress::FieldStarted { step, attempt: 2, error: Some(error) },
            Progress::FieldAccepted { step },
            Progress::FieldStarted { step, attempt: 3, error: None },
            Progress::FieldAccepted { step },
            Progress::FieldStarted { step, attempt: 4, error: None },
            Progress::FieldRejected { step, attempt: 4, error },
        ]
    );
    assert_eq!(script.required(), [step], "what was there before was wiped by the capture");
}

#[test]
fn a_new_card_number_needs_a_new_security_code() {
    let mut script = Script::driven(&CARD);
    let refused = script.collector.capture(script.now, Step::SecurityCode);
    assert_eq!(refused, Err(CaptureError::CaptureSequence));
    let word = "invalid-card-number-security-code-capture-sequence";
    assert_eq!(CaptureError::CaptureSequence.as_str(), word);
    script.capture(NUMBER_STEP).key("378282246310005").capture(Step::SecurityCode).key("1234");
    assert_eq!(script.required(), [Step::ExpirationDate]);
    script.capture(NUMBER_STEP);
    assert_eq!(script.collector.issuer(), None);
    assert!(script.collector.last_four().is_none());
    script.key("1#");
    assert_eq!(script.required().len(), 3);
    let refused = script.collector.capture(script.now, Step::SecurityCode);
    assert_eq!(refused, Err(CaptureError::CaptureSequence));
    script.capture(NUMBER_STEP).key("5555555555554444").capture(Step::SecurityCode).key("123");
    assert_eq!(script.required(), [Step::ExpirationDate], "three digits, by the new brand");
}

#[test]
fn what_a_script_cannot_have_now_it_is_told() {
    let mut script = Script::driven(&[EXPIRY]);
    let capture = |script: &mut Script, step| script.collector.capture(script.now, step);
    assert_eq!(capture(&mut script, Step::PostalCode), Err(CaptureError::NotInPlan));
    assert_eq!(capture(&mut script, Step::PaymentProcessing), Err(CaptureError::NotInPlan));
    script.capture(Step::ExpirationDate).key("12");
    assert_eq!(capture(&mut script, Step::ExpirationDate), Err(CaptureError::Busy));
    assert_eq!(script.collector.complete(script.now), Err(CaptureError::Busy));
    script.takes = false;
    script.key("30");
    script.collector.complete(script.now).unwrap();
    assert_eq!(capture(&mut script, Step::ExpirationDate), Err(CaptureError::Processing));
    assert_eq!(script.collector.complete(script.now), Err(CaptureError::Processing));
    script.collector.cancel(script.now);
    assert_eq!(capture(&mut script, Step::ExpirationDate), Err(CaptureError::Ended));
    let mut script = Script::new(&[EXPIRY]);
    assert_eq!(capture(&mut script, Step::ExpirationDate), Err(CaptureError::WholePlan));
    assert_eq!(script.collector.complete(script.now), Err(CaptureError::WholePlan));
}

#[test]
fn a_field_whose_time_is_over_is_busy_no_longer() {
    let mut script = Script::driven(&[EXPIRY]);
    script.capture(Step::ExpirationDate);
    script.now += std::time::Duration::from_secs(10);
    script.capture(Step::ExpirationDate);
    assert_eq!(script.errors(), [FieldError::InputTimeout]);
}

#[test]
fn captures_are_bounded() {
    let mut script = Script::driven(&[EXPIRY, POSTAL]);
    for round in 0..MAX_CAPTURES {
        let step = if round % 2 == 0 { Step::ExpirationDate } else { Step::PostalCode };
        script.capture(step).key("1#");
    }
    let refused = script.collector.capture(script.now, Step::PostalCode);
    assert_eq!(refused, Err(CaptureError::TooManyCaptures));
    assert_eq!(script.errors().len(), usize::from(MAX_CAPTURES));
    assert_eq!(script.verdict(), None);
    script.collector.cancel(script.now);
    assert_eq!(script.verdict(), failed(FailReason::Cancelled));
}

#[test]
fn a_session_that_waits_ends_at_its_deadline_and_by_hand() {
    let mut script = Script::driven(&[EXPIRY]);
    assert_eq!(script.wait(179_999).verdict(), None);
    assert_eq!(script.wait(1).verdict(), failed(FailReason::SessionTimeout));
    let mut script = Script::driven(&[EXPIRY]);
    script.collector.hang_up(script.now);
    assert_eq!(script.verdict(), failed(FailReason::CallerHungUp));
    let mut script = Script::driven(&[EXPIRY]);
    script.capture(Step::ExpirationDate).key("1**");
    assert_eq!(script.verdict(), failed(FailReason::CallerInterruptedWithStar));
}
