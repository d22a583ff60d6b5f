//! Dates: expiration dates, keyed as four digits, and dates of birth, keyed as eight.

use crate::check::value;

/// Cards are issued for a few years; what expires later than this was mistyped.
const MAX_MONTHS_AHEAD: i32 = 20 * 12;
/// Nobody is older, in years.
const MAX_AGE: u32 = 120;

/// The order in which a date of birth is keyed: two digits for the day and the month, four for the
/// year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateOrder {
    /// As in the United States.
    MonthDayYear,
    /// As in most of the world.
    DayMonthYear,
    /// As in ISO 8601.
    YearMonthDay,
}

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

    /// Year, month and day of the day after this one.
    fn next_day(self) -> (u32, u32, u32) {
        let (year, month, day) = (self.year.into(), self.month.into(), u32::from(self.day));
        if self.day < days_of(self.year, self.month) {
            (year, month, day + 1)
        } else if month < 12 {
            (year, month + 1, 1)
        } else {
            (year + 1, 1, 1)
        }
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
pub(crate) fn is_good(entry: &[u8], today: Date) -> bool {
    let &[month_tens, month_ones, year_tens, year_ones] = entry else { return false };
    let month = number(month_tens, month_ones);
    if !(1..=12).contains(&month) {
        return false;
    }
    let years_ahead = number(year_tens, year_ones) - i32::from(today.year % 100);
    let years_ahead = (years_ahead + 50).rem_euclid(100) - 50;
    let expires = (i32::from(today.year) + years_ahead) * 12 + month - 1;
    let first_good = if today.day == 1 { today.months() - 1 } else { today.months() };
    (first_good..=today.months() + MAX_MONTHS_AHEAD).contains(&expires)
}

/// Judges a date of birth (ASCII digits): a day that existed, not after today, or tomorrow, which
/// it may be where the caller is, and no more than [`MAX_AGE`] years of age.
pub(crate) fn is_birth(entry: &[u8], order: DateOrder, today: Date) -> bool {
    if entry.len() != 8 {
        return false;
    }
    let (year, month, day) = match order {
        DateOrder::MonthDayYear => (&entry[4..], &entry[..2], &entry[2..4]),
        DateOrder::DayMonthYear => (&entry[4..], &entry[2..4], &entry[..2]),
        DateOrder::YearMonthDay => (&entry[..4], &entry[4..6], &entry[6..]),
    };
    let [year, month, day] = [year, month, day].map(spelled);
    let exists = u8::try_from(month)
        .is_ok_and(|month| (1..=u32::from(days_of(year as u16, month))).contains(&day));
    let born = (year, month, day);
    let now = (u32::from(today.year), u32::from(today.month), u32::from(today.day));
    let had_birthday = (now.1, now.2) >= (month, day);
    let age = now.0.saturating_sub(year).saturating_sub(u32::from(!had_birthday));
    exists && born <= today.next_day() && age <= MAX_AGE
}

/// The number that up to four ASCII digits spell.
fn spelled(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, digit| number * 10 + value(*digit))
}

fn number(tens: u8, ones: u8) -> i32 {
    i32::from(tens.saturating_sub(b'0')) * 10 + i32::from(ones.saturating_sub(b'0'))
}

#[cfg(test)]
mod tests {
    use super::{Date, DateOrder, is_birth, is_good};

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

    #[test]
    fn a_birth_lies_on_a_day_that_existed_and_not_too_far_back() {
        let today = Date::new(2026, 8, 31).unwrap();
        for (entry, good) in [
            ("20260831", true),
            ("20260901", true),
            ("20260902", false),
            ("20270101", false),
            ("19060831", true),
            ("19050901", true),
            ("19050831", false),
            ("20000229", true),
            ("19000229", false),
            ("19990431", false),
            ("19990010", false),
            ("19991301", false),
            ("19990100", false),
            ("1999123", false),
            ("199912311", false),
            ("", false),
        ] {
            let order = DateOrder::YearMonthDay;
            assert_eq!(is_birth(entry.as_bytes(), order, today), good, "{entry}");
        }
        let new_year = Date::new(2026, 12, 31).unwrap();
        assert!(is_birth(b"20270101", DateOrder::YearMonthDay, new_year));
        assert!(!is_birth(b"20270102", DateOrder::YearMonthDay, new_year));
    }

    #[test]
    fn a_birth_is_read_in_its_order() {
        let today = Date::new(2026, 8, 31).unwrap();
        for (order, good, bad) in [
            (DateOrder::MonthDayYear, b"12311999", b"31121999"),
            (DateOrder::DayMonthYear, b"31121999", b"12311999"),
            (DateOrder::YearMonthDay, b"19991231", b"31121999"),
        ] {
            assert!(is_birth(good, order, today) && !is_birth(bad, order, today), "{order:?}");
        }
    }

    fn check((year, month, day): (u16, u8, u8), entry: &str, good: bool) {
        let today = Date::new(year, month, day).unwrap();
        assert_eq!(is_good(entry.as_bytes(), today), good, "{entry} on {today:?}");
    }
}
