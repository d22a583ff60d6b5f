//! Reception: how well one party is heard (RFC 3550 sections 6.4.1, A.1, A.3, A.8).

use std::time::{Duration, Instant};

use super::egress::Position;
use super::routing::Media;
use crate::wire::ntp::{self, NtpShort, NtpTime};
use crate::wire::rtcp::ReportBlock;

/// A jump of more packets than this is a restart of the stream, not loss (RFC 3550 A.1).
const MAX_DROPOUT: u16 = 3000;

/// Ticks that count of one difference in transit at most: a second at 8 kHz, 167 ms at 48 kHz.
const MAX_JUMP: u32 = 8000;

/// Counters of what is heard from one party, over changes of its SSRC.
pub(super) struct Reception {
    origin: Instant,
    /// Of the RTP clock.
    ticks_per_ms: u64,
    stream: Option<Stream>,
    packets: u64,
    lost_before: i64,
    sender_report: Option<(NtpShort, Instant)>,
    round_trip: Option<Duration>,
}

struct Stream {
    ssrc: u32,
    base: u32,
    highest: u32,
    received: u32,
    expected_reported: u32,
    received_reported: u32,
    transit: u32,
    jitter_sixteenths: u32,
}

impl Reception {
    /// Nothing heard yet; arrival times count from `origin`, in ticks of a clock of so many Hz.
    pub(super) fn new(origin: Instant, clock: u32) -> Reception {
        Reception {
            origin,
            ticks_per_ms: u64::from(clock / 1000),
            stream: None,
            packets: 0,
            lost_before: 0,
            sender_report: None,
            round_trip: None,
        }
    }

    /// Follows a change of the codec: what comes is a new stream.
    pub(super) fn set_clock(&mut self, clock: u32) {
        self.lost_before = self.lost();
        self.stream = None;
        self.ticks_per_ms = u64::from(clock / 1000);
    }

    /// Takes note of a packet that was proven to be the peer's. Jitter is measured on audio alone:
    /// all packets of a key event carry one timestamp (RFC 4733 section 2.2).
    pub(super) fn hear(&mut self, now: Instant, at: Position, media: Media) {
        self.packets += 1;
        let arrival = (now.saturating_duration_since(self.origin).as_micros() as u64
            * self.ticks_per_ms
            / 1000) as u32;
        let transit = arrival.wrapping_sub(at.timestamp);
        if let Some(stream) = &mut self.stream
            && stream.ssrc == at.ssrc
            && stream.advance(at.sequence)
        {
            stream.received = stream.received.wrapping_add(1);
            if media == Media::Audio {
                stream.smooth(transit);
            }
        } else {
            self.lost_before = self.lost();
            self.stream = Some(Stream::begin(at, transit));
        }
    }

    /// Takes note of a sender report of the peer, for the delay in our next report.
    pub(super) fn hear_sender_report(&mut self, now: Instant, time: NtpTime) {
        self.sender_report = Some((time.short(), now));
    }

    /// Takes note of how the peer hears us.
    pub(super) fn hear_report_of_us(&mut self, now_ntp: NtpTime, block: &ReportBlock) {
        if let Some(span) = ntp::round_trip(now_ntp, block.last_sender_report, block.delay) {
            self.round_trip = Some(span);
        }
    }

    /// The block about the peer for our next report, if anything was heard.
    pub(super) fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let sender_report = self.sender_report;
        let stream = self.stream.as_mut()?;
        let (last_sender_report, delay) = match sender_report {
            Some((time, at)) => (time, NtpShort::from_duration(now.saturating_duration_since(at))),
            None => (NtpShort(0), NtpShort(0)),
        };
        Some(ReportBlock {
            ssrc: stream.ssrc,
            fraction_lost: stream.fraction_lost_since_report(),
            cumulative_lost: stream.lost() as i32,
            highest_sequence: stream.highest,
            jitter: stream.jitter_sixteenths / 16,
            last_sender_report,
            delay,
        })
    }

    /// Packets heard.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// Packets expected and not heard; negative with duplicates.
    pub(super) fn lost(&self) -> i64 {
        self.lost_before + self.stream.as_ref().map_or(0, Stream::lost)
    }

    /// Interarrival jitter.
    pub(super) fn jitter(&self) -> Duration {
        let sixteenths = self.stream.as_ref().map_or(0, |stream| stream.jitter_sixteenths);
        Duration::from_micros(u64::from(sixteenths) * 1000 / (16 * self.ticks_per_ms))
    }

    /// The last round trip the peer's reports allowed to measure.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }
}

impl Stream {
    fn begin(at: Position, transit: u32) -> Stream {
        let base = u32::from(at.sequence);
        Stream {
            ssrc: at.ssrc,
            base,
            highest: base,
            received: 1,
            expected_reported: 0,
            received_reported: 0,
            transit,
            jitter_sixteenths: 0,
        }
    }

    /// Moves on to `sequence`; false if the stream has evidently begun anew.
    fn advance(&mut self, sequence: u16) -> bool {
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if ahead < MAX_DROPOUT {
            self.highest = self.highest.wrapping_add(u32::from(ahead));
            return true;
        }
        // Late or repeated packets lie just behind; anything else is a new start.
        ahead.wrapping_neg() < MAX_DROPOUT
    }

    /// RFC 3550 A.8, in sixteenths of a tick so that integers are enough.
    fn smooth(&mut self, transit: u32) {
        let difference = (transit.wrapping_sub(self.transit) as i32).unsigned_abs();
        self.transit = transit;
        // A restart of the peer's clock is not jitter.
        let bounded = difference.min(MAX_JUMP);
        self.jitter_sixteenths =
            self.jitter_sixteenths + bounded - ((self.jitter_sixteenths + 8) >> 4);
    }

    fn expected(&self) -> u32 {
        self.highest.wrapping_sub(self.base).wrapping_add(1)
    }

    fn lost(&self) -> i64 {
        i64::from(self.expected()) - i64::from(self.received)
    }

    /// RFC 3550 A.3.
    fn fraction_lost_since_report(&mut self) -> u8 {
        let expected = self.expected().wrapping_sub(self.expected_reported);
        let received = self.received.wrapping_sub(self.received_reported);
        self.expected_reported = self.expected();
        self.received_reported = self.received;
        let lost = expected.saturating_sub(received);
        if expected == 0 { 0 } else { (u64::from(lost) * 256 / u64::from(expected)).min(255) as u8 }
    }
}

/// Mean opinion score times 100 by the E-model (ITU-T G.107) for G.711 without concealment
/// (G.113: Bpl 4.3), from the share lost, the jitter a receiver must buffer, and the round trip.
pub(super) fn mos_hundredths(
    lost: i64,
    heard: u64,
    jitter: Duration,
    round_trip: Option<Duration>,
) -> u16 {
    let expected = (heard as f64 + lost.max(0) as f64).max(1.0);
    let percent = 100.0 * lost.max(0) as f64 / expected;
    let impairment = 95.0 * percent / (percent + 4.3);
    let delay_ms = round_trip.map_or(0.0, |span| span.as_secs_f64() * 500.0)
        + 2.0 * jitter.as_secs_f64() * 1000.0
        + 20.0;
    let delay = 0.024 * delay_ms + 0.11 * (delay_ms - 177.3).max(0.0);
    let r = (93.2 - impairment - delay).clamp(0.0, 100.0);
    let mos = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    (mos.clamp(1.0, 4.5) * 100.0).round() as u16
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    fn at(sequence: u16) -> Position {
        let timestamp = u32::from(sequence) * 160;
        Position { ssrc: 7, sequence, timestamp, samples: 160, marker: false }
    }

    #[test]
    fn loss_is_counted_across_the_wrap_and_a_restart() {
        let start = Instant::now();
        let mut reception = Reception::new(start, 8000);
        for number in 0..20u16 {
            if number % 10 != 5 {
                let now = start + Duration::from_millis(20 * u64::from(number));
                reception.hear(now, at(65530u16.wrapping_add(number)), Media::Audio);
            }
        }
        assert_eq!((reception.packets(), reception.lost()), (18, 2));
        reception.hear(start, Position { ssrc: 8, ..at(30000) }, Media::Audio);
        assert_eq!(reception.lost(), 2);
        let block = reception.report(start).unwrap();
        assert_eq!((block.ssrc, block.cumulative_lost), (8, 0));
    }

    #[test]
    fn a_steady_stream_has_no_jitter_and_an_unsteady_one_has() {
        let start = Instant::now();
        let (mut steady, mut unsteady) = (Reception::new(start, 8000), Reception::new(start, 8000));
        for number in 0..200u16 {
            let now = start + Duration::from_millis(20 * u64::from(number));
            steady.hear(now, at(number), Media::Audio);
            let late = now + Duration::from_millis(u64::from(number % 2) * 8);
            unsteady.hear(late, at(number), Media::Audio);
        }
        assert_eq!(steady.jitter(), Duration::ZERO);
        assert!((7..=8).contains(&unsteady.jitter().as_millis()), "{:?}", unsteady.jitter());
    }

    #[test]
    fn scores_fall_with_loss() {
        let clean = mos_hundredths(0, 1000, Duration::ZERO, None);
        let lossy = mos_hundredths(50, 950, Duration::ZERO, None);
        assert!((430..=450).contains(&clean), "{clean}");
        assert!(lossy < 250, "{lossy}");
    }
}
