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

#[cfg(test)]
mod tests {
    use super::{
        is_bank_routing_number, is_individual_taxpayer_number, is_national_provider_identifier,
        is_nhs_number, is_social_insurance_number, is_social_security_number, is_trivial,
    };

    fn check(rule: fn(&[u8]) -> bool, pass: &[&str], fail: &[&str]) {
        for entry in pass {
            assert!(rule(entry.as_bytes()), "{entry}");
        }
        for entry in fail.iter().chain(&["", "1", "12345678901"]) {
            assert!(!rule(entry.as_bytes()), "{entry}");
        }
    }

    #[test]
    fn bank_routing_numbers() {
        check(
            is_bank_routing_number,
            &["021000021", "110000000", "122105155", "322271627"],
            // A wrong digit, two swapped, two districts that are none, and none at all.
            &["021000022", "201000021", "130000000", "820000003", "000000000", "02100002"],
        );
    }

    #[test]
    fn social_security_numbers() {
        check(
            is_social_security_number,
            &["001010001", "665990001", "667123456", "899999999", "123456789"],
            &[
                "000123456",
                "666123456",
                "900123456",
                "999999999",
                "123006789",
                "123450000",
                "078051120",
                "219099999",
                "987654320",
                "987654329",
                "12345678",
            ],
        );
    }

    #[test]
    fn individual_taxpayer_numbers() {
        let good = |group: u32| matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99);
        for group in 0..100 {
            let entry = format!("912{group:02}3456");
            assert_eq!(is_individual_taxpayer_number(entry.as_bytes()), good(group), "{entry}");
        }
        check(is_individual_taxpayer_number, &["900700000"], &["800700000", "9007000000"]);
    }

    #[test]
    fn social_insurance_numbers() {
        let fail = ["046454286", "846454287", "130692545", "13069254"];
        check(is_social_insurance_number, &["130692544", "193456787"], &fail);
    }

    #[test]
    fn nhs_numbers() {
        check(is_nhs_number, &["9434765919"], &["9434765918", "9434765991", "0000000000"]);
    }

    #[test]
    fn national_provider_identifiers() {
        // The one of the standard's own example.
        check(is_national_provider_identifier, &["1234567893"], &["1234567890", "1234567983"]);
    }

    #[test]
    fn trivial_codes() {
        for (code, trivial) in [
            ("0000", true),
            ("1234", true),
            ("67890", true),
            ("4321", true),
            ("0987", true),
            ("1235", false),
            ("1212", false),
            ("1243", false),
        ] {
            assert_eq!(is_trivial(code.as_bytes()), trivial, "{code}");
        }
    }
}
