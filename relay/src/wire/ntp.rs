//! NTP time: the two formats RTCP carries (RFC 3550 section 4, RFC 5905 section 6).

use std::time::Duration;

/// Seconds from the NTP era (1900) to the Unix era (1970), RFC 5905 appendix A.
const ERA_OFFSET: u64 = 2_208_988_800;

/// A wall-clock instant: 32 bits of seconds since 1900, 32 bits of fraction, wrapping in 2036.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The instant `since_unix_epoch` after the first of January 1970.
    #[must_use]
    pub fn from_unix(since_unix_epoch: Duration) -> Self {
        let seconds = since_unix_epoch.as_secs().wrapping_add(ERA_OFFSET);
        let fraction = (u64::from(since_unix_epoch.subsec_nanos()) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// The instant `span` later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let units = (span.as_nanos() << 32) / 1_000_000_000;
        Self(self.0.wrapping_add(units as u64))
    }

    /// The middle 32 bits, as a report block echoes them (LSR, RFC 3550 section 6.4.1).
    #[must_use]
    pub fn short(self) -> NtpShort {
        NtpShort((self.0 >> 16) as u32)
    }
}

/// The short format, in 1/65536 s, wrapping after 18 hours: an instant (LSR) or a span (DLSR).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NtpShort(pub u32);

impl NtpShort {
    /// A span of time, for the delay since the last sender report. Saturates at 18 hours.
    #[must_use]
    pub fn from_duration(span: Duration) -> Self {
        let units = (span.as_nanos() << 16) / 1_000_000_000;
        Self(u32::try_from(units).unwrap_or(u32::MAX))
    }

    /// The span in ordinary units.
    #[must_use]
    pub fn to_duration(self) -> Duration {
        Duration::from_nanos((u64::from(self.0) * 1_000_000_000) >> 16)
    }
}

/// Round trip by RFC 3550 section 6.4.1: arrival of the report, less its LSR, less its DLSR.
///
/// `None` when the peer has not heard a sender report yet (LSR zero) or its figures contradict
/// the clock, which a forged or confused report does.
#[must_use]
pub fn round_trip(
    arrival: NtpTime,
    last_sender_report: NtpShort,
    delay: NtpShort,
) -> Option<Duration> {
    if last_sender_report == NtpShort(0) {
        return None;
    }
    let span = arrival.short().0.wrapping_sub(last_sender_report.0).wrapping_sub(delay.0);
    // The upper half of the circle is the negative half.
    (span < 1 << 31).then(|| NtpShort(span).to_duration())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_epoch_and_fraction() {
        assert_eq!(NtpTime::from_unix(Duration::ZERO), NtpTime(0x83aa_7e80_0000_0000));
        assert_eq!(NtpTime::from_unix(Duration::from_millis(500)), NtpTime(0x83aa_7e80_8000_0000));
    }

    /// The worked example of RFC 3550 figure 2: 6.125 s of round trip.
    #[test]
    fn worked_example_of_the_rfc() {
        let arrival = NtpTime(0x0000_b710_8000_0000);
        let round_trip = round_trip(arrival, NtpShort(0xb705_2000), NtpShort(0x0005_4000));
        assert_eq!(round_trip, Some(Duration::from_millis(6_125)));
    }

    #[test]
    fn no_round_trip_from_nonsense() {
        let arrival = NtpTime(0x0000_b710_8000_0000);
        assert_eq!(round_trip(arrival, NtpShort(0), NtpShort(0)), None);
        assert_eq!(round_trip(arrival, NtpShort(0xb705_2000), NtpShort(0x00ff_0000)), None);
        assert_eq!(round_trip(arrival, NtpShort(0xb710_8001), NtpShort(0)), None);
    }

    #[test]
    fn spans_saturate() {
        assert_eq!(NtpShort::from_duration(Duration::from_millis(1_500)), NtpShort(0x0001_8000));
        assert_eq!(NtpShort::from_duration(Duration::from_secs(65_536)), NtpShort(u32::MAX));
        assert_eq!(NtpShort(0x0001_8000).to_duration(), Duration::from_millis(1_500));
    }
}
