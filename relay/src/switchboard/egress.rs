//! Egress: one outgoing RTP stream, unbroken whoever fills it.

use std::time::{Duration, Instant};

use dtmf::g711::Law;
use rand::{Rng, RngExt};

use super::delay_line::DelayLine;
use super::grid::Grid;
use super::limits::MAX_BACKLOG;
use crate::wire::rtp::{FIXED_HEADER_LEN, Header, sequence_newer};

/// Packets after a resumption in which an older sequence number still means "sent before it".
const STRAGGLER_WINDOW: u8 = 100;

/// What the stream is sent as; may change with a re-offer.
#[derive(Clone, Copy)]
pub(super) struct EgressFormat {
    /// Codec of the stream.
    pub(super) law: Law,
    /// Its payload type.
    pub(super) payload_type: u8,
    /// Octets of one frame.
    pub(super) frame_len: usize,
    /// The peer wants to receive at all (RFC 3264 hold).
    pub(super) audible: bool,
}

/// Where a packet of the other party comes from on its own stream.
#[derive(Clone, Copy)]
pub(super) struct Position {
    /// Its synchronisation source.
    pub(super) ssrc: u32,
    /// Its sequence number.
    pub(super) sequence: u16,
    /// Its timestamp.
    pub(super) timestamp: u32,
    /// Samples the packet spans.
    pub(super) samples: u32,
    /// Its marker.
    pub(super) marker: bool,
}

/// What became of a packet handed to an egress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Passage {
    /// Send it now under this header.
    Now(Header),
    /// Its audio will leave in time, framed anew.
    Later,
    /// Sent before the stream was last resumed: must not go out.
    Straggler,
    /// The peer does not want it.
    Unwanted,
}

/// What the relay itself says on a stream that nobody else fills: writes a frame of the codec, or
/// has nothing to say.
pub(super) type Speech<'a> = dyn FnMut(Law, &mut [u8]) -> bool + 'a;

/// One outgoing stream. SSRC, sequence and timestamp go on unbroken over every change of source.
pub(super) struct Egress {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    format: EgressFormat,
    grid: Grid,
    source: Source,
    last_sent: Option<Instant>,
    packets: u64,
    octets: u64,
}

/// What fills the stream.
enum Source {
    /// The other party's packets, as they come.
    Direct(Option<Follow>),
    /// The other party's audio, on our clock: frames of another size, or the look-ahead.
    Paced { due: Instant, line: Box<DelayLine> },
    /// What the relay says, or silence, on our clock. Nothing of the other party.
    Silent { due: Instant },
    /// Silence until the other party's first packet takes over.
    Resuming { due: Instant },
}

/// A stream that is passed on, and how its numbers map to ours.
#[derive(Clone, Copy)]
struct Follow {
    ssrc: u32,
    sequence_shift: u16,
    timestamp_shift: u32,
    first: u16,
    young: u8,
}

impl Egress {
    /// A stream that nothing fills yet. Its three numbers are random (RFC 3550 section 5.1).
    pub(super) fn new(format: EgressFormat, grid: Grid, random: &mut impl Rng) -> Egress {
        Egress {
            ssrc: random.random(),
            sequence: random.random(),
            timestamp: random.random(),
            format,
            grid,
            source: Source::Direct(None),
            last_sent: None,
            packets: 0,
            octets: 0,
        }
    }

    /// Our synchronisation source.
    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Packets and payload octets sent (for sender reports).
    pub(super) fn sent(&self) -> (u64, u64) {
        (self.packets, self.octets)
    }

    /// The timestamp that belongs to `now` (for sender reports).
    pub(super) fn timestamp_at(&self, now: Instant) -> u32 {
        let since = self.last_sent.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let behind = self.format.frame_len as u32;
        self.timestamp.wrapping_sub(behind).wrapping_add(since.as_millis() as u32 * 8)
    }

    /// Takes over what a re-offer agreed. The numbers go on.
    pub(super) fn reformat(&mut self, now: Instant, format: EgressFormat) {
        let resized = format.frame_len != self.format.frame_len;
        self.format = format;
        if let (true, Source::Paced { due, line }) = (resized, &self.source) {
            let line = Box::new(DelayLine::new(now, format.frame_len, line.hold()));
            self.source = Source::Paced { due: *due, line };
        }
    }

    /// Passes a packet of the other party on. Audio of another size than the stream's frames goes
    /// through a delay line from then on, so that what leaves is always of one size.
    pub(super) fn pass_audio(&mut self, now: Instant, from: Position, payload: &[u8]) -> Passage {
        if !self.format.audible {
            return Passage::Unwanted;
        }
        let fits = payload.len() == self.format.frame_len;
        match &mut self.source {
            Source::Silent { .. } => {
                debug_assert!(false, "media reached an egress that is cut");
                Passage::Straggler
            }
            Source::Paced { line, .. } => {
                line.push(now, payload);
                Passage::Later
            }
            Source::Direct(_) | Source::Resuming { .. } if fits => {
                self.follow(now, from, self.format.payload_type)
            }
            Source::Direct(_) | Source::Resuming { .. } => {
                self.pace(now, self.frame_time());
                self.pass_audio(now, from, payload)
            }
        }
    }

    /// Passes a key event on (open calls whose far side agreed to it).
    pub(super) fn pass_event(&mut self, now: Instant, from: Position, payload_type: u8) -> Passage {
        if !self.format.audible {
            return Passage::Unwanted;
        }
        match self.source {
            Source::Silent { .. } => {
                debug_assert!(false, "a key event reached an egress that is cut");
                Passage::Straggler
            }
            Source::Paced { .. } => Passage::Unwanted,
            Source::Direct(_) | Source::Resuming { .. } => self.follow(now, from, payload_type),
        }
    }

    /// Fills the stream from a delay line on our clock.
    pub(super) fn pace(&mut self, now: Instant, hold: Duration) {
        let line = Box::new(DelayLine::new(now, self.format.frame_len, hold));
        self.source = Source::Paced { due: self.next_due(now), line };
    }

    /// Withholds the other party: from the next frame on, silence of our own. What a delay line
    /// held is gone when this returns.
    pub(super) fn silence(&mut self, now: Instant) {
        let due = self.next_due(now);
        self.source = Source::Silent { due };
    }

    /// As [`Egress::silence`], with frames due when those of the other stream are: both are then
    /// made in one turn. The first comes up to a frame later than it would alone.
    pub(super) fn silence_along(&mut self, now: Instant, other: &Egress) {
        self.silence(now);
        let (Some(own), Some(mut due)) = (self.due(), other.due()) else { return };
        while due < own {
            due += self.frame_time();
        }
        self.set_due(due);
    }

    /// Lets the other party in again; silence goes on until its next packet.
    pub(super) fn resume(&mut self) {
        if let Some(due) = self.due() {
            self.source = Source::Resuming { due };
        }
    }

    /// When the next generated frame is due.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.source {
            Source::Direct(_) => None,
            Source::Paced { due, .. } | Source::Silent { due } | Source::Resuming { due } => {
                Some(due)
            }
        }
    }

    /// Writes the frame that is due into `packet` and says how long it is. `None` if none is due,
    /// or if the peer does not want to receive.
    pub(super) fn generate(
        &mut self,
        now: Instant,
        packet: &mut [u8],
        speech: &mut Speech<'_>,
    ) -> Option<usize> {
        let due = self.due().filter(|&due| due <= now)?;
        let next = self.skip_backlog(now, due);
        self.set_due(next);
        let end = FIXED_HEADER_LEN + self.format.frame_len;
        let (header, frame) = packet[..end].split_first_chunk_mut()?;
        let voiced = match &mut self.source {
            Source::Paced { line, .. } => line.pop(now, frame),
            Source::Silent { .. } => speech(self.format.law, frame),
            Source::Resuming { .. } | Source::Direct(_) => false,
        };
        if !voiced {
            frame.fill(self.format.law.silence());
        }
        let next = self.next_header();
        if !self.format.audible {
            return None;
        }
        next.write(header);
        self.count(now, self.format.frame_len);
        Some(end)
    }

    /// Counts a packet that was sent under a [`Passage::Now`] header.
    pub(super) fn count(&mut self, now: Instant, payload: usize) {
        self.packets += 1;
        self.octets += payload as u64;
        self.last_sent = Some(now);
    }

    fn follow(&mut self, now: Instant, from: Position, payload_type: u8) -> Passage {
        let mut follow = match self.source {
            Source::Direct(Some(follow)) if follow.ssrc == from.ssrc => follow,
            Source::Direct(_) | Source::Resuming { .. } => Follow {
                ssrc: from.ssrc,
                sequence_shift: self.sequence.wrapping_sub(from.sequence),
                timestamp_shift: self.timestamp.wrapping_sub(from.timestamp),
                first: from.sequence,
                young: STRAGGLER_WINDOW,
            },
            Source::Paced { .. } | Source::Silent { .. } => return Passage::Straggler,
        };
        if follow.young > 0 {
            follow.young -= 1;
            if sequence_newer(follow.first, from.sequence) {
                return Passage::Straggler;
            }
        }
        self.source = Source::Direct(Some(follow));
        self.last_sent = Some(now);
        let sequence = from.sequence.wrapping_add(follow.sequence_shift);
        let timestamp = from.timestamp.wrapping_add(follow.timestamp_shift);
        self.advance_to(sequence.wrapping_add(1), timestamp.wrapping_add(from.samples));
        Passage::Now(Header {
            marker: from.marker,
            payload_type,
            sequence,
            timestamp,
            ssrc: self.ssrc,
        })
    }

    /// Our numbers only ever grow: a reordered packet must not pull them back.
    fn advance_to(&mut self, sequence: u16, timestamp: u32) {
        if sequence_newer(sequence, self.sequence) {
            self.sequence = sequence;
            self.timestamp = timestamp;
        }
    }

    fn next_header(&mut self) -> Header {
        let header = Header {
            marker: false,
            payload_type: self.format.payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.format.frame_len as u32);
        header
    }

    fn frame_time(&self) -> Duration {
        Duration::from_micros(self.format.frame_len as u64 * 125)
    }

    /// The next frame follows the last packet by half a frame time, or comes at once if that is past;
    /// either way at a point of the grid.
    ///
    /// The other party's packets come when the last one did, a whole number of frame times later:
    /// a frame that is due midway between two of them is not made sooner or later by the work that
    /// they take, which is more when a key is pressed.
    fn next_due(&self, now: Instant) -> Instant {
        match self.due() {
            Some(due) => due,
            None => {
                let midway = self.last_sent.map(|at| at + self.frame_time() / 2);
                self.grid.at_or_after(midway.map_or(now, |midway| now.max(midway)))
            }
        }
    }

    fn set_due(&mut self, next: Instant) {
        match &mut self.source {
            Source::Direct(_) => {}
            Source::Paced { due, .. } | Source::Silent { due } | Source::Resuming { due } => {
                *due = next;
            }
        }
    }

    /// The due time after `due`; frames that are hopelessly late are left out, but not their time.
    fn skip_backlog(&mut self, now: Instant, due: Instant) -> Instant {
        let step = self.frame_time();
        let mut next = due + step;
        while next + MAX_BACKLOG < now {
            next += step;
            self.timestamp = self.timestamp.wrapping_add(self.format.frame_len as u32);
        }
        next
    }
}
