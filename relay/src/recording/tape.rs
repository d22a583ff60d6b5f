//! Tape: the last moments of a call, both sides on one time line, not yet given to the disk.

use std::ops::Range;
use std::time::{Duration, Instant};

use dtmf::g711::Law;
use zeroize::Zeroize;

use super::spans::Spans;
use crate::switchboard::Side;

/// Samples of one block: 100 ms at 8 kHz.
pub const BLOCK_SAMPLES: usize = 800;

/// Samples of one marked frame: 20 ms at 8 kHz.
pub const FRAME_SAMPLES: usize = 160;

/// Marked frames of one block.
pub const BLOCK_FRAMES: usize = BLOCK_SAMPLES / FRAME_SAMPLES;

/// The octet of mu-law silence.
pub const SILENCE: u8 = Law::Mu.silence();

/// What a cut takes back: 250 ms, longer than a key press and the way to a flip are apart.
const TAIL: u64 = 2000;

/// How far a packet's place may be from its arrival before the flow is anchored anew: 200 ms, more
/// than the jitter that a conversation survives.
const MAX_DRIFT: u64 = 1600;

/// Longest payload that is laid whole: a full Ethernet MTU, rounded up.
const MAX_PAYLOAD: usize = 1600;

/// Blocks the ring holds: the tail, the drift to both sides, one block in the making, a payload.
const RING_BLOCKS: usize = 10;
const RING: usize = RING_BLOCKS * BLOCK_SAMPLES;
const RING_FRAMES: usize = RING / FRAME_SAMPLES;

const _: () = assert!(BLOCK_SAMPLES.is_multiple_of(FRAME_SAMPLES));
const _: () = assert!(BLOCK_FRAMES <= u8::BITS as usize);
const _: () = assert!(
    TAIL as usize + 2 * MAX_DRIFT as usize + BLOCK_SAMPLES + MAX_PAYLOAD <= RING,
    "audio is clipped only when nobody polls"
);

/// 100 ms of a call. Deliberately without `Debug`: it is somebody's voice.
pub struct Block {
    /// Place of the first sample, in samples at 8 kHz since the recording began.
    pub start: u64,
    /// The caller, G.711 mu-law.
    pub caller: [u8; BLOCK_SAMPLES],
    /// The engine, G.711 mu-law.
    pub engine: [u8; BLOCK_SAMPLES],
    /// Bit `n` is set where frame `n` (20 ms each) belongs to a secure span.
    pub secure: u8,
    /// Whether the recording was paused in a part of it.
    pub paused: bool,
}

impl Block {
    /// Leaves nothing of the voice behind in memory.
    pub(super) fn wipe(&mut self) {
        self.caller.zeroize();
        self.engine.zeroize();
    }
}

/// The media thread's half of a recording: a ring of fixed size, without I/O or a clock.
///
/// Lay what may be heard, poll blocks until `None` at least once a frame. A block comes out when
/// it is over for 250 ms, so that a cut can still replace what was keyed just before it.
pub struct Tape {
    begun: Instant,
    /// First sample that has not been polled; whole blocks.
    base: u64,
    /// The recording's length in samples, once it is over.
    length: Option<u64>,
    /// Nothing will take anything back any more.
    is_final: bool,
    lanes: [Lane; 2],
    /// Secure spans, in whole frames.
    secure: Spans,
    pauses: Spans,
}

impl Tape {
    /// A tape that begins now.
    #[must_use]
    pub fn new(begun: Instant) -> Tape {
        let lanes = [Lane::new(), Lane::new()];
        let (secure, pauses) = (Spans::default(), Spans::default());
        Tape { begun, base: 0, length: None, is_final: false, lanes, secure, pauses }
    }

    /// Lays one packet's G.711 octets at their place: the first of a flow where it arrives, the
    /// others by RTP timestamp (8 kHz). A flow that has jumped or drifted is anchored anew.
    ///
    /// The caller is refused while the call is cut; that it is tried at all is a defect upstream.
    /// In a pause both sides are.
    pub fn lay(&mut self, now: Instant, side: Side, rtp_timestamp: u32, law: Law, payload: &[u8]) {
        debug_assert!(side == Side::Engine || !self.is_cut(), "a cut caller reached the tape");
        self.lay_unless_cut(now, side, rtp_timestamp, law, payload);
    }

    /// Begins a secure span: what the caller sent in the last 250 ms becomes silence, and the
    /// caller is refused until [`Tape::uncut`]. A second cut changes nothing.
    pub fn cut(&mut self, now: Instant) {
        if self.is_cut() {
            return;
        }
        let elapsed = self.elapsed(now);
        let start = self.lanes[Side::Caller.index()].take_back(self.base, elapsed);
        self.secure.begin(start);
        debug_assert!(self.is_cut());
    }

    /// Ends the secure span at the next whole frame.
    pub fn uncut(&mut self, now: Instant) {
        let end = self.elapsed(now).next_multiple_of(FRAME_SAMPLES as u64);
        if self.secure.end(end) {
            self.lanes[Side::Caller.index()].begin_at(end);
        }
    }

    /// Begins a pause: both sides are refused until [`Tape::resume`], and the time goes on. What
    /// came before stays, since it was said before. A second pause changes nothing.
    pub fn pause(&mut self, now: Instant) {
        if !self.is_paused() {
            self.pauses.begin(self.elapsed(now));
        }
    }

    /// Ends the pause. What is laid after it lies behind it.
    pub fn resume(&mut self, now: Instant) {
        let end = self.elapsed(now);
        if self.pauses.end(end) {
            for lane in &mut self.lanes {
                lane.begin_at(end);
            }
        }
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.pauses.is_open()
    }

    /// The next block, once it can no longer be taken back.
    pub fn poll_block(&mut self, now: Instant) -> Option<Block> {
        if !self.is_block_due(now) {
            return None;
        }
        let start = self.base;
        let secure = self.secure_frames(start);
        let [caller, engine] = &mut self.lanes;
        let paused = self.pauses.touch(start, BLOCK_SAMPLES);
        let (caller, engine) = (caller.take(start), engine.take(start));
        self.base += BLOCK_SAMPLES as u64;
        self.secure.forget_before(self.base);
        self.pauses.forget_before(self.base);
        Some(Block { start, caller, engine, secure, paused })
    }

    /// Ends the tape while its call goes on: nothing more is laid, and the rest comes out as before,
    /// so that a cut within 250 ms takes it back.
    pub fn stop(&mut self, now: Instant) {
        let elapsed = self.elapsed(now);
        self.length.get_or_insert(elapsed);
    }

    /// Ends the tape with its call: the rest can be polled at once. Returns its length in samples,
    /// which is shorter if it was stopped before.
    pub fn finish(&mut self, now: Instant) -> u64 {
        self.is_final = true;
        let elapsed = self.elapsed(now);
        *self.length.get_or_insert(elapsed)
    }

    /// Its length in samples, once it has ended.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The same, once all of it was polled.
    #[must_use]
    pub fn polled_length(&self) -> Option<u64> {
        self.length.filter(|length| *length <= self.base)
    }

    fn is_cut(&self) -> bool {
        self.secure.is_open()
    }

    fn elapsed(&self, now: Instant) -> u64 {
        samples(now.saturating_duration_since(self.begun))
    }

    fn lay_unless_cut(
        &mut self,
        now: Instant,
        side: Side,
        rtp_timestamp: u32,
        law: Law,
        payload: &[u8],
    ) {
        let is_cut = match side {
            Side::Caller => self.is_cut(),
            Side::Engine => false,
        };
        if is_cut || self.is_paused() || self.length.is_some() {
            return;
        }
        let elapsed = self.elapsed(now);
        let window = self.base..self.base + RING as u64;
        self.lanes[side.index()].lay(window, elapsed, rtp_timestamp, law, payload);
    }

    fn is_block_due(&self, now: Instant) -> bool {
        let is_left = self.length.is_none_or(|length| self.base < length);
        if self.is_final || !is_left {
            return is_left;
        }
        let Some(settled) = self.elapsed(now).checked_sub(TAIL) else { return false };
        let end = self.base + BLOCK_SAMPLES as u64;
        // A late packet lies further back than it arrived; it, too, must rest for the whole tail.
        end <= settled && self.lanes[Side::Caller.index()].is_settled(self.base, settled)
    }

    fn secure_frames(&self, start: u64) -> u8 {
        let is_secure = |frame: u64| self.secure.touch(frame, FRAME_SAMPLES);
        let frames = (start..).step_by(FRAME_SAMPLES).take(BLOCK_FRAMES);
        frames.enumerate().fold(0, |bits, (n, frame)| bits | u8::from(is_secure(frame)) << n)
    }
}

/// One side.
struct Lane {
    flow: Option<Flow>,
    /// Nothing is laid before this sample, so that no straggler falls into a secure span or a pause.
    floor: u64,
    /// Apart, since a packet writes into it and reads nothing of it: whoever has to know where to
    /// write must not wait for it.
    audio: Box<Audio>,
}

/// One side's ring.
struct Audio {
    ring: [u8; RING],
    /// When a frame was last laid into, in samples since the recording began.
    laid: [Option<u64>; RING_FRAMES],
}

/// Where the last packet of a flow lies.
#[derive(Clone, Copy)]
struct Flow {
    timestamp: u32,
    start: u64,
}

impl Lane {
    fn new() -> Lane {
        let audio = Audio { ring: [SILENCE; RING], laid: [None; RING_FRAMES] };
        Lane { flow: None, floor: 0, audio: Box::new(audio) }
    }

    /// What comes from now on is a flow of its own, and lies behind this sample.
    fn begin_at(&mut self, start: u64) {
        self.flow = None;
        self.floor = self.floor.max(start);
    }

    fn lay(&mut self, window: Range<u64>, elapsed: u64, timestamp: u32, law: Law, payload: &[u8]) {
        let place = self.place(elapsed, timestamp);
        let start = place.max(window.start).max(self.floor);
        let room = usize::try_from(window.end.saturating_sub(start)).unwrap_or(RING);
        let skipped = usize::try_from(start - place).unwrap_or(usize::MAX);
        let payload = payload.get(skipped..).unwrap_or_default();
        let payload = &payload[..payload.len().min(room)];
        if payload.is_empty() {
            return;
        }

        let at = (start % RING as u64) as usize;
        let (head, rest) = payload.split_at(payload.len().min(RING - at));
        for (at, part) in [(at, head), (0, rest)] {
            let slot = &mut self.audio.ring[at..at + part.len()];
            slot.copy_from_slice(part);
            law.transcode(Law::Mu, slot);
        }
        let end = start + payload.len() as u64;
        for frame in start / FRAME_SAMPLES as u64..end.div_ceil(FRAME_SAMPLES as u64) {
            self.audio.laid[(frame % RING_FRAMES as u64) as usize] = Some(elapsed);
        }
    }

    /// Place of a packet: as far from the last one as their timestamps are, unless that is too far
    /// from its arrival to be true (a new source, a jump, a clock that drifts).
    fn place(&mut self, elapsed: u64, timestamp: u32) -> u64 {
        let follow = |flow: Flow| {
            let step = timestamp.wrapping_sub(flow.timestamp).cast_signed();
            flow.start.checked_add_signed(i64::from(step))
        };
        let followed = self.flow.and_then(follow);
        let start = followed.filter(|at| at.abs_diff(elapsed) <= MAX_DRIFT).unwrap_or(elapsed);
        self.flow = Some(Flow { timestamp, start });
        start
    }

    /// Whether nothing was laid into the block since `settled`.
    fn is_settled(&self, block: u64, settled: u64) -> bool {
        let first = frame_slot(block);
        self.audio.laid[first..first + BLOCK_FRAMES]
            .iter()
            .all(|laid| laid.is_none_or(|at| at <= settled))
    }

    /// Overwrites what came in the last 250 ms, and ends the flow. Returns the first silent frame.
    fn take_back(&mut self, base: u64, elapsed: u64) -> u64 {
        self.flow = None;
        let is_tail = |frame: u64| {
            let laid = self.audio.laid[frame_slot(frame)];
            frame + FRAME_SAMPLES as u64 > elapsed || laid.is_some_and(|at| at + TAIL > elapsed)
        };
        let mut frames = (base..base + RING as u64).step_by(FRAME_SAMPLES);
        let Some(start) = frames.find(|frame| is_tail(*frame)) else { return elapsed };
        for frame in (start..base + RING as u64).step_by(FRAME_SAMPLES) {
            let at = (frame % RING as u64) as usize;
            self.audio.ring[at..at + FRAME_SAMPLES].fill(SILENCE);
            self.audio.laid[frame_slot(frame)] = None;
        }
        start
    }

    /// The samples of a block, leaving silence for the ring's next turn.
    fn take(&mut self, block: u64) -> [u8; BLOCK_SAMPLES] {
        let mut samples = [SILENCE; BLOCK_SAMPLES];
        let first = frame_slot(block);
        let laid = &mut self.audio.laid[first..first + BLOCK_FRAMES];
        // Of a side that is cut there is silence already: it need not be fetched to be silenced.
        if laid.iter().any(Option::is_some) {
            laid.fill(None);
            let at = (block % RING as u64) as usize;
            let slot = &mut self.audio.ring[at..at + BLOCK_SAMPLES];
            samples.copy_from_slice(slot);
            slot.fill(SILENCE);
        }
        samples
    }
}

fn frame_slot(sample: u64) -> usize {
    (sample / FRAME_SAMPLES as u64 % RING_FRAMES as u64) as usize
}

/// Samples at 8 kHz in a length of time.
fn samples(time: Duration) -> u64 {
    u64::try_from(time.as_micros() * 8 / 1000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::scratch::some_instant;
    use super::*;
    use proptest::prelude::*;

    /// Octets by when the caller sent them: before the tail, in the tail, cut, after the cut.
    const OLD: u8 = 0x11;
    const KEYED: u8 = 0x22;
    const CUT: u8 = 0x33;
    const AFTER: u8 = 0x44;
    const ENGINE: u8 = 0x55;

    const FRAME: Duration = Duration::from_millis(20);

    #[test]
    fn octets_lie_where_their_timestamp_says() {
        let opened = some_instant();
        let mut tape = Tape::new(opened);
        let now = opened + Duration::from_millis(100);
        let first = u32::MAX - 100;
        tape.lay(now, Side::Caller, first, Law::Mu, &[1; 160]);
        // The third packet overtakes the second; the fourth is lost. Timestamps wrap.
        tape.lay(now, Side::Caller, first.wrapping_add(320), Law::Mu, &[3; 160]);
        tape.lay(now, Side::Caller, first.wrapping_add(160), Law::Mu, &[2; 160]);
        tape.lay(now, Side::Caller, first.wrapping_add(640), Law::Mu, &[5; 160]);
        let (caller, engine, length) = play_out(&mut tape, opened + Duration::from_millis(301));
        let heard: Vec<u8> = caller.chunks(160).map(|frame| frame[0]).collect();
        let s = SILENCE;
        assert_eq!(heard, [s, s, s, s, s, 1, 2, 3, s, 5, s, s, s, s, s, s, s, s, s, s]);
        assert!(engine.iter().all(|octet| *octet == SILENCE));
        assert_eq!((length, caller.len()), (2408, 3200));
    }

    #[test]
    fn a_law_is_laid_as_mu_law() {
        let opened = some_instant();
        let mut tape = Tape::new(opened);
        let codes: Vec<u8> = (0..=255).collect();
        // Across the ring's end, where a packet lies in two parts.
        let now = opened + Duration::from_millis(990);
        while tape.poll_block(now).is_some() {}
        tape.lay(now, Side::Engine, 7, Law::A, &codes);
        let (_, engine, _) = play_out(&mut tape, opened + Duration::from_secs(2));
        let at = 990 * 8 - 7 * BLOCK_SAMPLES;
        for (code, heard) in codes.iter().zip(&engine[at..]) {
            assert_eq!(*heard, Law::Mu.encode(Law::A.decode(*code)), "{code:#04x}");
        }
    }

    #[test]
    fn a_jump_or_drift_is_anchored_where_it_arrives() {
        for step in [1_000_000, 160 + 1601, (-1601_i32 + 160).cast_unsigned(), 1 << 31] {
            let opened = some_instant();
            let mut tape = Tape::new(opened);
            let second = opened + Duration::from_millis(220);
            tape.lay(opened + Duration::from_millis(200), Side::Caller, 0, Law::Mu, &[1; 160]);
            tape.lay(second, Side::Caller, step, Law::Mu, &[2; 160]);
            tape.lay(second + FRAME, Side::Caller, step.wrapping_add(160), Law::Mu, &[3; 160]);
            let (caller, ..) = play_out(&mut tape, opened + Duration::from_secs(1));
            let heard: Vec<u8> = caller[1600..2400].chunks(160).map(|frame| frame[0]).collect();
            assert_eq!(heard, [1, 2, 3, SILENCE, SILENCE], "step {step}");
        }
    }

    #[test]
    fn a_payload_of_any_length_at_any_time_is_survived() {
        let opened = some_instant();
        let mut tape = Tape::new(opened);
        for seconds in [0, 1, 1000, 3] {
            let now = opened + Duration::from_secs(seconds);
            for payload in [&[][..], &[9; 1], &[9; 1500], &[9; 100_000]] {
                tape.lay(now, Side::Caller, 0, Law::A, payload);
            }
        }
        // Nobody polled for a thousand seconds: the time is kept, what did not fit is silence.
        let (caller, _, length) = play_out(&mut tape, opened + Duration::from_secs(1000));
        assert_eq!((length, caller.len()), (8_000_000, 8_000_000));
        assert!(caller[RING..].iter().all(|octet| *octet == SILENCE));
    }

    #[test]
    fn a_late_packet_rests_for_the_whole_tail() {
        let opened = some_instant();
        let mut tape = Tape::new(opened);
        tape.lay(opened, Side::Caller, 0, Law::Mu, &[OLD; 160]);
        // 190 ms late: its block is nearly old enough when it comes.
        let late = opened + Duration::from_millis(250);
        tape.lay(late, Side::Caller, 480, Law::Mu, &[KEYED; 160]);
        assert!(tape.poll_block(late + Duration::from_millis(249)).is_none());
        tape.cut(late + Duration::from_millis(249));
        let (caller, ..) = play_out(&mut tape, late + Duration::from_secs(1));
        assert!(caller.contains(&OLD));
        assert!(!caller.contains(&KEYED));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "a cut caller reached the tape")]
    fn laying_a_cut_caller_is_a_defect() {
        let now = some_instant();
        let mut tape = Tape::new(now);
        tape.cut(now);
        tape.lay(now, Side::Caller, 0, Law::Mu, &[CUT; 160]);
    }

    #[test]
    fn two_spans_are_marked_apart() {
        let opened = some_instant();
        let at = |ms| opened + Duration::from_millis(ms);
        let mut tape = Tape::new(opened);
        for (cut, uncut) in [(1000, 1100), (1400, 1500)] {
            tape.cut(at(cut));
            tape.cut(at(cut + 10));
            tape.uncut(at(uncut));
            tape.uncut(at(uncut + 10));
        }
        tape.finish(at(2000));
        let mut marks = Vec::new();
        while let Some(block) = tape.poll_block(at(2000)) {
            marks.push(block.secure);
        }
        let all = 0b11111;
        let expected = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, all, 0, 0, 0, all, 0, 0, 0, 0, 0];
        assert_eq!(marks, expected);
    }

    #[test]
    fn a_pause_keeps_what_was_said_before_it_and_nothing_else() {
        for is_paused in [true, false] {
            let opened = some_instant();
            let at = |ms| opened + Duration::from_millis(ms);
            let mut tape = Tape::new(opened);
            for (ms, octet) in [(360, OLD), (380, OLD), (400, CUT), (580, CUT), (600, AFTER)] {
                match ms {
                    400 if is_paused => tape.pause(at(ms)),
                    600 => tape.resume(at(ms)),
                    _ => {}
                }
                for side in Side::ALL {
                    tape.lay(at(ms), side, ms as u32 * 8, Law::Mu, &[octet; 160]);
                }
            }
            let (caller, engine, length) = play_out(&mut tape, at(2000));
            assert_eq!((length, caller.len(), engine.len()), (16_000, 16_000, 16_000));
            for lane in [caller, engine] {
                let counts = [OLD, CUT, AFTER].map(|octet| count(&lane, octet));
                let withheld = if is_paused { 0 } else { 320 };
                assert_eq!(counts, [320, withheld, 160], "paused: {is_paused}");
            }
        }
    }

    #[test]
    fn what_was_sent_in_a_pause_and_comes_later_falls_before_its_end() {
        let opened = some_instant();
        let at = |ms| opened + Duration::from_millis(ms);
        let mut tape = Tape::new(opened);
        tape.pause(at(100));
        tape.resume(at(200));
        // The first of the new flow is the anchor; an older one lies in the pause.
        tape.lay(at(200), Side::Caller, 1600, Law::Mu, &[AFTER; 160]);
        tape.lay(at(205), Side::Caller, 1440, Law::Mu, &[CUT; 160]);
        let (caller, ..) = play_out(&mut tape, at(400));
        assert_eq!([CUT, AFTER].map(|octet| count(&caller, octet)), [0, 160]);
    }

    #[test]
    fn pauses_are_marked_by_blocks_and_cut_and_pause_end_by_themselves() {
        let opened = some_instant();
        let at = |ms| opened + Duration::from_millis(ms);
        let mut tape = Tape::new(opened);
        tape.pause(at(250));
        tape.pause(at(260));
        tape.cut(at(300));
        tape.resume(at(410));
        tape.resume(at(420));
        tape.lay(at(420), Side::Engine, 0, Law::Mu, &[ENGINE; 160]);
        tape.uncut(at(500));
        tape.lay(at(500), Side::Caller, 0, Law::Mu, &[AFTER; 160]);
        tape.finish(at(700));
        let blocks: Vec<Block> = std::iter::from_fn(|| tape.poll_block(at(700))).collect();
        let paused: Vec<bool> = blocks.iter().map(|block| block.paused).collect();
        assert_eq!(paused, [false, false, true, true, true, false, false]);
        let secure: Vec<bool> = blocks.iter().map(|block| block.secure != 0).collect();
        assert_eq!(secure, [false, false, false, true, true, false, false]);
        assert_eq!(count(&blocks[4].engine, ENGINE), 160);
        assert_eq!(count(&blocks[5].caller, AFTER), 160);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Whatever is cut and paused in whatever order: each frame is there or is not, as said.
        #[test]
        fn cuts_and_pauses_of_any_order_withhold_what_they_should(
            steps in prop::collection::vec((1_u64..40, any::<bool>(), any::<bool>()), 0..20),
            poll in 1_u64..12,
        ) {
            let heard = play(&steps, poll, true);
            for (frame, expected) in heard.expected.iter().enumerate() {
                for side in Side::ALL {
                    let octets = &heard.lanes[side.index()][frame * FRAME_SAMPLES..][..FRAME_SAMPLES];
                    let said = if expected[side.index()] { code(frame as u64) } else { SILENCE };
                    prop_assert!(octets.iter().all(|octet| *octet == said), "{side:?}, frame {frame}");
                }
            }
            for (frame, (paused, cut)) in heard.said_in.iter().enumerate() {
                let (is_secure, is_paused) = heard.marks[frame];
                prop_assert!(!paused || is_paused, "frame {frame} was said in a pause");
                prop_assert!(!cut || is_secure, "frame {frame} was said in a cut");
            }
            // The control: where the pauses are not told to the tape, what is said in them is laid.
            let leaky = play(&steps, poll, false);
            for (frame, (paused, _)) in leaky.said_in.iter().enumerate() {
                let octet = leaky.lanes[Side::Engine.index()][frame * FRAME_SAMPLES];
                prop_assert!(!paused || octet == code(frame as u64), "the control, frame {frame}");
            }
        }

        #[test]
        fn what_arrives_comes_out_once_and_in_place(network in network(), poll in 1_usize..12) {
            let opened = some_instant();
            let mut tape = Tape::new(opened);
            let mut audio = (Vec::new(), Vec::new());
            for (n, (packet, arrival)) in network.arrivals().into_iter().enumerate() {
                let now = opened + arrival;
                let ts = network.timestamp(packet);
                tape.lay(now, Side::Caller, ts, Law::Mu, &[1 + (packet % 200) as u8; 160]);
                if n % poll == 0 {
                    collect(&mut tape, now, &mut audio);
                }
            }
            let end = opened + FRAME * network.packets() as u32 + Duration::from_secs(1);
            let length = tape.finish(end);
            collect(&mut tape, end, &mut audio);
            prop_assert!(audio.0.len() as u64 >= length);
            prop_assert!((audio.0.len() as u64) < length + BLOCK_SAMPLES as u64);

            // The first to arrive is the anchor of all.
            let arrivals = network.arrivals();
            let Some((anchor, arrival)) = arrivals.first() else { return Ok(()) };
            let mut expected = vec![SILENCE; audio.0.len()];
            for (packet, _) in &arrivals {
                let at = samples(*arrival) as i64 + (*packet as i64 - *anchor as i64) * 160;
                for at in at.max(0)..at + 160 {
                    expected[at as usize] = 1 + (packet % 200) as u8;
                }
            }
            prop_assert!(audio.0 == expected);
        }

        #[test]
        fn a_cut_takes_back_the_tail_and_keeps_the_rest_out(
            network in network(),
            cut_ms in 1_u64..3000,
            length_ms in 1_u64..1500,
            poll in 1_u64..15,
        ) {
            let cut = cut_ms..cut_ms + length_ms;
            let with_cut = record(&network, &cut, true, poll);
            let without = record(&network, &cut, false, poll);
            for secret in [KEYED, CUT] {
                prop_assert!(!with_cut.caller.contains(&secret), "{secret:#x} came out");
                // Fewer packets may all lie under a duplicate that came later.
                let is_sent = count(&without.sent, secret) > 4;
                prop_assert!(!is_sent || without.caller.contains(&secret), "control {secret:#x}");
            }
            // Only whole frames are taken back, so a packet that shares one with the tail may go.
            let kept = count(&with_cut.caller, OLD);
            let laid = count(&without.caller, OLD);
            prop_assert!(kept + 3 * FRAME_SAMPLES >= laid || !network.is_in_order(), "{kept} of {laid}");
            prop_assert!(count(&with_cut.engine, ENGINE) == count(&without.engine, ENGINE));
            prop_assert!(without.secure.iter().all(|secure| !secure));
            for (frame, secure) in with_cut.caller.chunks(FRAME_SAMPLES).zip(&with_cut.secure) {
                prop_assert!(!secure || frame.iter().all(|octet| *octet == SILENCE));
            }
            let marked = with_cut.secure.iter().filter(|secure| **secure).count() as u64 * 20;
            prop_assert!(marked >= length_ms);
            prop_assert!(marked <= length_ms + 250 + 200 + 40, "{marked} of {length_ms} ms");
        }
    }

    /// What a tape was told, and what came of it, by frames of 20 ms.
    struct Played {
        lanes: [Vec<u8>; 2],
        /// Whether a frame is marked as secure and as paused.
        marks: Vec<(bool, bool)>,
        /// Whether it was said in a pause and in a cut.
        said_in: Vec<(bool, bool)>,
        /// Whether it should be there, by [`Side::index`].
        expected: Vec<[bool; 2]>,
    }

    /// Both sides say a frame each 20 ms. After each step's number of frames, between two of them,
    /// the call is paused or not, and cut or not.
    fn play(steps: &[(u64, bool, bool)], poll: u64, tells_pauses: bool) -> Played {
        let opened = some_instant();
        let mut tape = Tape::new(opened);
        let mut played =
            Played { lanes: [vec![], vec![]], marks: vec![], said_in: vec![], expected: vec![] };
        let (mut paused, mut cut, mut frame) = (false, false, 0);
        let steps = steps.iter().copied().chain([(40, false, false)]);
        for (frames, pause_next, cut_next) in steps {
            for _ in 0..frames {
                let now = opened + FRAME * frame as u32;
                let timestamp = frame as u32 * 160;
                let payload = [code(frame); 160];
                if !cut {
                    tape.lay(now, Side::Caller, timestamp, Law::Mu, &payload);
                }
                tape.lay(now, Side::Engine, timestamp, Law::Mu, &payload);
                played.said_in.push((paused, cut));
                played.expected.push([!paused && !cut, !paused]);
                if frame % poll == 0 {
                    collect_played(&mut tape, now, &mut played);
                }
                frame += 1;
            }
            let now = opened + FRAME * frame as u32 - Duration::from_millis(10);
            if tells_pauses && pause_next {
                tape.pause(now)
            } else {
                tape.resume(now)
            }
            if cut_next && !cut {
                // What lies in the tail is taken back.
                for (n, expected) in played.expected.iter_mut().enumerate() {
                    expected[0] &= n as u64 * 160 + TAIL <= frame * 160 - 80;
                }
            }
            if cut_next {
                tape.cut(now)
            } else {
                tape.uncut(now)
            }
            (paused, cut) = (pause_next, cut_next);
        }
        let end = opened + FRAME * frame as u32;
        assert_eq!(tape.finish(end), frame * 160);
        collect_played(&mut tape, end, &mut played);
        played
    }

    fn collect_played(tape: &mut Tape, now: Instant, played: &mut Played) {
        while let Some(block) = tape.poll_block(now) {
            played.lanes[0].extend(block.caller);
            played.lanes[1].extend(block.engine);
            let marks = (0..BLOCK_FRAMES).map(|n| (block.secure & 1 << n != 0, block.paused));
            played.marks.extend(marks);
        }
    }

    /// The octet that a frame is made of: that of none of the 200 before it, and never silence.
    fn code(frame: u64) -> u8 {
        (frame % 200) as u8 + 1
    }

    /// What happens to each packet of a caller who talks for three to four seconds.
    #[derive(Clone, Debug)]
    struct Network {
        first_timestamp: u32,
        /// Delay of each copy that arrives, in milliseconds.
        packets: Vec<Vec<u64>>,
    }

    fn network() -> impl Strategy<Value = Network> {
        let packet = prop_oneof![
            8 => (0_u64..90).prop_map(|delay| vec![delay]),
            1 => Just(vec![]),
            1 => (0_u64..90, 0_u64..90).prop_map(|(one, other)| vec![one, other]),
        ];
        let lossy = prop::collection::vec(packet, 150..200);
        let clean = Just(vec![vec![0]; 180]);
        let packets = prop_oneof![3 => lossy, 1 => clean];
        (any::<u32>(), packets)
            .prop_map(|(first_timestamp, packets)| Network { first_timestamp, packets })
    }

    impl Network {
        fn packets(&self) -> usize {
            self.packets.len()
        }

        fn timestamp(&self, packet: usize) -> u32 {
            self.first_timestamp.wrapping_add(packet as u32 * 160)
        }

        /// Packets with the time at which they arrive, in that order.
        fn arrivals(&self) -> Vec<(usize, Duration)> {
            let mut arrivals: Vec<_> = (0..)
                .zip(&self.packets)
                .flat_map(|(packet, copies)| {
                    copies.iter().map(move |delay| {
                        (packet, FRAME * packet as u32 + Duration::from_millis(*delay))
                    })
                })
                .collect();
            arrivals.sort_by_key(|(_, arrival)| *arrival);
            arrivals
        }

        fn is_in_order(&self) -> bool {
            self.arrivals().is_sorted_by_key(|(packet, _)| *packet)
        }
    }

    struct Recorded {
        sent: Vec<u8>,
        caller: Vec<u8>,
        engine: Vec<u8>,
        secure: Vec<bool>,
    }

    /// Plays a call of five seconds with one cut, ticking every millisecond.
    fn record(network: &Network, cut: &Range<u64>, is_cut: bool, poll: u64) -> Recorded {
        let opened = some_instant();
        let mut tape = Tape::new(opened);
        let mut recorded =
            Recorded { sent: vec![], caller: vec![], engine: vec![], secure: vec![] };
        let mut arrivals = network.arrivals().into_iter().peekable();
        for ms in 0..5000 {
            let now = opened + Duration::from_millis(ms);
            while let Some((packet, _)) =
                arrivals.next_if(|(_, arrival)| arrival.as_millis() as u64 <= ms)
            {
                let octet = match ms {
                    _ if cut.contains(&ms) => CUT,
                    _ if ms >= cut.end => AFTER,
                    _ if ms + 250 >= cut.start => KEYED,
                    _ => OLD,
                };
                recorded.sent.push(octet);
                let ts = network.timestamp(packet);
                tape.lay_unless_cut(now, Side::Caller, ts, Law::Mu, &[octet; 160]);
            }
            if ms % 20 == 3 {
                tape.lay(now, Side::Engine, ms as u32 * 8, Law::Mu, &[ENGINE; 160]);
            }
            // What came in this very millisecond is laid already.
            if is_cut && ms + 1 == cut.start {
                tape.cut(now);
            }
            if is_cut && ms + 1 == cut.end {
                tape.uncut(now);
            }
            if ms % poll == 0 {
                collect_marked(&mut tape, now, &mut recorded);
            }
        }
        let end = opened + Duration::from_secs(5);
        assert_eq!(tape.finish(end), 40_000);
        collect_marked(&mut tape, end, &mut recorded);
        assert_eq!((recorded.caller.len(), recorded.engine.len()), (40_000, 40_000));
        recorded
    }

    fn collect_marked(tape: &mut Tape, now: Instant, recorded: &mut Recorded) {
        while let Some(block) = tape.poll_block(now) {
            assert_eq!(block.start, recorded.caller.len() as u64);
            recorded.caller.extend(block.caller);
            recorded.engine.extend(block.engine);
            recorded.secure.extend((0..BLOCK_FRAMES).map(|n| block.secure & 1 << n != 0));
        }
    }

    fn collect(tape: &mut Tape, now: Instant, (caller, engine): &mut (Vec<u8>, Vec<u8>)) {
        while let Some(block) = tape.poll_block(now) {
            assert_eq!(block.start, caller.len() as u64);
            caller.extend(block.caller);
            engine.extend(block.engine);
        }
    }

    /// Ends the call after whatever was polled before, and returns the rest and its length.
    fn play_out(tape: &mut Tape, end: Instant) -> (Vec<u8>, Vec<u8>, u64) {
        let length = tape.finish(end);
        let (mut caller, mut engine) = (Vec::new(), Vec::new());
        while let Some(block) = tape.poll_block(end) {
            caller.extend(block.caller);
            engine.extend(block.engine);
        }
        (caller, engine, length)
    }

    fn count(octets: &[u8], wanted: u8) -> usize {
        octets.iter().filter(|octet| **octet == wanted).count()
    }
}
