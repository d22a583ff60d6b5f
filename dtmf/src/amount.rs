//! Amounts of money, keyed with a star for the decimal point.

use crate::check::value;
use crate::secret::{MAX_DIGITS, SecretDigits};

/// The largest amount, in minor units of its currency: fifteen digits.
pub const MAX_AMOUNT: u64 = 999_999_999_999_999;
/// The most digits behind the point; no currency has more (ISO 4217).
pub const MAX_DECIMALS: u8 = 4;
/// The most keys of an amount: the digits of the largest and the point.
pub(crate) const MAX_KEYS: u8 = 16;

/// Filling up with zeros never needs more room than there is.
const _: () = assert!((MAX_KEYS + MAX_DECIMALS) as usize <= MAX_DIGITS);

/// Whether the entry (ASCII digits and stars) spells an amount from `min` to `max` minor units.
pub(crate) fn is_amount(entry: &[u8], min: u64, max: u64, decimals: u8) -> bool {
    minor_units(entry, decimals).is_some_and(|amount| (min..=max).contains(&amount))
}

/// Rewrites an entry that is an amount as its number of minor units: without a point, with all
/// its decimals, without needless zeros in front.
pub(crate) fn normalise(entry: &mut SecretDigits, decimals: u8) {
    entry.rewrite(|ascii, count| {
        let point = ascii[..count].iter().position(|&key| key == b'*');
        let (whole, keyed) = point.map_or((count, 0), |point| (point, count - point - 1));
        ascii.copy_within((whole + 1).min(count)..count, whole);
        let count = whole + usize::from(decimals);
        ascii[whole + keyed..count].fill(b'0');
        let needless = ascii[..count].iter().take_while(|&&digit| digit == b'0').count();
        let needless = needless.min(count - 1);
        ascii.copy_within(needless..count, 0);
        count - needless
    });
}

/// The amount in minor units; `None` if the entry has no digit, a second point, too many digits
/// behind it, or too many at all.
fn minor_units(entry: &[u8], decimals: u8) -> Option<u64> {
    if entry.len() > usize::from(MAX_KEYS) {
        return None;
    }
    let mut parts = entry.split(|&key| key == b'*');
    let (whole, fraction) = (parts.next()?, parts.next().unwrap_or_default());
    let missing = usize::from(decimals).checked_sub(fraction.len())?;
    if parts.next().is_some() || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits = whole.iter().chain(fraction).copied().map(value);
    digits
        .chain(std::iter::repeat_n(0, missing))
        .try_fold(0_u64, |amount, digit| amount.checked_mul(10)?.checked_add(u64::from(digit)))
}

#[cfg(test)]
mod tests {
    use super::{MAX_AMOUNT, is_amount, normalise};
    use crate::Digit;
    use crate::secret::SecretDigits;

    #[test]
    fn amounts_are_read_and_rewritten_in_minor_units() {
        for (entry, decimals, minor_units) in [
            ("5", 2, "500"),
            ("5*", 2, "500"),
            ("5*5", 2, "550"),
            ("5*05", 2, "505"),
            ("*05", 2, "5"),
            ("*5", 2, "50"),
            ("0", 2, "0"),
            ("00012*30", 2, "1230"),
            ("0*00", 2, "0"),
            ("7", 0, "7"),
            ("007*", 0, "7"),
            ("1*2345", 4, "12345"),
            ("9999999999999*99", 2, "999999999999999"),
            ("0000000000000001", 4, "10000"),
        ] {
            let amount: u64 = minor_units.parse().unwrap();
            assert!(is_amount(entry.as_bytes(), amount, amount, decimals), "{entry}");
            assert!(!is_amount(entry.as_bytes(), amount + 1, MAX_AMOUNT, decimals), "{entry}");
            let mut digits = SecretDigits::new();
            for key in entry.bytes() {
                digits.push(Digit::from_ascii(key).unwrap()).unwrap();
            }
            normalise(&mut digits, decimals);
            assert!(digits.reveal(|ascii| ascii == minor_units.as_bytes()), "{entry}");
        }
    }

    #[test]
    fn what_spells_no_amount_is_refused() {
        for (entry, decimals) in [
            ("", 2),
            ("*", 2),
            ("**", 2),
            ("1**2", 2),
            ("1*2*", 2),
            ("1*234", 2),
            ("1*2", 0),
            ("9999999999999999", 4),
            ("00000000000000001", 2),
        ] {
            assert!(!is_amount(entry.as_bytes(), 0, MAX_AMOUNT, decimals), "{entry}");
        }
    }
}
