//! CutMemory: how far the caller's streams had come while the call was cut.

use std::time::{Duration, Instant};

use super::egress::Position;
use super::limits::CUT_MEMORY;
use super::routing::Media;
use crate::wire::rtp::sequence_newer;

/// Long enough for any packet that others overtook on the way, and twice what a socket's queue
/// holds; short enough that a sender which starts its numbers over is not mute for long.
const SPAN: Duration = Duration::from_secs(10);

/// The same for a packet that comes in the next session: it can be no more than counted there, and
/// senders that repeat their numbers with each key must not be deaf for a minute.
const NEXT_SPAN: Duration = Duration::from_secs(2);

/// A minute at 48 kHz, the fastest clock there is, and six at 8 kHz: nobody holds a key for longer.
const SPAN_TICKS: u32 = 2_880_000;

/// Cuts that are remembered when they are over. The second is there for a session entered right
/// behind another; a third within the span of the first has packets of seconds ago to fear only.
const CUTS: usize = 2;

/// How far each of the caller's streams came during a cut, so that a packet sent during the cut and
/// delayed on its way is still withheld after it, and in the next one.
///
/// Most calls are never cut, so there is nothing of it before the first cut.
#[derive(Default)]
pub(super) struct CutMemory(Option<Box<Cuts>>);

#[derive(Default)]
struct Cuts {
    present: Streams,
    over: [Option<(Instant, Streams)>; CUTS],
}

#[derive(Default)]
struct Streams {
    known: [Option<Stream>; CUT_MEMORY],
    next: usize,
    /// There were more; of one that is not known it can't be said whether it is new.
    forgotten: bool,
}

struct Stream {
    ssrc: u32,
    sequence: u16,
    audio: Option<u32>,
    event: Option<u32>,
}

impl CutMemory {
    /// A new cut begins.
    pub(super) fn begin(&mut self) {
        self.0.get_or_insert_default().present = Streams::default();
    }

    /// A packet of the caller was withheld.
    pub(super) fn note(&mut self, media: Media, at: Position) {
        let cuts = self.0.as_mut().expect("packets are withheld in a cut, which has begun");
        cuts.present.note(media, at);
    }

    /// The cut is over.
    pub(super) fn reopen(&mut self, now: Instant) {
        let cuts = self.0.as_mut().expect("a cut that is over has begun");
        cuts.over.rotate_right(1);
        cuts.over[0] = Some((now, std::mem::take(&mut cuts.present)));
    }

    /// Whether the packet was sent during a cut that is over, or belongs to a key of it. `is_cut`:
    /// another cut is in force.
    pub(super) fn is_straggler(
        &self,
        now: Instant,
        is_cut: bool,
        media: Media,
        at: Position,
    ) -> bool {
        let Some(cuts) = &self.0 else { return false };
        let span = if is_cut { NEXT_SPAN } else { SPAN };
        cuts.over.iter().flatten().any(|(reopened, streams)| {
            now.saturating_duration_since(*reopened) < span && streams.have_heard(media, at)
        })
    }
}

impl Streams {
    fn note(&mut self, media: Media, at: Position) {
        let known = self.known.iter_mut().flatten().find(|stream| stream.ssrc == at.ssrc);
        let stream = match known {
            Some(stream) if !sequence_newer(at.sequence, stream.sequence) => return,
            Some(stream) => stream,
            None => self.replace_oldest(at.ssrc),
        };
        stream.sequence = at.sequence;
        match media {
            Media::Audio => stream.audio = Some(at.timestamp),
            Media::TelephoneEvent | Media::Redundancy => stream.event = Some(at.timestamp),
            Media::Rtcp | Media::Unknown => {}
        }
    }

    fn replace_oldest(&mut self, ssrc: u32) -> &mut Stream {
        let slot = &mut self.known[self.next];
        self.next = (self.next + 1) % CUT_MEMORY;
        self.forgotten |= slot.is_some();
        slot.insert(Stream { ssrc, sequence: 0, audio: None, event: None })
    }

    fn have_heard(&self, media: Media, at: Position) -> bool {
        match self.known.iter().flatten().find(|stream| stream.ssrc == at.ssrc) {
            Some(stream) if sequence_newer(at.sequence, stream.sequence) => {
                media.is_of_keys() && stream.saw_begin(at.timestamp)
            }
            Some(_) => true,
            None => self.forgotten,
        }
    }
}

impl Stream {
    /// Whether a key event of this timestamp began during the cut: all its packets carry the time
    /// of its beginning (RFC 4733 section 2.2), however late its ends are sent. Its beginning may
    /// have been lost, hence the look at the audio as well.
    fn saw_begin(&self, timestamp: u32) -> bool {
        let latest = [self.audio, self.event];
        latest.iter().flatten().any(|latest| latest.wrapping_sub(timestamp) < SPAN_TICKS)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    fn at(ssrc: u32, sequence: u16) -> Position {
        let timestamp = u32::from(sequence.wrapping_add(16)) * 160;
        Position { ssrc, sequence, timestamp, samples: 160, marker: false }
    }

    #[test]
    fn what_was_sent_during_the_cut_stays_cut() {
        let now = Instant::now();
        let mut memory = CutMemory::default();
        assert!(!memory.is_straggler(now, false, Media::Audio, at(1, 5)));
        memory.begin();
        for sequence in [65534, 2, 65535] {
            memory.note(Media::Audio, at(1, sequence));
        }
        assert!(
            !memory.is_straggler(now, false, Media::Audio, at(1, 2)),
            "it is the present cut's"
        );
        memory.reopen(now);
        for (sequence, is_straggler) in [(2, true), (65000, true), (3, false)] {
            assert_eq!(
                memory.is_straggler(now, false, Media::Audio, at(1, sequence)),
                is_straggler
            );
        }
        assert!(!memory.is_straggler(now, false, Media::Audio, at(2, 2)));
        assert!(!memory.is_straggler(now + SPAN, false, Media::Audio, at(1, 2)));
        assert!(memory.is_straggler(now, true, Media::Audio, at(1, 2)), "nor is it of the next");
        assert!(!memory.is_straggler(now + NEXT_SPAN, true, Media::Audio, at(1, 2)));
    }

    #[test]
    fn a_key_that_began_during_the_cut_belongs_to_it_whenever_it_ends() {
        let now = Instant::now();
        let mut memory = CutMemory::default();
        memory.begin();
        memory.note(Media::Audio, at(1, 10));
        memory.reopen(now);
        let end_of = |begun: u16| Position { sequence: 20, ..at(1, begun) };
        assert!(memory.is_straggler(now, false, Media::TelephoneEvent, end_of(9)));
        assert!(!memory.is_straggler(now, false, Media::TelephoneEvent, end_of(11)));
        assert!(!memory.is_straggler(now, false, Media::Audio, end_of(9)));
    }

    #[test]
    fn a_source_is_cut_if_it_may_have_been_forgotten() {
        let now = Instant::now();
        let mut memory = CutMemory::default();
        memory.begin();
        for ssrc in 0..=CUT_MEMORY as u32 {
            memory.note(Media::Audio, at(ssrc, 1));
        }
        memory.reopen(now);
        assert!(memory.is_straggler(now, false, Media::Audio, at(0, 9)));
        assert!(!memory.is_straggler(now, false, Media::Audio, at(1, 9)));
    }

    #[test]
    fn two_cuts_are_remembered() {
        let now = Instant::now();
        let mut memory = CutMemory::default();
        for ssrc in 1..=2 {
            memory.begin();
            memory.note(Media::Audio, at(ssrc, 1));
            memory.reopen(now);
        }
        assert!((1..=2).all(|ssrc| memory.is_straggler(now, false, Media::Audio, at(ssrc, 1))));
    }
}
