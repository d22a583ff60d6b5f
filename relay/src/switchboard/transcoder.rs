//! Transcoder: packets of one codec in as they come, samples for another out on our clock.

use std::time::{Duration, Instant};

use zeroize::Zeroize;

use super::egress::Position;
use super::playout::Playout;
use crate::codec::{
    Codec, Concealer, Decoder, MAX_NARROW, MAX_PACKET_MS, MAX_SAMPLES, NARROW, Resampler,
};
use crate::wire::rtp::sequence_newer;

/// A packet that is older than the newest by less than this came late; one that is older by more
/// belongs to a stream that has begun anew (RFC 3550 appendix A.1 allows 100).
const MAX_MISORDER: u16 = 100;

/// What it is told that one packet said, at 8 kHz.
pub(super) type Listener<'a> = dyn FnMut(&[i16]) + 'a;

/// One party's voice on its way to another that speaks another codec.
///
/// It lives as long as the other party may hear this one, and is dropped, all it remembers with it,
/// when that ends: nothing of a cut can come out of a decoder that has never heard the cut.
pub(super) struct Transcoder {
    from: Codec,
    decoder: Decoder,
    /// Of decoders that can't guess by themselves.
    concealer: Option<Concealer>,
    resampler: Resampler,
    narrowing: Resampler,
    /// Samples a second that are decoded.
    rate: u32,
    newest: Option<Newest>,
    /// The key event that is being passed on.
    event: Option<EventRun>,
    playout: Playout,
}

/// A key event, and when it began on the stream that it is passed on to.
#[derive(Clone, Copy)]
struct EventRun {
    ssrc: u32,
    timestamp: u32,
    ours: u32,
}

/// Why a packet is not heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unplayable {
    /// Its time is past.
    Late,
    /// It can't be decoded.
    Malformed,
}

/// The newest packet, and where the one after it should begin.
#[derive(Clone, Copy)]
struct Newest {
    ssrc: u32,
    sequence: u16,
    end: u32,
}

/// How a packet stands to those before it.
enum Place {
    /// It came too late: its time is past.
    Late,
    /// Right behind the newest, after a pause, or the first of a stream.
    Next,
    /// So many ticks before it are lost.
    AfterLoss(u32),
}

/// What frames the other party is sent.
#[derive(Clone, Copy)]
pub(super) struct Frames {
    pub(super) codec: Codec,
    pub(super) ptime: Duration,
}

impl Frames {
    /// Samples of one frame, where voice of `from` is in it.
    pub(super) fn samples(self, from: Codec) -> usize {
        (self.codec.rate_beside(from) / 1000) as usize * self.ptime.as_millis() as usize
    }
}

impl Transcoder {
    /// From one codec to frames of another, each kept for `hold` at least.
    pub(super) fn new(now: Instant, from: Codec, to: Frames, hold: Duration) -> Transcoder {
        let (rate, out) = (from.rate_beside(to.codec), to.codec.rate_beside(from));
        let guesses = match from {
            Codec::Opus => true,
            Codec::G711(_) | Codec::G722 | Codec::L16(_) => false,
        };
        Transcoder {
            from,
            // Without memory the process ends, as everywhere: better than a delay that is not kept.
            decoder: Decoder::new(from, rate).expect("memory for a decoder"),
            concealer: (!guesses).then(|| Concealer::new(rate)),
            resampler: Resampler::new(rate, out),
            narrowing: Resampler::new(rate, NARROW),
            rate,
            newest: None,
            event: None,
            playout: Playout::new(now, out, to.samples(from), hold),
        }
    }

    /// The least time a frame stays.
    pub(super) fn hold(&self) -> Duration {
        self.playout.hold()
    }

    /// Takes in one packet, and tells what it says.
    pub(super) fn push(
        &mut self,
        now: Instant,
        at: Position,
        payload: &[u8],
        heard: &mut Listener<'_>,
    ) -> Result<(), Unplayable> {
        let place = self.place(at);
        let mut pcm = [0; MAX_SAMPLES];
        match place {
            Place::Late => return Err(Unplayable::Late),
            Place::Next => {}
            Place::AfterLoss(ticks) => self.recover(now, ticks, payload, &mut pcm),
        }
        // No packet is longer than this, whatever its octets would make.
        let longest = (self.rate / 1000 * MAX_PACKET_MS) as usize;
        let decoded = self.decoder.decode(payload, &mut pcm[..longest]);
        if let Ok(count) = decoded {
            self.newest = Some(Newest::of(at));
            let pcm = &mut pcm[..count];
            self.tell(pcm, heard);
            if let Some(concealer) = &mut self.concealer {
                concealer.pass(pcm);
            }
            self.play(now, pcm);
        }
        pcm.zeroize();
        decoded.map(drop).map_err(|_| Unplayable::Malformed)
    }

    /// Writes the next frame; `false` if there is nothing to be heard.
    pub(super) fn pop(&mut self, now: Instant, frame: &mut [i16]) -> bool {
        self.playout.pop(now, frame)
    }

    /// When the key event of a packet began on the other stream, which is at `now_there`.
    pub(super) fn begin_of(&mut self, at: Position, now_there: u32) -> u32 {
        let same = |run: &EventRun| (run.ssrc, run.timestamp) == (at.ssrc, at.timestamp);
        let begun = EventRun { ssrc: at.ssrc, timestamp: at.timestamp, ours: now_there };
        self.event.insert(self.event.filter(same).unwrap_or(begun)).ours
    }

    fn place(&self, at: Position) -> Place {
        let Some(newest) = self.newest.filter(|newest| newest.ssrc == at.ssrc) else {
            return Place::Next;
        };
        let behind = newest.sequence.wrapping_sub(at.sequence);
        if behind < MAX_MISORDER {
            return Place::Late;
        }
        let ticks = at.timestamp.wrapping_sub(newest.end);
        let most = self.from.clock() / 1000 * MAX_PACKET_MS;
        let is_next = at.sequence == newest.sequence.wrapping_add(1);
        if !is_next && sequence_newer(at.sequence, newest.sequence) && (1..=most).contains(&ticks) {
            return Place::AfterLoss(ticks);
        }
        Place::Next
    }

    /// Plays something in place of what was lost before `next`.
    fn recover(&mut self, now: Instant, ticks: u32, next: &[u8], pcm: &mut [i16; MAX_SAMPLES]) {
        let samples = u64::from(ticks) * u64::from(self.rate) / u64::from(self.from.clock());
        let pcm = &mut pcm[..(samples as usize).min(MAX_SAMPLES)];
        let is_filled = match &mut self.concealer {
            Some(concealer) => {
                concealer.fill(pcm);
                true
            }
            None => self.decoder.recover(next, pcm),
        };
        if is_filled {
            self.play(now, pcm);
        }
    }

    fn play(&mut self, now: Instant, pcm: &[i16]) {
        let Self { resampler, playout, .. } = self;
        resampler.push(pcm, &mut |sample| playout.push(now, &[sample]));
    }

    fn tell(&mut self, pcm: &[i16], heard: &mut Listener<'_>) {
        if self.rate == NARROW {
            return heard(pcm);
        }
        let mut narrow = [0; MAX_NARROW];
        let count = self.narrowing.fill(pcm, &mut narrow);
        heard(&narrow[..count]);
        narrow.zeroize();
    }
}

impl Newest {
    fn of(at: Position) -> Newest {
        Newest { ssrc: at.ssrc, sequence: at.sequence, end: at.timestamp.wrapping_add(at.samples) }
    }
}
