//! Fuzz target: keys, pauses, prompts and hang-ups in any order; every session has one verdict.
#![no_main]

use std::time::{Duration, Instant};

use dtmf::brand::BrandSet;
use dtmf::expiry::Date;
use dtmf::plan::MAX_DEADLINE;
use dtmf::{Collector, Digit, Field, FieldKind, SecurePlan, Step, Verdict};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| {
    let kinds = [
        FieldKind::CardNumber { allowed: BrandSet::COMMON },
        FieldKind::ExpirationDate,
        FieldKind::SecurityCode,
        FieldKind::PostalCode { min: 3, max: 10 },
    ];
    let today = Date::new(2030, 6, 15).expect("a date");
    let plan = SecurePlan::new(&kinds.map(Field::new), Default::default(), MAX_DEADLINE, today);
    let mut now = Instant::now();
    let mut collector = Collector::new(plan.expect("a plan"), now);
    for &[gap, act] in script.as_chunks().0 {
        now += Duration::from_millis(u64::from(gap) * 40);
        match act {
            0..=200 => collector.handle_key(now, Digit::ALL[usize::from(act % 16)]),
            201..=250 => collector.handle_timeout(now),
            251 | 252 => collector.handle_prompt(now, Duration::from_secs(u64::from(act))),
            253 => collector.cancel(now),
            254 => collector.hang_up(now),
            255 => collector.abort(now),
        }
        while collector.poll_progress().is_some() {}
    }
    collector.handle_timeout(now + MAX_DEADLINE);
    let passed = collector.verdict().expect("the deadline is over") == Verdict::Passed;
    assert_eq!(collector.accepted(Step::SecurityCode).is_some(), passed);
    assert_eq!(collector.poll_timeout(), None);
});
