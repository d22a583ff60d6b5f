//! Card numbers: the check digit, the lengths and the brands.

use crate::brand::{Brand, BrandSet};
use crate::field::FieldError;
use crate::lengths::Lengths;

/// The lengths of a card number of no known brand (ISO/IEC 7812-1; in use are 12 to 19).
const ANY: Lengths = Lengths::between(12, 19);

/// The lengths the finished number can have, by what has been keyed of it.
pub(crate) fn lengths(number: &[u8], allowed: BrandSet) -> Lengths {
    let issuing = BrandSet::issuing(number, allowed);
    if issuing.is_empty() {
        return ANY;
    }
    issuing.iter().map(Brand::number_lengths).fold(Lengths::NONE, Lengths::or)
}

/// Judges a number (ASCII digits) against the brands a plan allows.
///
/// A number that several brands may have issued is accepted if one of them is allowed, but then
/// only with a right check digit.
pub(crate) fn judge(number: &[u8], allowed: BrandSet) -> Result<(), FieldError> {
    let issuing = BrandSet::issuing(number, allowed);
    let checked = has_check_digit(number);
    if number.iter().all(|&digit| digit == b'0') {
        return Err(FieldError::InvalidCardNumber);
    }
    if issuing.is_empty() {
        let well_formed = checked && ANY.contains(number.len());
        return Err(if well_formed {
            FieldError::InvalidCardType
        } else {
            FieldError::InvalidCardNumber
        });
    }
    let unchecked = issuing.sole().is_some_and(|brand| !brand.has_check_digit());
    let mut candidates = issuing
        .iter()
        .filter(|brand| brand.number_lengths().contains(number.len()) && (checked || unchecked))
        .peekable();
    if candidates.peek().is_none() {
        return Err(FieldError::InvalidCardNumber);
    }
    if candidates.any(|brand| allowed.contains(brand)) {
        Ok(())
    } else {
        Err(FieldError::InvalidCardType)
    }
}

/// The Luhn check (ISO/IEC 7812-1 annex B): every second digit from the right is doubled.
fn has_check_digit(number: &[u8]) -> bool {
    let sum: u32 = number.iter().rev().enumerate().map(weigh).sum();
    sum.is_multiple_of(10)
}

fn weigh((place, digit): (usize, &u8)) -> u32 {
    let value = u32::from(digit.saturating_sub(b'0'));
    match (place % 2 == 0, value) {
        (true, value) => value,
        (false, 0..=4) => value * 2,
        // The digits of 10 to 18 add up to the number less nine.
        (false, _) => value * 2 - 9,
    }
}

#[cfg(test)]
mod tests {
    use super::{judge, lengths};
    use crate::brand::{Brand, BrandSet};
    use crate::field::FieldError;

    /// Published test numbers and the brand this crate takes them for.
    const PUBLISHED: [(Brand, &[&str]); 16] = [
        (
            Brand::Visa,
            &["4111111111111111", "4242424242424242", "4012888888881881", "4222222222222"],
        ),
        (
            Brand::Mastercard,
            &[
                "5555555555554444",
                "5105105105105100",
                "2223003122003222",
                "2223000048400011",
                "2720990000000007",
                "2221000000000009",
            ],
        ),
        (Brand::Amex, &["378282246310005", "371449635398431", "378734493671000"]),
        // The last one is BCcard's, which has no range of its own.
        (Brand::Discover, &["6011111111111117", "6011000990139424", "6555900000604105"]),
        (
            Brand::DinersClub,
            &["30569309025904", "38520000023237", "36227206271667", "3056930009020004"],
        ),
        (Brand::Jcb, &["3530111333300000", "3566002020360505"]),
        (Brand::UnionPay, &["6200000000000005", "6205500000000000004", "6243030000000001"]),
        // The last one is published as Verve's, but lies in none of the ranges known for it.
        (
            Brand::Maestro,
            &["6759649826438453", "6771798021000008", "6304000000000000", "5060666666666666666"],
        ),
        (Brand::Elo, &["5066991111111118", "6362970000457013"]),
        (Brand::Hipercard, &["6062828888666688"]),
        (Brand::Mir, &["2200770212727079", "2200000000000004"]),
        (Brand::Troy, &["9792030394440796"]),
        (Brand::Verve, &["5060990580000217499", "5061460410120223210"]),
        // RuPay's, where no plan asks for RuPay.
        (Brand::Maestro, &["6073849700004947"]),
        (Brand::Hiper, &[]),
        (Brand::Naranja, &[]),
    ];

    #[test]
    fn published_numbers_pass_as_their_brand_and_no_other() {
        for (brand, numbers) in PUBLISHED {
            for number in numbers.iter().map(|number| number.as_bytes()) {
                let sole = BrandSet::issuing(number, BrandSet::COMMON).sole();
                assert_eq!(sole, Some(brand));
                assert_eq!(judge(number, BrandSet::COMMON), Ok(()));
                assert_eq!(judge(number, BrandSet::NONE.with(brand)), Ok(()));
                let other = if brand == Brand::Visa { Brand::Amex } else { Brand::Visa };
                let refused = judge(number, BrandSet::NONE.with(other));
                assert_eq!(refused, Err(FieldError::InvalidCardType));
                assert!(lengths(number, BrandSet::COMMON).contains(number.len()));
            }
        }
    }

    #[test]
    fn one_wrong_digit_is_found_in_every_published_number_of_a_checked_brand() {
        for (brand, numbers) in PUBLISHED {
            for number in numbers.iter().filter(|_| brand.has_check_digit()) {
                let mut wrong = number.as_bytes().to_vec();
                let last = wrong.last_mut().unwrap();
                *last = b'0' + (*last - b'0' + 1) % 10;
                assert_eq!(judge(&wrong, BrandSet::COMMON), Err(FieldError::InvalidCardNumber));
            }
        }
    }

    #[test]
    fn numbers_with_a_wrong_check_digit_or_of_zeros_are_refused() {
        for number in [
            "3065930009020004",
            "6521111111111117",
            "5895627823453005",
            "9792000000000001",
            "0000000000000000",
            "000000000000",
            "",
        ] {
            let refused = judge(number.as_bytes(), BrandSet::COMMON);
            assert_eq!(refused, Err(FieldError::InvalidCardNumber), "{number}");
        }
    }

    #[test]
    fn the_check_digit_of_union_pay_is_not_asked_for() {
        assert_eq!(judge(b"6200000000000006", BrandSet::COMMON), Ok(()));
        assert_eq!(
            judge(b"6200000000006", BrandSet::COMMON),
            Err(FieldError::InvalidCardNumber),
            "its length is"
        );
    }

    #[test]
    fn an_unknown_prefix_is_a_wrong_type_if_the_number_is_right() {
        assert_eq!(judge(b"9999999999999995", BrandSet::COMMON), Err(FieldError::InvalidCardType));
        let wrong = judge(b"9999999999999994", BrandSet::COMMON);
        assert_eq!(wrong, Err(FieldError::InvalidCardNumber));
    }

    #[test]
    fn a_tie_passes_with_a_check_digit_if_either_brand_is_allowed() {
        let rupay = BrandSet::NONE.with(Brand::RuPay);
        assert_eq!(judge(b"6521111111111117", rupay), Err(FieldError::InvalidCardNumber));
        assert_eq!(judge(b"6521111111111111", rupay), Err(FieldError::InvalidCardNumber));
        assert_eq!(judge(b"6555900000604105", rupay), Ok(()));
        assert_eq!(judge(b"6073849700004947", rupay), Ok(()));
    }

    #[test]
    fn lengths_narrow_down_as_the_number_is_keyed() {
        let lengths = |number: &[u8]| lengths(number, BrandSet::COMMON);
        assert!(lengths(b"").contains(12) && lengths(b"").contains(19));
        assert!(lengths(b"37").is_only(15));
        assert!(lengths(b"55").is_only(16));
        assert!(!lengths(b"4").is_only(16) && lengths(b"4").contains(16));
        assert!(lengths(b"401178").is_only(16), "Elo, inside Visa's range");
    }
}
