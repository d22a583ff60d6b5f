//! Fuzz target: keys, pauses, prompts and hang-ups in any order; every session has one verdict.
#![no_main]

use std::time::{Duration, Instant};

use dtmf::brand::BrandSet;
use dtmf::expiry::Date;
use dtmf::plan::MAX_DEADLINE;
use dtmf::{
    CardMode, Collector, Delivery, Digit, Drive, FailReason, Field, FieldKind, PlanRequest,
    SecurePlan, Step, Verdict,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| {
    let Some((&choice, script)) = script.split_first() else { return };
    let kinds = [
        FieldKind::CardNumber { allowed: BrandSet::COMMON },
        FieldKind::ExpirationDate,
        FieldKind::SecurityCode,
        FieldKind::Amount { min: 1, max: 100_000, decimals: 2 },
    ];
    let fields = kinds.map(|kind| Field { double_entry: choice & 4 != 0, ..Field::new(kind) });
    let today = Date::new(2030, 6, 15).expect("a date");
    let plan = PlanRequest {
        deadline: MAX_DEADLINE,
        drive: if choice & 1 != 0 { Drive::FieldAtATime } else { Drive::WholePlan },
        delivery: if choice & 2 != 0 { Delivery::Sink } else { Delivery::Discard },
        ..PlanRequest::new(&fields, today, CardMode::Test)
    };
    let hands_over = plan.delivery == Delivery::Sink;
    let mut now = Instant::now();
    let mut collector = Collector::new(SecurePlan::new(plan).expect("a plan"), now);
    let mut handed_over = 0;
    for &[gap, act] in script.as_chunks().0 {
        now += Duration::from_millis(u64::from(gap) * 40);
        // As a relay does: what is due is settled and handed over before anything else happens.
        collector.handle_timeout(now);
        handed_over += usize::from(collector.take_accepted().is_some());
        match act {
            0..=200 => collector.handle_key(now, Digit::ALL[usize::from(act % 16)]),
            201..=230 => collector.handle_timeout(now),
            231..=244 => {
                let _ = collector.capture(now, Step::ALL[usize::from(gap) % Step::ALL.len()]);
            }
            245..=247 => {
                let _ = collector.complete(now);
            }
            248 | 249 => collector.delivered(now, Ok(())),
            250 => collector.delivered(now, Err(FailReason::PaymentConnectorError)),
            251 | 252 => collector.handle_prompt(now, Duration::from_secs(u64::from(act))),
            253 => collector.cancel(now),
            254 => collector.hang_up(now),
            255 => collector.abort(now),
        }
        while collector.poll_progress().is_some() {}
        handed_over += usize::from(collector.take_accepted().is_some());
    }
    collector.handle_timeout(now + MAX_DEADLINE);
    let passed = collector.verdict().expect("the deadline is over") == Verdict::Passed;
    assert!(handed_over <= 1 && (hands_over || handed_over == 0));
    assert!(!passed || !hands_over || handed_over == 1, "what passes has been handed over");
    assert_eq!(collector.poll_timeout(), None);
});
