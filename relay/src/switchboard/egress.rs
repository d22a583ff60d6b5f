//! Egress: one outgoing RTP stream, unbroken whoever fills it.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};
use zeroize::Zeroize;

use super::delay_line::DelayLine;
pub(super) use super::egress_format::EgressFormat;
use super::grid::{Grid, nearest_place};
use super::limits::{GRID_STEP, MAX_BACKLOG, MAX_FRAME};
use super::mouth::Mouth;
pub(super) use super::position::Position;
use super::press::KeyReport;
use super::transcoder::{Listener, Transcoder, Unplayable};
use crate::wire::rtp::{FIXED_HEADER_LEN, Header, sequence_newer};

/// Packets after a resumption in which an older sequence number still means "sent before it".
const STRAGGLER_WINDOW: u8 = 100;

/// What became of a packet handed to an egress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Passage {
    /// Send it now under this header.
    Now(Header),
    /// Its audio will leave in time, framed anew.
    Later,
    /// Sent before the stream was last resumed, or too late to be heard: must not go out.
    Straggler,
    /// It can't be decoded.
    Malformed,
    /// The peer does not want it.
    Unwanted,
}

/// What the relay has said in a frame.
pub(super) enum Said {
    /// Nothing: the frame is silence.
    Nothing,
    /// The samples that it has written, at 8 kHz.
    Sound,
    /// A key, by a packet of its event in place of the frame.
    Key(KeyReport),
}

/// What the relay itself says on a stream that nobody else fills, a frame at a time.
pub(super) type Speech<'a> = dyn FnMut(&mut [i16]) -> Said + 'a;

/// What a frame is filled with.
struct Filled {
    len: usize,
    key: Option<KeyReport>,
}

impl From<usize> for Filled {
    fn from(len: usize) -> Filled {
        Filled { len, key: None }
    }
}

/// One outgoing stream. SSRC, sequence and timestamp go on unbroken over every change of source.
pub(super) struct Egress {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    format: EgressFormat,
    grid: Grid,
    source: Source,
    /// What encodes, where that takes more than a table.
    mouth: Option<Box<Mouth>>,
    /// When the other party was last heard, where its audio leaves on our own clock.
    heard_at: Option<Instant>,
    last_sent: Option<Instant>,
    packets: u64,
    octets: u64,
}

/// What fills the stream.
enum Source {
    /// The other party's packets, as they come.
    Direct(Option<Follow>),
    /// The other party's audio, on our clock: frames of another size, or the look-ahead.
    Paced { due: Instant, line: Box<DelayLine<u8>> },
    /// The other party's voice, decoded, on our clock: it speaks another codec.
    Transcoded { due: Instant, line: Box<Transcoder> },
    /// What the relay says, or silence, on our clock. Nothing of the other party. Of a key that is
    /// told, `key` is the timestamp at which it went down.
    Silent { due: Instant, key: u32 },
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
            mouth: None,
            heard_at: None,
            last_sent: None,
            packets: 0,
            octets: 0,
        }
    }

    /// Our synchronisation source.
    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// What the stream is sent as.
    pub(super) fn format(&self) -> EgressFormat {
        self.format
    }

    /// Whether this party and the other speak different codecs, of which one has to be decoded.
    pub(super) fn is_transcoded(&self) -> bool {
        self.format.is_transcoded()
    }

    /// Packets and payload octets sent (for sender reports).
    pub(super) fn sent(&self) -> (u64, u64) {
        (self.packets, self.octets)
    }

    /// The timestamp that belongs to `now` (for sender reports).
    pub(super) fn timestamp_at(&self, now: Instant) -> u32 {
        let since = self.last_sent.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let ticks = (since.as_millis() as u32).wrapping_mul(self.format.codec.clock() / 1000);
        self.timestamp.wrapping_sub(self.format.ticks()).wrapping_add(ticks)
    }

    /// Takes over what a re-offer agreed. The numbers go on.
    pub(super) fn reformat(&mut self, now: Instant, format: EgressFormat) {
        let before = std::mem::replace(&mut self.format, format);
        if before.codec != format.codec || before.heard != format.heard {
            self.mouth = None;
        } else if before.ptime == format.ptime {
            return;
        }
        let (due, hold) = match &self.source {
            Source::Paced { due, line } => (*due, line.hold()),
            Source::Transcoded { due, line } => (*due, line.hold()),
            Source::Direct(_) | Source::Silent { .. } | Source::Resuming { .. } => return,
        };
        self.source = self.held(now, due, hold);
    }

    /// Passes a packet of the other party on. Audio of another size than the stream's frames goes
    /// through a delay line from then on, so that what leaves is always of one size; audio of another
    /// codec goes through a transcoder, which tells `heard` of it.
    pub(super) fn pass_audio(
        &mut self,
        now: Instant,
        from: Position,
        payload: &[u8],
        heard: &mut Listener<'_>,
    ) -> Passage {
        if self.format.is_transcoded() {
            return self.transcode(now, from, payload, heard);
        }
        if !self.format.audible {
            return Passage::Unwanted;
        }
        let fits = payload.len() == self.format.narrow_len();
        match &mut self.source {
            Source::Silent { .. } => {
                debug_assert!(false, "media reached an egress that is cut");
                Passage::Straggler
            }
            Source::Paced { line, .. } => {
                line.push(now, payload);
                self.heard_at = Some(now);
                Passage::Later
            }
            Source::Direct(_) | Source::Resuming { .. } if fits => {
                self.follow(now, from, self.format.payload_type)
            }
            Source::Direct(_) | Source::Resuming { .. } | Source::Transcoded { .. } => {
                self.pace_midway(now, self.format.ptime);
                self.pass_audio(now, from, payload, heard)
            }
        }
    }

    /// Takes a copy of a party's audio in, for a stream that is always on our clock: nothing of it
    /// leaves by the packet that brings it. Audio of G.711 comes in the law of this stream.
    pub(super) fn copy_audio(&mut self, now: Instant, from: Position, payload: &[u8]) {
        if !self.format.audible {
            return;
        }
        match &mut self.source {
            Source::Paced { line, .. } => line.push(now, payload),
            Source::Transcoded { line, .. } => {
                // What comes too late or can't be decoded is not heard by the other party either.
                let _ = line.push(now, from, payload, &mut |_| {});
            }
            Source::Direct(_) | Source::Silent { .. } | Source::Resuming { .. } => {
                debug_assert!(false, "a copy reached a stream that is cut");
            }
        }
    }

    /// A party was heard whose packets take more work in a cut: frames of our clock move midway
    /// between them, so that a cut finds them there.
    pub(super) fn keep_apart(&mut self, now: Instant) {
        self.heard_at = Some(now);
    }

    fn transcode(
        &mut self,
        now: Instant,
        from: Position,
        payload: &[u8],
        heard: &mut Listener<'_>,
    ) -> Passage {
        match &self.source {
            Source::Silent { .. } => {
                debug_assert!(false, "media reached an egress that is cut");
                return Passage::Straggler;
            }
            Source::Transcoded { .. } => {}
            Source::Direct(_) | Source::Resuming { .. } | Source::Paced { .. } => {
                self.pace_midway(now, Duration::ZERO);
            }
        }
        let Source::Transcoded { line, .. } = &mut self.source else { return Passage::Unwanted };
        self.heard_at = Some(now);
        match line.push(now, from, payload, heard) {
            Ok(()) => Passage::Later,
            Err(Unplayable::Late) => Passage::Straggler,
            Err(Unplayable::Malformed) => Passage::Malformed,
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
            Source::Transcoded { ref mut line, .. } => {
                let timestamp = line.begin_of(from, self.timestamp);
                Passage::Now(self.event_header(from, timestamp, payload_type))
            }
            Source::Direct(_) | Source::Resuming { .. } if self.format.is_transcoded() => {
                self.pace(now, Duration::ZERO);
                self.pass_event(now, from, payload_type)
            }
            Source::Direct(_) | Source::Resuming { .. } => self.follow(now, from, payload_type),
        }
    }

    /// Fills the stream on our clock, with what has been held for so long.
    pub(super) fn pace(&mut self, now: Instant, hold: Duration) {
        self.source = self.held(now, self.next_due(now), hold);
    }

    /// The same for copies: each is kept for a frame time at least, so that one that is late by less
    /// leaves no gap.
    pub(super) fn pace_copies(&mut self, now: Instant, hold: Duration) {
        let least = match self.format.is_transcoded() {
            true => Duration::ZERO,
            false => self.format.ptime,
        };
        self.pace(now, hold.max(least));
    }

    /// For how long the stream holds back what it is filled with.
    pub(super) fn hold(&self) -> Duration {
        match &self.source {
            Source::Paced { line, .. } => line.hold(),
            Source::Transcoded { line, .. } => line.hold(),
            Source::Direct(_) | Source::Silent { .. } | Source::Resuming { .. } => Duration::ZERO,
        }
    }

    /// The same, from half a frame time behind the packet that comes now.
    fn pace_midway(&mut self, now: Instant, hold: Duration) {
        self.source = self.held(now, self.next_due(now + self.format.ptime / 2), hold);
    }

    fn held(&self, now: Instant, due: Instant, hold: Duration) -> Source {
        let EgressFormat { heard, .. } = self.format;
        if !self.format.is_transcoded() {
            let line = DelayLine::of_codes(now, self.format.narrow_len(), hold);
            return Source::Paced { due, line: Box::new(line) };
        }
        let line = Transcoder::new(now, heard, self.format.frames(), hold);
        Source::Transcoded { due, line: Box::new(line) }
    }

    /// Withholds the other party: from the next frame on, silence of our own. What a delay line
    /// held is gone when this returns.
    pub(super) fn silence(&mut self, now: Instant) {
        let due = self.next_due(now);
        self.source = Source::Silent { due, key: self.timestamp };
        // What predicts the next sample from those before remembers those before.
        self.forget();
    }

    /// As [`Egress::silence`], midway between the other party's packets (the last came at `heard`).
    pub(super) fn silence_midway(&mut self, now: Instant, heard: Instant) {
        self.silence(now);
        self.align(now, Some(self.grid.at_or_after(heard + self.format.ptime / 2)));
    }

    /// As [`Egress::silence`], with frames due when the other stream's are, and made in one turn.
    pub(super) fn silence_along(&mut self, now: Instant, other: &Egress) {
        self.silence(now);
        self.align(now, other.due());
    }

    /// Moves the next frame once, by half a frame time at most, or by a frame time less than that
    /// where it would be past: all frames behind it are even.
    fn align(&mut self, now: Instant, place: Option<Instant>) {
        let (Some(own), Some(place)) = (self.due(), place) else { return };
        let due = nearest_place(own, place, self.format.ptime);
        self.set_due(if due < now { due + self.format.ptime } else { due });
    }

    /// Whether the other party is withheld.
    pub(super) fn is_silent(&self) -> bool {
        match self.source {
            Source::Silent { .. } => true,
            Source::Direct(_)
            | Source::Paced { .. }
            | Source::Transcoded { .. }
            | Source::Resuming { .. } => false,
        }
    }

    /// Lets the other party in again; silence goes on until its next packet.
    pub(super) fn resume(&mut self) {
        if let Some(due) = self.due() {
            self.source = Source::Resuming { due };
        }
    }

    /// Forgets what was said, as far as an encoder remembers it.
    pub(super) fn forget(&mut self) {
        if let Some(mouth) = &mut self.mouth {
            mouth.forget();
        }
    }

    /// When the next generated frame is due.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.source {
            Source::Direct(_) => None,
            Source::Paced { due, .. }
            | Source::Transcoded { due, .. }
            | Source::Silent { due, .. }
            | Source::Resuming { due } => Some(due),
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
        let next = match self.source {
            Source::Paced { .. } | Source::Transcoded { .. } => self.kept_midway(next),
            Source::Direct(_) | Source::Silent { .. } | Source::Resuming { .. } => next,
        };
        self.set_due(next);
        let (header, room) = packet.split_first_chunk_mut()?;
        let filled = self.fill(now, room, speech);
        let next = self.next_header();
        let Filled { len, key } = filled?;
        let next = key.map_or(next, |key| self.key_header(next, &key));
        if !self.format.audible {
            return None;
        }
        next.write(header);
        self.count(now, len);
        Some(FIXED_HEADER_LEN + len)
    }

    /// Writes a frame of whatever fills the stream, and says how many octets it takes.
    fn fill(&mut self, now: Instant, room: &mut [u8], speech: &mut Speech<'_>) -> Option<Filled> {
        match &mut self.source {
            Source::Direct(_) => None,
            Source::Paced { line, .. } => {
                let frame = room.get_mut(..self.format.narrow_len())?;
                if !line.pop(now, frame) {
                    frame.fill(self.format.codec.law()?.silence());
                }
                Some(frame.len().into())
            }
            Source::Transcoded { line, .. } => {
                let mut pcm = [0; MAX_FRAME * 3];
                let frame = pcm.get_mut(..self.format.frames().samples(self.format.heard))?;
                if !line.pop(now, frame) {
                    frame.fill(0);
                }
                let len = Mouth::of(&mut self.mouth, self.format)?.say(frame, room);
                pcm.zeroize();
                len.map(Filled::from)
            }
            Source::Silent { .. } => self.speak(room, speech),
            Source::Resuming { .. } => self.speak(room, &mut |_| Said::Nothing),
        }
    }

    /// Writes what the relay itself says, or silence.
    fn speak(&mut self, room: &mut [u8], speech: &mut Speech<'_>) -> Option<Filled> {
        let mut pcm = [0; MAX_FRAME];
        let pcm = pcm.get_mut(..self.format.narrow_len())?;
        let said = match speech(pcm) {
            Said::Key(key) => {
                let payload = room.first_chunk_mut()?;
                *payload = key.octets;
                return Some(Filled { len: payload.len(), key: Some(key) });
            }
            Said::Sound => self.say(pcm, room),
            Said::Nothing => self.say_nothing(pcm, room),
        };
        // It may have said digits.
        pcm.zeroize();
        said.map(Filled::from)
    }

    fn say(&mut self, pcm: &[i16], room: &mut [u8]) -> Option<usize> {
        let Some(law) = self.format.codec.law() else {
            return Mouth::of(&mut self.mouth, self.format)?.say_narrow(pcm, room);
        };
        let frame = room.get_mut(..pcm.len())?;
        law.encode_all(pcm, frame);
        Some(frame.len())
    }

    fn say_nothing(&mut self, pcm: &[i16], room: &mut [u8]) -> Option<usize> {
        let Some(law) = self.format.codec.law() else { return self.say(pcm, room) };
        let frame = room.get_mut(..pcm.len())?;
        frame.fill(law.silence());
        Some(frame.len())
    }

    /// The header of a key event's packet in place of the frame that `frame` is of: all packets of one
    /// part of an event carry the time of its beginning (RFC 4733 section 2.2).
    fn key_header(&mut self, frame: Header, report: &KeyReport) -> Header {
        let KeyReport { payload_type, begins, offset, .. } = *report;
        let Source::Silent { key, .. } = &mut self.source else { return frame };
        if begins {
            *key = frame.timestamp;
        }
        Header { marker: begins, payload_type, timestamp: key.wrapping_add(offset), ..frame }
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
            Source::Paced { .. } | Source::Transcoded { .. } | Source::Silent { .. } => {
                return Passage::Straggler;
            }
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

    /// Our numbers only grow: no reordered packet pulls them back.
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
        self.timestamp = self.timestamp.wrapping_add(self.format.ticks());
        header
    }

    /// A packet of a key event among frames of our own clock: all of one event carry the time of
    /// its beginning (RFC 4733 section 2.2).
    fn event_header(&mut self, from: Position, timestamp: u32, payload_type: u8) -> Header {
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        Header { marker: from.marker, payload_type, sequence, timestamp, ssrc: self.ssrc }
    }

    /// The next frame is half a frame time behind the last packet, or now if that is past: on the grid.
    ///
    /// The other party's packets come when the last one did, a whole number of frame times later:
    /// a frame that is due midway between two of them is not made sooner or later by the work that
    /// they take, which is more when a key is pressed.
    fn next_due(&self, now: Instant) -> Instant {
        match self.due() {
            Some(due) => due,
            None => {
                let midway = self.last_sent.map(|at| at + self.format.ptime / 2);
                self.grid.at_or_after(midway.map_or(now, |midway| now.max(midway)))
            }
        }
    }

    /// By how much the next frame is sooner or later than a frame time, so that frames of our clock
    /// stay midway between the other party's packets: the clocks drift, and a cut keeps the place
    /// that it finds.
    fn kept_midway(&self, next: Instant) -> Instant {
        let Some(heard) = self.heard_at else { return next };
        let ptime = self.format.ptime.as_nanos();
        let place = next.saturating_duration_since(heard).as_nanos() % ptime;
        if place < ptime / 4 {
            next + GRID_STEP
        } else if place > ptime * 3 / 4 {
            next - GRID_STEP
        } else {
            next
        }
    }

    fn set_due(&mut self, next: Instant) {
        match &mut self.source {
            Source::Direct(_) => {}
            Source::Paced { due, .. }
            | Source::Transcoded { due, .. }
            | Source::Silent { due, .. }
            | Source::Resuming { due } => {
                *due = next;
            }
        }
    }

    /// The due time after `due`; frames that are hopelessly late are left out, but not their time.
    fn skip_backlog(&mut self, now: Instant, due: Instant) -> Instant {
        let step = self.format.ptime;
        let mut next = due + step;
        while next + MAX_BACKLOG < now {
            next += step;
            self.timestamp = self.timestamp.wrapping_add(self.format.ticks());
        }
        next
    }
}
