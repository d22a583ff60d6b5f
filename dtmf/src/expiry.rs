//! Expiration dates, keyed as four digits: month, then year.

use crate::field::FieldError;

/// Cards are issued for a few years; what expires later than this was mistyped.
const MAX_MONTHS_AHEAD: i32 = 20 * 12;

/// A calendar date (Gregorian). The clock is outside: today comes in as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// A date that exists, of the years 2000 to 9999.
    #[must_use]
    pub const fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        if year < 2000 || year > 9999 || day < 1 || day > days_of(year, month) {
            return None;
        }
        Some(Self { year, month, day })
    }

    /// Months since year zero.
    fn months(self) -> i32 {
        i32::from(self.year) * 12 + i32::from(self.month) - 1
    }
}

/// How many days the month has; none if there is no such month.
const fn days_of(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + leap as u8,
        _ => 0,
    }
}

/// Judges `MMYY` (ASCII digits).
///
/// A card is good to the end of its month, and one day longer, because it may still be that month
/// where the caller is. The century is the one that brings the year closest to this year.
pub(crate) fn judge(entry: &[u8], today: Date) -> Result<(), FieldError> {
    let &[month_tens, month_ones, year_tens, year_ones] = entry else {
        return Err(FieldError::InvalidDate);
    };
    let month = number(month_tens, month_ones);
    if !(1..=12).contains(&month) {
        return Err(FieldError::InvalidDate);
    }
    let years_ahead = number(year_tens, year_ones) - i32::from(today.year % 100);
    let years_ahead = (years_ahead + 50).rem_euclid(100) - 50;
    let expires = (i32::from(today.year) + years_ahead) * 12 + month - 1;
    let first_good = if today.day == 1 { today.months() - 1 } else { today.months() };
    let last_good = today.months() + MAX_MONTHS_AHEAD;
    if (first_good..=last_good).contains(&expires) { Ok(()) } else { Err(FieldError::InvalidDate) }
}

fn number(tens: u8, ones: u8) -> i32 {
    i32::from(tens.saturating_sub(b'0')) * 10 + i32::from(ones.saturating_sub(b'0'))
}

#[cfg(test)]
mod tests {
    use super::{Date, judge};

    #[test]
    fn only_dates_that_exist_can_be_made() {
        for (year, month, day) in [(2024, 2, 29), (2000, 2, 29), (2026, 12, 31), (2026, 4, 30)] {
            assert!(Date::new(year, month, day).is_some());
        }
        for (year, month, day) in [
            (2026, 2, 29),
            (2100, 2, 29),
            (2026, 0, 1),
            (2026, 13, 1),
            (2026, 1, 0),
            (2026, 4, 31),
            (1999, 12, 31),
        ] {
            assert!(Date::new(year, month, day).is_none());
        }
    }

    #[test]
    fn a_card_is_good_to_the_end_of_its_month_and_one_day_longer() {
        for (today, entry, good) in [
            ((2026, 8, 31), "0826", true),
            ((2026, 9, 1), "0826", true),
            ((2026, 9, 2), "0826", false),
            ((2026, 9, 1), "0726", false),
            ((2027, 1, 1), "1226", true),
            ((2027, 1, 2), "1226", false),
            ((2027, 1, 1), "1127", true),
            ((2026, 8, 1), "0825", false),
        ] {
            check(today, entry, good);
        }
    }

    #[test]
    fn a_card_is_good_for_twenty_years_at_most() {
        check((2026, 8, 15), "0846", true);
        check((2026, 8, 15), "0946", false);
        check((2026, 1, 1), "0146", true);
        check((2026, 8, 15), "0876", false);
        check((2026, 8, 15), "0877", false);
    }

    #[test]
    fn the_year_may_lie_in_the_next_century() {
        check((2095, 6, 15), "0105", true);
        check((2095, 6, 15), "0594", false);
        check((2100, 1, 1), "1299", true);
        check((2100, 1, 2), "1299", false);
    }

    #[test]
    fn what_is_no_month_and_year_is_refused() {
        for entry in ["0027", "1327", "9927", "", "127", "01270", "012027"] {
            check((2026, 8, 15), entry, false);
        }
        check((2026, 8, 15), "0127", true);
    }

    fn check((year, month, day): (u16, u8, u8), entry: &str, good: bool) {
        let today = Date::new(year, month, day).unwrap();
        assert_eq!(judge(entry.as_bytes(), today).is_ok(), good, "{entry} on {today:?}");
    }
}
