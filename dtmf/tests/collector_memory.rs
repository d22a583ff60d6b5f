//! Where the digits are in memory: in the collector while it holds them, and then nowhere.
//!
//! The tests read their own process through `/proc/self/mem`. The number searched for is kept
//! veiled, so that the search does not find itself, and is unveiled one key at a time.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use dtmf::Digit;
use dtmf::brand::BrandSet;
use dtmf::collector::Collector;
use dtmf::expiry::Date;
use dtmf::field::{Field, FieldKind, Step};
use dtmf::keys::Keys;
use dtmf::plan::{DEFAULT_DEADLINE, SecurePlan};
use dtmf::verdict::Verdict;

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
        assert!(is_within(&collector, NUMBER), "the control: here it is");
        ending(&mut collector);
        assert!(!is_within(&collector, NUMBER));
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
fn there_is_no_copy_outside_the_locked_page() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut collector = Collector::locked(plan(), start()).unwrap();
    key_number(&mut collector);
    for key in "1230".bytes() {
        collector.handle_key(start(), Digit::from_ascii(key).unwrap());
    }
    assert_eq!(collector.verdict(), Some(Verdict::Passed));
    let number = collector.accepted(Step::PaymentCardNumber).unwrap();
    assert!(number.reveal(|ascii| ascii.iter().map(|byte| byte ^ VEIL).eq(NUMBER)));

    let page = (&raw const *collector).addr();
    let page = page..page + size_of::<Collector>();
    let strays = |wanted| copies(wanted).into_iter().filter(|at| !page.contains(at)).count();
    assert_eq!(strays(NUMBER) + strays(VALUES), 0);
    drop(collector);
    assert_eq!(copies(NUMBER).len() + copies(VALUES).len(), 0, "and none after it is gone");

    let leak: Vec<u8> = NUMBER.iter().map(|byte| byte ^ VEIL).collect();
    let leak = std::hint::black_box(leak);
    assert!(copies(NUMBER).contains(&leak.as_ptr().addr()), "the control: a copy is found");
}

fn cancel(collector: &mut Collector) {
    collector.cancel(start());
}

fn hang_up(collector: &mut Collector) {
    collector.hang_up(start());
}

/// Uses up the attempts at the date.
fn spoil(collector: &mut Collector) {
    for key in "130013001300".bytes() {
        collector.handle_key(start(), Digit::from_ascii(key).unwrap());
    }
}

fn plan() -> SecurePlan {
    let number = Field::new(FieldKind::CardNumber { allowed: BrandSet::COMMON });
    let fields = [number, Field::new(FieldKind::ExpirationDate)];
    let today = Date::new(2026, 8, 15).unwrap();
    SecurePlan::new(&fields, Keys::default(), DEFAULT_DEADLINE, today).unwrap()
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

fn is_within(collector: &Collector, veiled: [u8; 16]) -> bool {
    let memory = File::open("/proc/self/mem").unwrap();
    let address = (&raw const *collector).addr();
    let mut bytes = vec![0; size_of::<Collector>()];
    memory.read_exact_at(&mut bytes, address as u64).unwrap();
    let found = places(&bytes, veiled).next().is_some();
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
