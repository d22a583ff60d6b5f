//! Properties of the collector over random scripts, and two naive references it must agree with.

use std::time::{Duration, Instant};

use dtmf::Digit;
use dtmf::brand::BrandSet;
use dtmf::collector::Collector;
use dtmf::expiry::Date;
use dtmf::field::{Field, FieldError, FieldKind, Step};
use dtmf::keys::Keys;
use dtmf::plan::{DEFAULT_DEADLINE, MAX_DEADLINE, SecurePlan};
use dtmf::progress::Progress;
use dtmf::verdict::{FailReason, Verdict};
use proptest::prelude::*;

const NUMBER: FieldKind = FieldKind::CardNumber { allowed: BrandSet::COMMON };

/// One key, pressed so many milliseconds after the one before.
type Press = (u64, u8);

proptest! {
    #[test]
    fn the_same_keys_at_the_same_times_give_the_same_verdict(
        script in script(),
        ticks in prop::collection::vec(0_u64..2_000, 0..200),
    ) {
        let plan = plan(&[NUMBER, FieldKind::ExpirationDate, FieldKind::SecurityCode]);
        let (reports, verdict) = run(&plan, &script, &[]);
        prop_assert_eq!(&run(&plan, &script, &[]), &(reports.clone(), verdict));
        // Being asked about the time in between makes no difference.
        prop_assert_eq!(&run(&plan, &script, &ticks), &(reports.clone(), verdict));
        check_reports(&reports, verdict);
    }

    #[test]
    fn a_single_field_is_judged_as_by_the_naive_reference(
        script in prop::collection::vec((1_u64..130, press_key()), 0..60),
        (min, max) in prop_oneof![Just((3_u8, 10_u8)), Just((3, 4)), Just((4, 4))],
    ) {
        let plan = plan(&[FieldKind::PostalCode { min, max }]);
        let in_milliseconds: Vec<Press> =
            script.iter().map(|&(tenths, key)| (tenths * 100, key)).collect();
        let (reports, verdict) = run(&plan, &in_milliseconds, &[]);
        let errors: Vec<FieldError> = reports.into_iter().filter_map(error).collect();
        let expected = Reference::run(usize::from(min), usize::from(max), &script);
        prop_assert_eq!((errors, verdict), expected);
    }

    #[test]
    fn a_card_number_is_judged_as_by_the_naive_rule(
        prefix in prop_oneof![
            Just("4111"), Just("5105"), Just("2221"), Just("2720"), Just("3782"), Just("3456"),
            Just("6011"), Just("3000"), Just("9999"), Just("1000"), Just("0000"),
        ],
        rest in prop::collection::vec(0_u32..10, 6..18),
        right in any::<bool>(),
    ) {
        let mut number: Vec<u32> = prefix.bytes().map(|byte| u32::from(byte - b'0')).collect();
        number.extend(rest);
        number.push(0);
        let last = (0..10).find(|digit| {
            *number.last_mut().unwrap() = *digit;
            passes_luhn(&number) == right
        });
        prop_assert!(last.is_some());
        let keys = number.iter().map(|&digit| (100, b'0' + digit as u8)).chain([(100, b'#')]);
        let script: Vec<Press> = keys.collect();
        let once = Field { attempts: 1, ..Field::new(NUMBER) };
        let (reports, _) = run(&plan_of(&[once]), &script, &[]);
        prop_assert_eq!(reports.into_iter().find_map(error), card_error(&number));
    }

    #[test]
    fn no_key_at_any_time_makes_it_panic(
        script in prop::collection::vec((0_u64..400_000, press_key()), 0..80),
    ) {
        let (_, verdict) = run(&plan(&[NUMBER, FieldKind::SecurityCode]), &script, &[]);
        prop_assert!(!matches!(verdict, Verdict::Failed(FailReason::InternalError)));
    }
}

/// Scripts in which good entries are as common as bad ones.
fn script() -> impl Strategy<Value = Vec<Press>> {
    let entry = prop_oneof![
        Just("4242424242424242#".to_owned()),
        Just("378282246310005".to_owned()),
        Just("4242424242424241#".to_owned()),
        Just("1230".to_owned()),
        Just("123#".to_owned()),
        Just("1234#".to_owned()),
        "[0-9*#A-D]{1,6}",
    ];
    let pause = prop_oneof![4 => 1_u64..3_000, 1 => 3_000_u64..15_000];
    let burst = (pause, 40_u64..800, entry).prop_map(|(pause, gap, entry)| {
        let gaps = std::iter::once(pause).chain(std::iter::repeat(gap));
        gaps.zip(entry.into_bytes()).collect::<Vec<Press>>()
    });
    prop::collection::vec(burst, 0..10).prop_map(|bursts| bursts.concat())
}

fn press_key() -> impl Strategy<Value = u8> {
    prop_oneof![8 => b'0'..=b'9', 2 => Just(b'#'), 2 => Just(b'*'), 1 => b'A'..=b'D']
}

fn plan(kinds: &[FieldKind]) -> SecurePlan {
    plan_of(&kinds.iter().map(|&kind| Field::new(kind)).collect::<Vec<_>>())
}

fn plan_of(fields: &[Field]) -> SecurePlan {
    let today = Date::new(2026, 8, 15).expect("a date that exists");
    SecurePlan::new(fields, Keys::default(), DEFAULT_DEADLINE, today).expect("a valid plan")
}

/// Plays a script, asking the collector about the time after each of `ticks` (milliseconds from
/// one to the next), and then lets the session run out.
fn run(plan: &SecurePlan, script: &[Press], ticks: &[u64]) -> (Vec<Progress>, Verdict) {
    #[expect(clippy::disallowed_methods, reason = "an arbitrary start of a virtual clock")]
    let start = Instant::now();
    let mut collector = Collector::new(plan.clone(), start);
    let mut reports = Vec::new();
    let mut inputs: Vec<(u64, Option<u8>)> = Vec::new();
    let mut at = 0;
    inputs.extend(script.iter().map(|&(gap, key)| {
        at += gap;
        (at, Some(key))
    }));
    at = 0;
    inputs.extend(ticks.iter().map(|gap| {
        at += gap;
        (at, None)
    }));
    inputs.sort_by_key(|&(at, _)| at);
    for (at, key) in inputs {
        let now = start + Duration::from_millis(at);
        match key.and_then(Digit::from_ascii) {
            Some(digit) => collector.handle_key(now, digit),
            None => {
                collector.handle_timeout(now);
                reports.extend(std::iter::from_fn(|| collector.poll_progress()));
            }
        }
    }
    collector.handle_timeout(start + MAX_DEADLINE);
    reports.extend(std::iter::from_fn(|| collector.poll_progress()));
    let verdict = collector.verdict().expect("every session ends by its deadline");
    let given_out = collector.accepted(Step::PaymentCardNumber).is_some();
    assert!(verdict == Verdict::Passed || !given_out, "a failure gives nothing out");
    assert_eq!(collector.poll_timeout(), None);
    (reports, verdict)
}

/// Every start is followed by its one end, and the last end agrees with the verdict.
fn check_reports(reports: &[Progress], verdict: Verdict) {
    let mut open = None;
    let mut accepted = 0;
    for report in reports {
        match *report {
            Progress::FieldStarted { step, attempt } => {
                assert_eq!(open.replace((step, attempt)), None);
            }
            Progress::FieldRejected { step, attempt, .. } => {
                assert_eq!(open.take(), Some((step, attempt)));
            }
            Progress::FieldAccepted { step } => {
                assert_eq!(open.take().map(|(open, _)| open), Some(step));
                accepted += 1;
            }
        }
    }
    assert_eq!(verdict == Verdict::Passed, accepted == 3);
    let used_up = verdict == Verdict::Failed(FailReason::TooManyFailedAttempts);
    assert_eq!(open.is_none(), used_up || verdict == Verdict::Passed);
}

fn error(report: Progress) -> Option<FieldError> {
    match report {
        Progress::FieldRejected { error, .. } => Some(error),
        Progress::FieldStarted { .. } | Progress::FieldAccepted { .. } => None,
    }
}

/// The collector for one postal code, as a clock that is looked at every tenth of a second.
struct Reference {
    lengths: std::ops::RangeInclusive<usize>,
    entry: String,
    /// Tenths of a second since the attempt began or a key was of use.
    waited: u64,
    after_star: bool,
    errors: Vec<FieldError>,
}

impl Reference {
    fn run(min: usize, max: usize, script: &[(u64, u8)]) -> (Vec<FieldError>, Verdict) {
        let mut reference = Self {
            lengths: min..=max,
            entry: String::new(),
            waited: 0,
            after_star: false,
            errors: Vec::new(),
        };
        let mut presses = script.iter();
        let mut next = presses.next().copied();
        for tenth in 1..=1_800 {
            if tenth == 1_800 {
                return (reference.errors, Verdict::Failed(FailReason::SessionTimeout));
            }
            let mut ended = reference.tick();
            if let Some((gap, key)) = &mut next {
                *gap -= 1;
                if *gap == 0 {
                    ended = ended.or_else(|| reference.press(char::from(*key)));
                    next = presses.next().copied();
                }
            }
            if let Some(verdict) = ended {
                return (reference.errors, verdict);
            }
        }
        unreachable!("the session has a deadline")
    }

    fn tick(&mut self) -> Option<Verdict> {
        self.waited += 1;
        if self.waited < if self.entry.is_empty() { 100 } else { 50 } {
            return None;
        }
        if self.entry.len() < *self.lengths.start() {
            return self.refuse(FieldError::InputTimeout);
        }
        self.submit()
    }

    fn press(&mut self, key: char) -> Option<Verdict> {
        match key {
            'A'..='D' => return None,
            '*' if self.after_star => {
                return Some(Verdict::Failed(FailReason::CallerInterruptedWithStar));
            }
            '#' if self.entry.is_empty() => {}
            '#' => return self.submit(),
            '*' => {
                self.entry.clear();
                self.waited = 0;
            }
            _ => {
                self.entry.push(key);
                self.waited = 0;
            }
        }
        self.after_star = key == '*';
        let fixed = self.lengths.start() == self.lengths.end();
        if fixed && self.entry.len() == *self.lengths.end() { self.submit() } else { None }
    }

    fn submit(&mut self) -> Option<Verdict> {
        if self.lengths.contains(&self.entry.len()) {
            return Some(Verdict::Passed);
        }
        self.refuse(FieldError::InvalidPostalCode)
    }

    fn refuse(&mut self, error: FieldError) -> Option<Verdict> {
        self.errors.push(error);
        (self.entry, self.waited, self.after_star) = (String::new(), 0, false);
        let used_up = Verdict::Failed(FailReason::TooManyFailedAttempts);
        (self.errors.len() == 3).then_some(used_up)
    }
}

/// The rule for a card number in the plainest words, for the prefixes generated above.
fn card_error(number: &[u32]) -> Option<FieldError> {
    let prefix = number[..4].iter().fold(0, |prefix, digit| prefix * 10 + digit);
    let lengths: &[usize] = match prefix {
        4111 => &[13, 16, 18, 19],
        5105 | 2221 | 2720 => &[16],
        3782 | 3456 => &[15],
        6011 => &[16, 19],
        3000 => &[14, 16, 19],
        _ => &[12, 13, 14, 15, 16, 17, 18, 19],
    };
    // A brand with one length takes the number at that length and looks at no further key.
    let number = match lengths {
        [only] => &number[..number.len().min(*only)],
        _ => number,
    };
    if number.iter().all(|&digit| digit == 0)
        || !lengths.contains(&number.len())
        || !passes_luhn(number)
    {
        return Some(FieldError::InvalidCardNumber);
    }
    [9999, 1000, 0].contains(&prefix).then_some(FieldError::InvalidCardType)
}

/// Luhn's rule by its table of doubled digits.
fn passes_luhn(number: &[u32]) -> bool {
    const DOUBLED: [u32; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    let mut doubled = false;
    let mut sum = 0;
    for &digit in number.iter().rev() {
        sum += if doubled { DOUBLED[digit as usize] } else { digit };
        doubled = !doubled;
    }
    sum % 10 == 0
}
