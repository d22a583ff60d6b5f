//! Time: the wall clock's, in milliseconds and UTC, written as RFC 3339 has it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Seconds in a day; UTC as computers count it has no leap seconds.
const DAY_SECONDS: u64 = 86_400;
/// Days from 1 March of year 0 to 1 January 1970.
const DAYS_TO_1970: u64 = 719_468;
/// Days of 400 years.
const ERA_DAYS: u64 = 146_097;
/// The last millisecond of the year 9999, behind which RFC 3339 has no form.
const LAST: u64 = 253_402_300_799_999;
/// What a time looks like; `0` stands for any digit.
const SHAPE: &[u8; 24] = b"0000-00-00T00:00:00.000Z";

/// Milliseconds since 1970, UTC. It is always an argument: this crate reads no clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Time(u64);

impl Time {
    /// The time that many milliseconds after the start of 1970, or the end of the year 9999.
    #[must_use]
    pub const fn from_unix_ms(milliseconds: u64) -> Time {
        Time(if milliseconds > LAST { LAST } else { milliseconds })
    }

    /// Milliseconds since the start of 1970.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// How far two times are apart, whichever is first: wall clocks are also set back.
    #[must_use]
    pub const fn apart(self, other: Time) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }

    /// Reads the one form in which times are written.
    #[must_use]
    pub fn read(text: &str) -> Option<Time> {
        let octets: &[u8; 24] = text.as_bytes().try_into().ok()?;
        let fits = octets.iter().zip(SHAPE).all(|(octet, shape)| match shape {
            b'0' => octet.is_ascii_digit(),
            other => octet == other,
        });
        if !fits {
            return None;
        }
        let number = |from: usize, to: usize| {
            octets[from..to].iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
        };
        let days = days_since_1970(number(0, 4), number(5, 7), number(8, 10))?;
        let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
        let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second;
        let time = Time::from_unix_ms(seconds * 1000 + number(20, 23));
        // The 31st of February and the 25th hour come out as another time.
        (time.to_string() == text).then_some(time)
    }

    /// Year, month and day. Counts from 1 March of year 0, so that the leap day is the last of its
    /// year.
    fn date(self) -> (u64, u64, u64) {
        let days = self.0 / 1000 / DAY_SECONDS + DAYS_TO_1970;
        let (era, day) = (days / ERA_DAYS, days % ERA_DAYS);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year + year / 4 - year / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day_of_month = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        (era * 400 + year + u64::from(month <= 2), month, day_of_month)
    }
}

/// The inverse of [`Time::date`]; `None` before 1970.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day);
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + day.checked_sub(1)?;
    let of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + day_of_year;
    in_range.then_some(())?;
    (year / 400 * ERA_DAYS + of_era).checked_sub(DAYS_TO_1970)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let second = self.0 / 1000 % DAY_SECONDS;
        let (hour, minute, second, milli) =
            (second / 3600, second / 60 % 60, second % 60, self.0 % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        crate::words::read_with(deserializer, Time::read)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LAST, Time};

    #[test]
    fn times_are_written_as_rfc_3339_has_them_and_read_back() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800_123, "2024-02-29T00:00:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (LAST, "9999-12-31T23:59:59.999Z"),
        ];
        for (milliseconds, written) in cases {
            assert_eq!(Time(milliseconds).to_string(), written);
            assert_eq!(Time::read(written), Some(Time(milliseconds)));
        }
        assert_eq!(Time::from_unix_ms(u64::MAX), Time(LAST));
    }

    #[test]
    fn each_day_is_read_back() {
        for day in 0..60_000 {
            let time = Time(day * 86_400_000 + day * 7919 % 86_400_000);
            assert_eq!(Time::read(&time.to_string()), Some(time));
        }
    }

    #[test]
    fn nothing_else_is_a_time() {
        let bad = [
            "",
            "1969-12-31T23:59:59.999Z",
            "0000-01-01T00:00:00.000Z",
            "2023-02-29T00:00:00.000Z",
            "2024-02-30T00:00:00.000Z",
            "2024-13-01T00:00:00.000Z",
            "2024-00-01T00:00:00.000Z",
            "2024-01-00T00:00:00.000Z",
            "2024-01-01T24:00:00.000Z",
            "2024-01-01T00:60:00.000Z",
            "2024-01-01T00:00:60.000Z",
            "2024-01-01t00:00:00.000z",
            "2024-01-01T00:00:00Z",
            "2024-01-01T00:00:00.000+00:00",
            "+024-01-01T00:00:00.000Z",
            "99999-12-31T23:59:59.99Z",
        ];
        for text in bad {
            assert_eq!(Time::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_is_as_far_away() {
        assert_eq!(Time(5_000).apart(Time(2_000)), Duration::from_secs(3));
        assert_eq!(Time(2_000).apart(Time(5_000)), Duration::from_secs(3));
    }
}
