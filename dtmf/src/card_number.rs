//! Card numbers: the check digit, the lengths and the brands.

use crate::brand::{Brand, BrandSet};
use crate::check::luhn;
use crate::field::Known;
use crate::field_error::FieldError;
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
pub(crate) fn judge(number: &[u8], allowed: BrandSet, known: Known) -> Result<(), FieldError> {
    let issuing = BrandSet::issuing(number, allowed);
    let checked = luhn(number);
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
    let unchecked = issuing.sole().is_some_and(|brand| !is_checked(brand, known));
    let mut candidates = issuing
        .iter()
        .filter(|brand| brand.number_lengths().contains(number.len()) && (checked || unchecked))
        .peekable();
    if candidates.peek().is_none() {
        return Err(FieldError::InvalidCardNumber);
    }
    if !candidates.any(|brand| allowed.contains(brand)) {
        return Err(FieldError::InvalidCardType);
    }
    if known.card_mode.takes(number) { Ok(()) } else { Err(FieldError::InvalidCardNumber) }
}

/// Whether a number of this brand must have a right check digit under this plan.
fn is_checked(brand: Brand, known: Known) -> bool {
    brand.has_check_digit() || (brand == Brand::UnionPay && known.luhn_unionpay)
}

#[cfg(test)]
mod tests {
    use super::{judge, lengths};
    use crate::brand::{Brand, BrandSet};
    use crate::card_mode::{CardMode, PUBLISHED};
    use crate::expiry::Date;
    use crate::field::Known;
    use crate::field_error::FieldError;

    /// Numbers that documents give for test numbers, with a wrong check digit.
    const NOT_NUMBERS: [&str; 4] =
        ["3065930009020004", "6521111111111117", "5895627823453005", "9792000000000001"];

    const TEST: Known = known(CardMode::Test);
    const LIVE: Known = known(CardMode::Live);

    const fn known(card_mode: CardMode) -> Known {
        let Some(today) = Date::new(2026, 8, 15) else { panic!("a date that exists") };
        Known { today, card_mode, luhn_unionpay: false, issuer: None }
    }

    #[test]
    fn published_numbers_pass_as_their_brand_and_no_other() {
        for (brand, numbers) in PUBLISHED {
            for number in numbers.iter().map(|number| number.as_bytes()) {
                let sole = BrandSet::issuing(number, BrandSet::COMMON).sole();
                assert_eq!(sole, Some(brand));
                assert_eq!(judge(number, BrandSet::COMMON, TEST), Ok(()));
                assert_eq!(judge(number, BrandSet::NONE.with(brand), TEST), Ok(()));
                let other = if brand == Brand::Visa { Brand::Amex } else { Brand::Visa };
                let refused = judge(number, BrandSet::NONE.with(other), TEST);
                assert_eq!(refused, Err(FieldError::InvalidCardType));
                assert!(lengths(number, BrandSet::COMMON).contains(number.len()));
            }
        }
    }

    #[test]
    fn test_cards_and_live_cards_are_taken_for_each_other_nowhere() {
        for number in PUBLISHED.iter().flat_map(|(_, numbers)| *numbers) {
            let refused = judge(number.as_bytes(), BrandSet::COMMON, LIVE);
            assert_eq!(refused, Err(FieldError::InvalidCardNumber), "{number}");
        }
        // It is well formed and nobody's.
        let live = b"4000000000000002";
        assert_eq!(judge(live, BrandSet::COMMON, LIVE), Ok(()));
        assert_eq!(judge(live, BrandSet::COMMON, TEST), Err(FieldError::InvalidCardNumber));
    }

    #[test]
    fn one_wrong_digit_is_found_in_every_published_number_of_a_checked_brand() {
        for (brand, numbers) in PUBLISHED {
            for number in numbers.iter().filter(|_| brand.has_check_digit()) {
                let mut wrong = number.as_bytes().to_vec();
                let last = wrong.last_mut().unwrap();
                *last = b'0' + (*last - b'0' + 1) % 10;
                assert_eq!(
                    judge(&wrong, BrandSet::COMMON, LIVE),
                    Err(FieldError::InvalidCardNumber)
                );
            }
        }
    }

    #[test]
    fn numbers_with_a_wrong_check_digit_or_of_zeros_are_refused() {
        let zeros = ["0000000000000000", "000000000000", ""];
        for number in NOT_NUMBERS.into_iter().chain(zeros) {
            let refused = judge(number.as_bytes(), BrandSet::COMMON, LIVE);
            assert_eq!(refused, Err(FieldError::InvalidCardNumber), "{number}");
        }
    }

    #[test]
    fn the_check_digit_of_union_pay_is_asked_for_by_plans_that_say_so() {
        let (wrong, strict) = (b"6200000000000006", Known { luhn_unionpay: true, ..LIVE });
        assert_eq!(judge(wrong, BrandSet::COMMON, LIVE), Ok(()));
        let refused = Err(FieldError::InvalidCardNumber);
        assert_eq!(judge(wrong, BrandSet::COMMON, strict), refused);
        assert_eq!(judge(b"6200000000006", BrandSet::COMMON, LIVE), refused, "its length is");
        let strict = Known { card_mode: CardMode::Test, ..strict };
        assert_eq!(judge(b"6200000000000005", BrandSet::COMMON, strict), Ok(()));
    }

    #[test]
    fn an_unknown_prefix_is_a_wrong_type_if_the_number_is_right() {
        let judge = |number: &[u8]| judge(number, BrandSet::COMMON, LIVE);
        assert_eq!(judge(b"9999999999999995"), Err(FieldError::InvalidCardType));
        assert_eq!(judge(b"9999999999999994"), Err(FieldError::InvalidCardNumber));
    }

    #[test]
    fn a_tie_passes_with_a_check_digit_if_either_brand_is_allowed() {
        let judge = |number: &[u8]| judge(number, BrandSet::NONE.with(Brand::RuPay), TEST);
        assert_eq!(judge(b"6521111111111117"), Err(FieldError::InvalidCardNumber));
        assert_eq!(judge(b"6521111111111111"), Err(FieldError::InvalidCardNumber));
        assert_eq!(judge(b"6555900000604105"), Ok(()));
        assert_eq!(judge(b"6073849700004947"), Ok(()));
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
