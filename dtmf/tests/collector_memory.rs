//! Where the digits are in memory: in the collector while it holds them, and then nowhere.
//!
//! The tests read their own process through `/proc/self/mem`. The number searched for is kept
//! veiled, so that the search does not find itself, and is unveiled one key at a time.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use dtmf::brand::BrandSet;
use dtmf::expiry::Date;
use dtmf::{
    CardMode, Check, Collector, CustomId, Delivery, Digit, Field, FieldKind, KeyedDigest, Phase,
    PlanRequest, SecurePlan, Step, Verdict,
};
use ring::hmac;

/// XOR-ed over every byte of the number below.
const VEIL: u8 = 0x5a;
/// A published test number, 5105105105105100, in ASCII under the veil.
const NUMBER: [u8; 16] = veiled(*b"5105105105105100");
/// It again as the values of its digits, 0 to 9.
const VALUES: [u8; 16] = values(NUMBER);

/// One test's number would be another's stray.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const fn veiled(mut number: [u8; 16]) -> [u8; 16] {
    let mut place = 0;
    while place < number.len() {
        number[place] ^= VEIL;
        place += 1;
    }
    number
}

const fn values(mut number: [u8; 16]) -> [u8; 16] {
    let mut place = 0;
    while place < number.len() {
        number[place] = (number[place] ^ VEIL).wrapping_sub(b'0') ^ VEIL;
        place += 1;
    }
    number
}

#[test]
fn a_collector_holds_the_number_until_it_is_wiped_and_not_after() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for ending in [Collector::wipe, cancel, hang_up, spoil] {
        let mut collector = Collector::new(plan(), start());
        key_number(&mut collector);
        assert!(places_in(&collector, NUMBER) == 1, "the control: here it is");
        ending(&mut collector);
        assert!(places_in(&collector, NUMBER) == 0);
        assert!(collector.verdict().is_some());
    }
}

#[test]
fn a_collector_that_is_dropped_half_way_leaves_nothing_on_the_heap() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut collector = Box::new(Collector::new(plan(), start()));
    key_number(&mut collector);
    assert_eq!(copies(NUMBER).len(), 1, "the control: this one is readable");
    drop(collector);
    assert_eq!(copies(NUMBER).len(), 0);
}

#[test]
fn there_is_no_copy_outside_the_locked_pages() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut collector = Collector::locked(plan(), start()).unwrap();
    let here = page_of(&*collector);
    let strays = |pages: &[Range<usize>]| {
        let all = copies(NUMBER).into_iter().chain(copies(VALUES));
        all.filter(|at| !pages.iter().any(|page| page.contains(at))).count()
    };
    // The card number, the account twice, and the value that is compared by its digest.
    for _ in 0..4 {
        key_number(&mut collector);
        if collector.phase() == ACCOUNT {
            collector.handle_key(start(), Digit::Pound);
        }
        assert!(collector.last_four().is_some(), "the last four digits are shown meanwhile");
        assert_eq!(strays(std::slice::from_ref(&here)), 0);
    }
    key(&mut collector, "1230");
    assert_eq!(collector.phase(), Phase::Processing);

    let accepted = collector.take_accepted().unwrap().unwrap();
    for step in [Step::PaymentCardNumber, Step::BankAccountNumber, KEYED] {
        let number = accepted.get(step).unwrap();
        assert!(number.reveal(|ascii| ascii.iter().map(|byte| byte ^ VEIL).eq(NUMBER)));
    }
    let there = page_of(&*accepted);
    assert_eq!(strays(std::slice::from_ref(&there)), 0, "nor any where they were before");
    collector.delivered(start(), Ok(()));
    assert_eq!(collector.verdict(), Some(Verdict::Passed));
    drop((collector, accepted));
    assert_eq!(strays(&[]), 0, "and none after they are gone");

    let leak: Vec<u8> = NUMBER.iter().map(|byte| byte ^ VEIL).collect();
    let leak = std::hint::black_box(leak);
    assert!(copies(NUMBER).contains(&leak.as_ptr().addr()), "the control: a copy is found");
}

#[test]
fn what_was_handed_over_moves_and_is_wiped_on_both_sides() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut collector = Collector::new(plan(), start());
    key_number(&mut collector);
    key_number(&mut collector);
    collector.handle_key(start(), Digit::Pound);
    assert_eq!(places_in(&collector, NUMBER), 2);
    key_number(&mut collector);
    assert_eq!(places_in(&collector, NUMBER), 3, "the control: both entries of the account");
    collector.handle_key(start(), Digit::Pound);
    assert_eq!(places_in(&collector, NUMBER), 2, "the second is wiped when it has matched");
    key_number(&mut collector);
    key(&mut collector, "1230");
    assert_eq!(places_in(&collector, NUMBER), 3, "the control: here they are");
    let accepted = collector.take_accepted().unwrap().unwrap();
    assert_eq!(places_in(&collector, NUMBER), 0);
    // The second page may be readable by nobody but its owner.
    assert!(accepted.get(KEYED).unwrap().reveal(|ascii| ascii.len() == NUMBER.len()));
    drop(accepted);
    assert_eq!(copies(NUMBER).len(), 0);
}

fn cancel(collector: &mut Collector) {
    collector.cancel(start());
}

fn hang_up(collector: &mut Collector) {
    collector.hang_up(start());
}

/// Uses up the attempts at the account.
fn spoil(collector: &mut Collector) {
    key(collector, "1#1#1#");
}

const KEYED: Step = Step::Custom(CustomId::ALL[0]);
const ACCOUNT: Phase = Phase::Collecting { step: Step::BankAccountNumber, attempt: 1 };

/// A card, an account that is keyed twice, a value known by its digest, and the date.
fn plan() -> SecurePlan {
    let number = FieldKind::CardNumber { allowed: BrandSet::COMMON };
    let account = FieldKind::BankAccountNumber { min: 4, max: 17 };
    let (id, check) = (CustomId::ALL[0], Check::Keyed(digest()));
    let keyed = FieldKind::Custom { id, min: 16, max: 16, check };
    let mut fields = [number, account, keyed, FieldKind::ExpirationDate].map(Field::new);
    fields[1].double_entry = true;
    let today = Date::new(2026, 8, 15).unwrap();
    let request = PlanRequest::new(&fields, today, CardMode::Test);
    SecurePlan::new(PlanRequest { delivery: Delivery::Sink, ..request }).unwrap()
}

/// The digest of the number, made once and one digit at a time.
fn digest() -> KeyedDigest {
    static DIGEST: OnceLock<KeyedDigest> = OnceLock::new();
    *DIGEST.get_or_init(|| {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]));
        NUMBER.iter().for_each(|byte| context.update(&[byte ^ VEIL]));
        let digest = context.sign().as_ref().try_into().unwrap();
        overwrite_stack();
        KeyedDigest::new([7; 32], digest)
    })
}

/// Overwrites what the digest above has left on the stack.
#[inline(never)]
fn overwrite_stack() {
    std::hint::black_box(&mut [0_u8; 1 << 14]);
}

/// The one instant at which everything here happens.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "an arbitrary start of a virtual clock")]
    *START.get_or_init(Instant::now)
}

fn key_number(collector: &mut Collector) {
    for byte in NUMBER {
        collector.handle_key(start(), Digit::from_ascii(byte ^ VEIL).unwrap());
    }
}

fn key(collector: &mut Collector, keys: &str) {
    for key in keys.bytes() {
        collector.handle_key(start(), Digit::from_ascii(key).unwrap());
    }
}

fn page_of<T>(value: &T) -> Range<usize> {
    let start = (&raw const *value).addr();
    start..start + size_of::<T>()
}

/// How often the number is within the collector.
fn places_in(collector: &Collector, veiled: [u8; 16]) -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let mut bytes = vec![0; size_of::<Collector>()];
    memory.read_exact_at(&mut bytes, page_of(collector).start as u64).unwrap();
    let found = places(&bytes, veiled).count();
    bytes.fill(0);
    std::hint::black_box(&bytes);
    found
}

/// Where in the writable memory of this process the bytes are that this veils.
fn copies(veiled: [u8; 16]) -> Vec<usize> {
    let memory = File::open("/proc/self/mem").unwrap();
    let mut found = Vec::new();
    for area in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let words: Vec<&str> = area.split_whitespace().collect();
        let (low, high) = words[0].split_once('-').unwrap();
        let [low, high] = [low, high].map(|edge| usize::from_str_radix(edge, 16).unwrap());
        if words[1].starts_with("rw") {
            found.extend(copies_between(&memory, low, high, veiled));
        }
    }
    found
}

/// Secret pages can't be read and are passed over.
fn copies_between(memory: &File, low: usize, high: usize, veiled: [u8; 16]) -> Vec<usize> {
    const CHUNK: usize = 1 << 16;
    let mut buffer = vec![0; CHUNK + veiled.len()];
    let mut found = Vec::new();
    for start in (low..high).step_by(CHUNK) {
        let length = buffer.len().min(high - start);
        let bytes = &mut buffer[..length];
        if memory.read_exact_at(bytes, start as u64).is_ok() {
            let own = bytes.as_ptr().addr();
            let own = own..own + length;
            found.extend(places(bytes, veiled).map(|at| start + at).filter(|at| !own.contains(at)));
        }
        // What was found must not be found again here.
        bytes.fill(0);
        std::hint::black_box(&bytes);
    }
    found
}

fn places(bytes: &[u8], veiled: [u8; 16]) -> impl Iterator<Item = usize> {
    let matches =
        move |window: &[u8]| window.iter().zip(veiled).all(|(byte, it)| byte ^ VEIL == it);
    bytes.windows(veiled.len()).enumerate().filter(move |(_, it)| matches(it)).map(|(at, _)| at)
}
