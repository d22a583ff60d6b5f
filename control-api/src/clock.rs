//! Clock: the one reader of the wall clock, and how its time is written.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Seconds in a day; UTC as computers count it has no leap seconds.
const DAY_SECONDS: u64 = 86_400;

/// Milliseconds since 1970, UTC; written as RFC 3339 has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Timestamp(u64);

/// A day of the Gregorian calendar, UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Day {
    /// From 1970.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// The monotonic clock's time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one reader of time in this crate")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// The wall clock's time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// The wall clock's time at a recent `instant` of the monotonic clock.
#[must_use]
pub fn at(instant: Instant) -> Timestamp {
    let ago = monotonic().saturating_duration_since(instant);
    now().before(ago)
}

/// The wall clock's time since 1970.
#[must_use]
pub fn unix_time() -> Duration {
    Duration::from_millis(now().0)
}

impl Timestamp {
    /// The time that many milliseconds after the start of 1970, UTC.
    #[must_use]
    pub const fn from_unix_ms(milliseconds: u64) -> Timestamp {
        Timestamp(milliseconds)
    }

    /// Milliseconds since the start of 1970, UTC.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// The time `later`.
    #[must_use]
    pub fn after(self, later: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(u64::try_from(later.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long it is until `then`; zero if that is past.
    #[must_use]
    pub fn until(self, then: Timestamp) -> Duration {
        Duration::from_millis(then.0.saturating_sub(self.0))
    }

    /// A time since 1970.
    #[must_use]
    pub fn from_unix(time: Duration) -> Timestamp {
        Timestamp(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    /// The time `ago` earlier.
    #[must_use]
    pub fn before(self, ago: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time without its fraction of a second.
    #[must_use]
    pub fn whole_seconds(self) -> Timestamp {
        Timestamp(self.0 / 1000 * 1000)
    }

    /// The day it falls on, UTC.
    ///
    /// Counts from 1 March of year 0, so that the leap day is the last of its year; eras of
    /// 400 years all have 146,097 days.
    #[must_use]
    pub fn day(self) -> Day {
        let days = self.0 / 1000 / DAY_SECONDS + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Day {
            year: u16::try_from(year).unwrap_or(u16::MAX),
            month: u8::try_from(month).unwrap_or(1),
            day: u8::try_from(day).unwrap_or(1),
        }
    }
}

impl Timestamp {
    /// Reads a day (`2026-12-31`, its beginning) or a time as RFC 3339 has it, in UTC.
    #[must_use]
    pub fn parse(text: &str) -> Option<Timestamp> {
        let (day, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
        let milliseconds = milliseconds_of(time.strip_suffix('Z')?)?;
        Some(Timestamp(days_before(day)? * DAY_SECONDS * 1000 + milliseconds))
    }
}

/// Days from 1970 to a day that is written as `2026-12-31`.
///
/// The inverse of [`Timestamp::day`], by which it is checked: so no day that is none is taken.
fn days_before(text: &str) -> Option<u64> {
    let mut parts = [0; 3];
    let mut words = text.split('-');
    for (part, length) in parts.iter_mut().zip([4, 2, 2]) {
        *part = number(words.next()?, length)?;
    }
    let [year, month, day] = parts;
    if words.next().is_some() || year < 1970 || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let year_from_march = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year_from_march / 400, year_from_march % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100
        + day_of_year
        - 719_468;
    let found = Timestamp(days * DAY_SECONDS * 1000).day();
    let same = (u64::from(found.month), u64::from(found.day)) == (month, day);
    same.then_some(days)
}

/// Milliseconds from midnight to a time that is written as `23:59:59` or `23:59:59.123`.
fn milliseconds_of(text: &str) -> Option<u64> {
    let (text, fraction) = text.split_once('.').unwrap_or((text, "000"));
    let mut words = text.split(':');
    let mut seconds = 0;
    for bound in [24, 60, 60] {
        let part = number(words.next()?, 2).filter(|part| *part < bound)?;
        seconds = seconds * 60 + part;
    }
    let milliseconds = number(fraction, 3)?;
    words.next().is_none().then_some(seconds * 1000 + milliseconds)
}

/// A number of so many digits, and nothing else.
fn number(text: &str, length: usize) -> Option<u64> {
    let is_number = text.len() == length && text.bytes().all(|octet| octet.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("must be a time such as 2026-12-31T23:59:59Z");
        Timestamp::parse(&text).ok_or_else(wrong)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Day { year, month, day } = self.day();
        let second = self.0 / 1000 % DAY_SECONDS;
        let (hour, minute, second, milli) =
            (second / 3600, second / 60 % 60, second % 60, self.0 % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{Day, Timestamp};

    #[test]
    fn times_are_written_as_rfc_3339_has_them() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800_123, "2024-02-29T00:00:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (milliseconds, written) in cases {
            assert_eq!(Timestamp(milliseconds).to_string(), written);
            assert_eq!(Timestamp::parse(written), Some(Timestamp(milliseconds)));
        }
    }

    #[test]
    fn days_and_times_are_read_and_what_is_neither_is_not() {
        assert_eq!(Timestamp::parse("2000-02-29"), Timestamp::parse("2000-02-29T00:00:00Z"));
        for day in (0..60_000).map(|number| Timestamp(number * 86_400_000)) {
            assert_eq!(Timestamp::parse(&day.to_string()), Some(day));
        }
        let wrong = [
            "",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-04-31",
            "1969-12-31",
            "2026-1-01",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:00",
            "2026-01-00",
            "2026-01-01T00:00:00.1Z",
            "2026-01-01T00:00:00+01:00",
            "+026-01-01",
            "2026-01-01-01",
        ];
        for wrong in wrong {
            assert_eq!(Timestamp::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn days_follow_one_another() {
        let mut before = Timestamp(0).day();
        for number in 1..60_000u64 {
            let day = Timestamp(number * 86_400_000).day();
            let next = Day { day: before.day + 1, ..before };
            let turns = day.day == 1 && before.day >= 28;
            assert!(day == next || turns, "{before:?} is followed by {day:?}");
            before = day;
        }
    }
}
