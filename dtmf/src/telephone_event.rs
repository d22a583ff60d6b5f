//! `TelephoneEvent`: one four-octet event report of RFC 4733.
//!
//! ```text
//!  0                   1                   2                   3
//!  |     event     |E|R|  volume   |          duration           |
//! ```

/// Octets of one report (RFC 4733 section 2.3).
pub const REPORT_LENGTH: usize = 4;
/// Reports read from one payload. Their durations add up to at most a few hundred milliseconds
/// of packetisation, so real senders put one or two; what follows is ignored.
const MAX_REPORTS: usize = 8;
/// Set in the final reports of an event.
const END: u8 = 0x80;
/// The volume is six bits.
const VOLUME: u8 = 0x3F;

/// One report about one event (RFC 4733 section 2.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Event code; 0 to 15 are the keys.
    pub event: u8,
    /// The event is over and `duration` is its whole length.
    pub end: bool,
    /// Level of the tone, the sign dropped: 0 to 63 for 0 to -63 dBm0.
    pub volume: u8,
    /// How long the event has lasted, in units of the RTP clock.
    pub duration: u16,
}

impl TelephoneEvent {
    /// The report in four octets.
    #[must_use]
    pub const fn from_octets([event, flags, high, low]: [u8; REPORT_LENGTH]) -> Self {
        Self {
            event,
            end: flags & END != 0,
            volume: flags & VOLUME,
            duration: u16::from_be_bytes([high, low]),
        }
    }

    /// The four octets of the report; a volume above 63 is sent as 63.
    #[must_use]
    pub const fn to_octets(self) -> [u8; REPORT_LENGTH] {
        let volume = if self.volume > VOLUME { VOLUME } else { self.volume };
        let [high, low] = self.duration.to_be_bytes();
        [self.event, if self.end { END | volume } else { volume }, high, low]
    }
}

/// One report of a payload, with where in the payload it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PlacedReport {
    /// The report.
    pub report: TelephoneEvent,
    /// Units of the RTP clock between the packet's timestamp and the start of this event.
    pub offset: u32,
    /// The report is not the first, and the one before it had ended: this is another key.
    pub follows_an_end: bool,
}

/// The reports of one payload, in order.
///
/// Several events in one packet are contiguous: each begins where the one before ended
/// (RFC 4733 section 2.5.1.5). Zero words beside a real report are padding that some senders
/// put before or after it. A lone zero word is a report: key 0 beginning at full level.
/// Octets that fill no word are ignored.
pub fn reports(payload: &[u8]) -> impl Iterator<Item = PlacedReport> {
    let (words, _rest) = payload.as_chunks::<REPORT_LENGTH>();
    let only_padding = words.iter().all(|word| *word == [0; REPORT_LENGTH]);
    let kept = if only_padding { 1 } else { MAX_REPORTS };
    let mut offset = 0;
    let mut ended = false;
    words.iter().filter(move |word| only_padding || **word != [0; REPORT_LENGTH]).take(kept).map(
        move |word| {
            let report = TelephoneEvent::from_octets(*word);
            let placed = PlacedReport { report, offset, follows_an_end: ended };
            offset += u32::from(report.duration);
            ended = report.end;
            placed
        },
    )
}

#[cfg(test)]
mod tests {
    use super::{REPORT_LENGTH, TelephoneEvent, reports};

    #[test]
    fn octets_round_trip() {
        let report = TelephoneEvent { event: 11, end: true, volume: 10, duration: 0x0320 };
        assert_eq!(report.to_octets(), [11, 0x8A, 0x03, 0x20]);
        assert!(TelephoneEvent::from_octets(report.to_octets()) == report);
        let reserved_bit = TelephoneEvent::from_octets([1, 0x4A, 0, 160]);
        assert!(!reserved_bit.end && reserved_bit.volume == 10);
        let loud = TelephoneEvent { volume: 200, end: false, ..report };
        assert_eq!(loud.to_octets()[1], 63);
    }

    fn shape(payload: &[u8]) -> Vec<(u8, u32, bool)> {
        reports(payload)
            .map(|placed| (placed.report.event, placed.offset, placed.follows_an_end))
            .collect()
    }

    #[test]
    fn several_reports_are_contiguous() {
        let payload = [1, 0x8A, 0x03, 0x20, 2, 10, 0, 160, 3, 10, 0, 0];
        assert_eq!(shape(&payload), [(1, 0, false), (2, 800, true), (3, 960, false)]);
    }

    #[test]
    fn padding_is_not_key_zero() {
        let report = [5, 10, 0, 160];
        let zeros = [0; REPORT_LENGTH];
        assert_eq!(shape(&[report, zeros].concat()), [(5, 0, false)]);
        assert_eq!(shape(&[zeros, report].concat()), [(5, 0, false)]);
        assert_eq!(shape(&[&report[..], &[0; 3]].concat()), [(5, 0, false)]);
        assert_eq!(shape(&zeros), [(0, 0, false)]);
        assert_eq!(shape(&[zeros, zeros].concat()), [(0, 0, false)]);
        assert_eq!(shape(&[0, 0, 0]), []);
        assert_eq!(shape(&[]), []);
    }
}
