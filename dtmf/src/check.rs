//! `Check`: check digits, and the comparison with a value that is known only by its digest.

use std::fmt;
use std::hint::black_box;

use ring::hmac;
use zeroize::Zeroize;

/// How an entry is checked besides its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Not at all.
    None,
    /// By the Luhn check digit at its end (ISO/IEC 7812-1 annex B).
    Luhn,
    /// By a check digit at its end, modulo eleven: with weights 1, 2 ... 10, 2 ... 10 and so on
    /// from the right, the sum is a multiple of eleven. Up to ten digits that is the check of NHS
    /// numbers and ISBN-10; no weight is a multiple of eleven, so a single wrong digit is found in
    /// longer entries too. Entries whose check character would be ten do not exist.
    Mod11,
    /// By two check digits at its end (ISO/IEC 7064, MOD 97-10): modulo 97 it is one.
    Mod97,
    /// It is the one value that has this digest.
    Keyed(KeyedDigest),
}

impl Check {
    /// Whether the entry (ASCII digits) passes.
    pub(crate) fn passes(self, entry: &[u8]) -> bool {
        match self {
            Self::None => true,
            Self::Luhn => luhn(entry),
            Self::Mod11 => mod11(entry),
            Self::Mod97 => mod97(entry),
            Self::Keyed(digest) => digest.is_of(entry),
        }
    }
}

/// The HMAC-SHA-256 (RFC 2104, FIPS 180-4) of the digits expected, in ASCII as keyed, and its key:
/// an entry is compared with a known value that is not known here.
///
/// Digits are few enough to be found by trial by whoever holds both, so neither is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyedDigest {
    key: [u8; 32],
    digest: [u8; 32],
}

impl KeyedDigest {
    /// The digest that an entry must have under this key.
    #[must_use]
    pub const fn new(key: [u8; 32], digest: [u8; 32]) -> Self {
        Self { key, digest }
    }

    /// Compared in constant time.
    fn is_of(&self, entry: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        let is_equal = hmac::verify(&key, entry, &self.digest).is_ok();
        scrub_stack();
        is_equal
    }
}

impl fmt::Debug for KeyedDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyedDigest")
    }
}

/// Overwrites the stack where the hash has just had its block of digits, which it leaves there.
#[inline(never)]
fn scrub_stack() {
    /// More than the frames of one HMAC take.
    const USED: usize = 4096;
    let mut dead = [0_u8; USED];
    dead.zeroize();
    black_box(&dead);
}

/// The Luhn check (ISO/IEC 7812-1 annex B): every second digit from the right is doubled.
pub(crate) fn luhn(entry: &[u8]) -> bool {
    luhn_sum(entry).is_multiple_of(10)
}

/// The Luhn sum of an entry, its last digit undoubled.
pub(crate) fn luhn_sum(entry: &[u8]) -> u32 {
    let weigh = |(place, digit): (usize, &u8)| match (place % 2 == 0, value(*digit)) {
        (true, value) => value,
        (false, value @ 0..=4) => value * 2,
        // The digits of 10 to 18 add up to the number less nine.
        (false, value) => value * 2 - 9,
    };
    entry.iter().rev().enumerate().map(weigh).sum()
}

pub(crate) fn mod11(entry: &[u8]) -> bool {
    let weights = std::iter::once(1).chain((2..=10).cycle());
    let sum: u32 = entry.iter().rev().zip(weights).map(|(digit, by)| value(*digit) * by).sum();
    sum.is_multiple_of(11)
}

fn mod97(entry: &[u8]) -> bool {
    entry.iter().fold(0, |rest, digit| (rest * 10 + value(*digit)) % 97) == 1
}

/// The value of an ASCII digit.
pub(crate) fn value(digit: u8) -> u32 {
    u32::from(digit.saturating_sub(b'0'))
}

#[cfg(test)]
mod tests {
    use ring::hmac;

    use super::{Check, KeyedDigest};

    fn check(check: Check, pass: &[&str], fail: &[&str]) {
        for entry in pass {
            assert!(check.passes(entry.as_bytes()), "{check:?} {entry}");
        }
        for entry in fail {
            assert!(!check.passes(entry.as_bytes()), "{check:?} {entry}");
        }
    }

    #[test]
    fn check_digits_are_told_right_from_wrong() {
        check(Check::None, &["1", "123"], &[]);
        check(Check::Luhn, &["79927398713", "18", "0"], &["79927398710", "1", "81"]);
        check(Check::Mod11, &["9434765919", "0306406152", "19"], &["9434765918", "91", "1"]);
        // The example of ISO/IEC 7064 is 794 with the check digits 44.
        check(Check::Mod97, &["79444", "1", "98"], &["79445", "97444", "0"]);
    }

    #[test]
    fn every_single_wrong_digit_is_found_by_every_check_digit() {
        for (check, entry) in [
            (Check::Luhn, "12345678901234567890123456789014"),
            (Check::Mod11, "12345678901234567890123456789010"),
            (Check::Mod97, "12345678901234567890123456789067"),
        ] {
            let mut right = entry.as_bytes().to_vec();
            // Its last digits are set right first, whichever they are.
            for last in 0..100 {
                right[30] = b'0' + last / 10;
                right[31] = b'0' + last % 10;
                if check.passes(&right) {
                    break;
                }
            }
            assert!(check.passes(&right));
            for place in 0..right.len() {
                for other in (b'0'..=b'9').filter(|&digit| digit != right[place]) {
                    let mut wrong = right.clone();
                    wrong[place] = other;
                    assert!(!check.passes(&wrong), "{check:?} at {place}");
                }
            }
        }
    }

    #[test]
    fn a_known_value_is_known_by_its_digest_which_is_not_shown() {
        let key = [7; 32];
        let digest = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), b"1357");
        let keyed = KeyedDigest::new(key, digest.as_ref().try_into().unwrap());
        check(Check::Keyed(keyed), &["1357"], &["1358", "135", "13570", ""]);
        check(Check::Keyed(KeyedDigest::new([8; 32], keyed.digest)), &[], &["1357"]);
        assert_eq!(format!("{:?}", Check::Keyed(keyed)), "Keyed(KeyedDigest)");
    }

    #[test]
    fn the_digest_is_that_of_the_standard() {
        // RFC 4231 section 4.3 has a shorter key: zeros behind it make no difference to HMAC.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let digest = [
            0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95,
            0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9,
            0x64, 0xec, 0x38, 0x43,
        ];
        let keyed = KeyedDigest::new(key, digest);
        assert!(keyed.is_of(b"what do ya want for nothing?"));
    }
}
