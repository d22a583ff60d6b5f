//! Scripts for the collector: what was accepted is handed over once, and the verdict waits for it.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod script;

use std::time::Duration;

use dtmf::brand::Brand;
use dtmf::plan::MAX_DELIVERY;
use dtmf::{FailReason, Phase, Progress, Step};
use script::{EXPIRY, NUMBER, PASSED, Script, failed};

/// A script whose fields have just been accepted.
fn processing() -> Script {
    let mut script = Script::new(&[NUMBER, EXPIRY]);
    script.takes = false;
    script.key("378282246310005").key("1230");
    assert_eq!(script.collector.phase(), Phase::Processing);
    script
}

#[test]
fn the_verdict_waits_for_the_outcome() {
    let mut script = processing();
    let last = std::iter::from_fn(|| script.collector.poll_progress()).last();
    assert_eq!(last, Some(Progress::Processing));
    let due = script.now + MAX_DELIVERY;
    assert_eq!(script.collector.poll_timeout(), Some(due));
    let accepted = script.collector.take_accepted().unwrap().unwrap();
    let entries: Vec<(Step, usize)> =
        accepted.entries().map(|(step, entry)| (step, entry.reveal(<[u8]>::len))).collect();
    assert_eq!(entries, [(Step::PaymentCardNumber, 15), (Step::ExpirationDate, 4)]);
    assert_eq!(accepted.issuer(), Some(Brand::Amex));
    assert_eq!(script.verdict(), None);
    script.collector.delivered(script.now, Ok(()));
    assert_eq!(script.verdict(), PASSED);
    assert_eq!(script.collector.poll_timeout(), None);
}

#[test]
fn what_was_accepted_is_given_once() {
    let mut script = processing();
    assert!(script.collector.take_accepted().is_some());
    assert!(script.collector.take_accepted().is_none());
    assert!(script.collector.last_four().is_none(), "it is no longer here");
    assert_eq!(script.collector.issuer(), Some(Brand::Amex), "a prompt may name it still");
}

#[test]
fn keys_while_it_is_handed_over_count_nowhere() {
    let mut script = processing();
    script.key("123#**");
    assert_eq!(script.collector.phase(), Phase::Processing);
}

#[test]
fn a_success_of_what_was_never_taken_is_none() {
    let mut script = processing();
    script.collector.delivered(script.now, Ok(()));
    assert_eq!(script.verdict(), failed(FailReason::InternalError));
}

#[test]
fn an_outcome_that_is_no_success_is_the_reason() {
    for reason in [FailReason::PaymentConnectorError, FailReason::ValidationError] {
        let mut script = processing();
        assert!(script.collector.take_accepted().is_some());
        script.collector.delivered(script.now, Err(reason));
        assert_eq!(script.verdict(), failed(reason));
    }
}

#[test]
fn a_delivery_that_takes_too_long_has_failed() {
    let mut script = processing();
    script.wait(29_999);
    assert_eq!(script.verdict(), None);
    assert_eq!(script.wait(1).verdict(), failed(FailReason::PaymentConnectorError));
    // The deadline of the session is above it.
    let mut script = Script::new(&[EXPIRY]);
    script.takes = false;
    script.collector.handle_prompt(script.now, Duration::from_secs(170));
    script.wait(170_000).key("1230");
    assert_eq!(script.wait(8_799).collector.phase(), Phase::Processing);
    assert_eq!(script.wait(1).verdict(), failed(FailReason::SessionTimeout));
}

#[test]
fn whoever_ends_the_session_meanwhile_is_the_reason_and_a_late_outcome_is_not() {
    let mut script = processing();
    assert!(script.collector.take_accepted().is_some());
    script.collector.hang_up(script.now);
    script.collector.delivered(script.now, Ok(()));
    assert_eq!(script.verdict(), failed(FailReason::CallerHungUp));
    let mut script = processing();
    script.collector.cancel(script.now);
    assert!(script.collector.take_accepted().is_none());
    assert_eq!(script.verdict(), failed(FailReason::Cancelled));
    let mut script = processing();
    assert!(script.collector.take_accepted().is_some());
    script.collector.delivered(script.now + MAX_DELIVERY, Ok(()));
    assert_eq!(script.verdict(), failed(FailReason::PaymentConnectorError), "too late");
}

#[test]
fn an_outcome_before_there_is_anything_to_hand_over_is_ignored() {
    let mut script = Script::new(&[EXPIRY]);
    script.collector.delivered(script.now, Ok(()));
    script.collector.delivered(script.now, Err(FailReason::ValidationError));
    assert_eq!(script.verdict(), None);
}
