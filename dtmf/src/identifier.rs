//! Identifiers: the rules of numbers that banks, states and health services give out.

use crate::check::{luhn_sum, mod11, value};

/// Social security numbers that were printed in advertisements and are nobody's.
const VOID_SOCIAL_SECURITY_NUMBERS: [&[u8]; 2] = [b"078051120", b"219099999"];

/// A bank routing number of the United States (ABA): nine digits, weighted 3, 7, 1 to a multiple
/// of ten, that begin with a Federal Reserve district's number.
pub(crate) fn is_bank_routing_number(entry: &[u8]) -> bool {
    let &[a, b, ..] = entry else { return false };
    let weights = [3, 7, 1].into_iter().cycle();
    let sum: u32 = entry.iter().zip(weights).map(|(digit, weight)| value(*digit) * weight).sum();
    let district = value(a) * 10 + value(b);
    let is_given = matches!(district, 0..=12 | 21..=32 | 61..=72 | 80);
    entry.len() == 9 && is_given && sum.is_multiple_of(10) && !is_zero(entry)
}

/// A social security number of the United States: area, group and serial number, none of them
/// zero, and no area that is not given out.
pub(crate) fn is_social_security_number(entry: &[u8]) -> bool {
    if entry.len() != 9 || VOID_SOCIAL_SECURITY_NUMBERS.contains(&entry) {
        return false;
    }
    let (area, group, serial) = (&entry[..3], &entry[3..5], &entry[5..]);
    let is_given = !is_zero(area) && area != b"666" && area[0] != b'9';
    is_given && !is_zero(group) && !is_zero(serial)
}

/// An individual taxpayer identification number of the United States: a nine first, and in the
/// fourth and fifth place one of the groups given out.
pub(crate) fn is_individual_taxpayer_number(entry: &[u8]) -> bool {
    let &[b'9', _, _, tens, ones, _, _, _, _] = entry else { return false };
    matches!(value(tens) * 10 + value(ones), 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

/// A social insurance number of Canada: nine digits with a Luhn check digit, the first of them
/// neither zero nor eight.
pub(crate) fn is_social_insurance_number(entry: &[u8]) -> bool {
    entry.len() == 9 && !matches!(entry[0], b'0' | b'8') && luhn_sum(entry).is_multiple_of(10)
}

/// A number of the National Health Service of the United Kingdom: ten digits, modulo eleven.
pub(crate) fn is_nhs_number(entry: &[u8]) -> bool {
    entry.len() == 10 && mod11(entry) && !is_zero(entry)
}

/// A national provider identifier of the United States: ten digits with the Luhn check digit of
/// the whole card number 80840 and these ten (45 CFR 162.406).
pub(crate) fn is_national_provider_identifier(entry: &[u8]) -> bool {
    /// What 80840 in front of ten digits adds to their Luhn sum.
    const ISSUER: u32 = 24;
    entry.len() == 10 && (luhn_sum(entry) + ISSUER).is_multiple_of(10)
}

/// Whether a code is one that is guessed first: the same digit throughout, or each the next or
/// the previous of the one before, nine and zero being neighbours as on the keypad.
pub(crate) fn is_trivial(code: &[u8]) -> bool {
    let step = |pair: &[u8]| (value(pair[1]) + 10 - value(pair[0])) % 10;
    [0, 1, 9].into_iter().any(|wanted| code.windows(2).all(|pair| step(pair) == wanted))
}

fn is_zero(digits: &[u8]) -> bool {
    digits.iter().all(|&digit| digit == b'0')
}
