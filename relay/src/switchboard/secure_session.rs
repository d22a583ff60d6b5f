//! SecureSession: the period of a cut. Whatever it knows of keys lives in one locked page.

use std::time::{Duration, Instant};

use dtmf::event_receiver::{EventPacket, EventReceiver};
use dtmf::g711::Law;
use dtmf::redundancy::MalformedRedundancy;
use dtmf::{Collector, Detector, Digit, Progress, SecurePlan, Step, Verdict};
use locked_page::Locked;
use zeroize::Zeroize;

use super::egress::Position;
use super::id::SessionId;
use super::limits::{DRAIN_HEARD, DRAIN_QUIET, DRAIN_STALL, FRAME_SAMPLES};
use super::routing::EngineAudio;

/// Longest hole in the audio that is told to the detector sample by sample; a longer one is as
/// good as a new stream.
const MAX_HOLE: u32 = 8000;

/// One secure session.
pub(super) struct SecureSession {
    id: SessionId,
    engine_audio: EngineAudio,
    entered: Instant,
    current: Option<(Step, u8)>,
    room: Locked<Room>,
}

/// All that could tell a key: the one thing inside the page.
struct Room {
    detector: Detector,
    collector: Collector,
    stream: Option<(u32, u32)>,
    quiet_samples: u32,
    quiet_since: Instant,
    audio_at: Instant,
}

impl SecureSession {
    /// Begins to listen and collect. `before` is what the leg heard of events so far, so that an
    /// event begun before the cut is not taken for a key of the session.
    pub(super) fn new(
        now: Instant,
        id: SessionId,
        plan: SecurePlan,
        engine_audio: EngineAudio,
        before: &EventReceiver,
    ) -> Result<SecureSession, locked_page::LockError> {
        let room = Locked::new(|| Room {
            detector: Detector::new(now, before),
            collector: Collector::new(plan, now),
            stream: None,
            quiet_samples: 0,
            quiet_since: now,
            audio_at: now,
        })?;
        Ok(SecureSession { id, engine_audio, entered: now, current: None, room })
    }

    /// The session's id.
    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    /// Whether the engine may talk to the caller meanwhile.
    pub(super) fn engine_audio(&self) -> EngineAudio {
        self.engine_audio
    }

    /// When the cut came into force.
    pub(super) fn entered(&self) -> Instant {
        self.entered
    }

    /// Listens to voice of the caller for tones.
    pub(super) fn hear_audio(&mut self, now: Instant, law: Law, at: Position, payload: &[u8]) {
        let room = &mut *self.room;
        if !room.follows(now, at) {
            return;
        }
        room.note_arrival(now);
        let mut pcm = [0i16; FRAME_SAMPLES];
        for codes in payload.chunks(FRAME_SAMPLES) {
            let pcm = &mut pcm[..codes.len()];
            for (sample, &code) in pcm.iter_mut().zip(codes) {
                *sample = law.decode(code);
            }
            room.quiet_samples = room.quiet_samples.saturating_add(codes.len() as u32);
            room.detector.hear_audio(now, pcm, &mut |press| {
                room.collector.handle_key(now, press.digit);
            });
        }
        pcm.zeroize();
        room.note_quiet();
    }

    /// Listens to a key event of the caller.
    pub(super) fn hear_event(&mut self, now: Instant, at: Position, payload: &[u8]) {
        let room = &mut *self.room;
        let packet = EventPacket {
            arrival: now,
            ssrc: at.ssrc,
            sequence: at.sequence,
            timestamp: at.timestamp,
            marker: at.marker,
            payload,
        };
        room.detector.hear_event(packet, &mut |press| {
            room.collector.handle_key(now, press.digit);
        });
        room.note_quiet();
    }

    /// Listens to the key events of a redundant packet, its blocks of type `event_type`; the other
    /// blocks are heard by nobody.
    pub(super) fn hear_redundant(
        &mut self,
        packet: EventPacket<'_>,
        event_type: u8,
    ) -> Result<(), MalformedRedundancy> {
        let room = &mut *self.room;
        room.detector.hear_redundant(packet, event_type, &mut |press| {
            room.collector.handle_key(packet.arrival, press.digit);
        })?;
        room.note_quiet();
        Ok(())
    }

    /// A key that came by signalling.
    pub(super) fn hear_signalled(&mut self, now: Instant, digit: Digit) {
        let room = &mut *self.room;
        room.detector.hear_signalled(now, digit, &mut |press| {
            room.collector.handle_key(now, press.digit);
        });
        room.note_quiet();
    }

    /// Runs the collector's timers.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.room.collector.handle_timeout(now);
    }

    /// When the collector's next timer is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.room.collector.poll_timeout()
    }

    /// What the script may be told next.
    pub(super) fn poll_progress(&mut self) -> Option<Progress> {
        let progress = self.room.collector.poll_progress()?;
        if let Progress::FieldStarted { step, attempt } = progress {
            self.current = Some((step, attempt));
        }
        Some(progress)
    }

    /// How the collection ended, once it has.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.room.collector.verdict()
    }

    /// The field in progress and its attempt, from 1.
    pub(super) fn current(&self) -> Option<(Step, u8)> {
        self.current
    }

    /// How far the field is, quantised: groups of four keys begun.
    pub(super) fn masked_progress(&self) -> u8 {
        self.room.collector.masked_progress().groups()
    }

    /// An operator ends the collection.
    pub(super) fn cancel(&mut self, now: Instant) {
        self.room.collector.cancel(now);
    }

    /// The caller is gone.
    pub(super) fn hang_up(&mut self, now: Instant) {
        self.room.collector.hang_up(now);
    }

    /// Wipes what was keyed. Only the detector goes on, to guard the drain.
    pub(super) fn wipe_digits(&mut self) {
        self.room.collector.wipe();
    }

    /// The drain begins, or begins anew: quiet counts from now on.
    pub(super) fn begin_drain(&mut self, now: Instant) {
        self.room.restart_quiet(now);
    }

    /// Whether no key or tone has been heard for [`DRAIN_QUIET`], while audio came all along, and
    /// enough of it to have heard one.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        let room = &*self.room;
        now.saturating_duration_since(room.quiet_since) >= DRAIN_QUIET
            && Duration::from_micros(u64::from(room.quiet_samples) * 125) >= DRAIN_HEARD
            && now.saturating_duration_since(room.audio_at) <= DRAIN_STALL
    }
}

impl Room {
    /// Whether the packet comes after all audio heard so far; tells the detector of what should
    /// have come before it and didn't. A late packet's place has been told as lost already.
    fn follows(&mut self, now: Instant, at: Position) -> bool {
        let expected = self.stream.filter(|&(ssrc, _)| ssrc == at.ssrc).map(|(_, next)| next);
        let hole = expected.map_or(0, |next| at.timestamp.wrapping_sub(next));
        if hole > u32::MAX - MAX_HOLE {
            return false;
        }
        if (1..=MAX_HOLE).contains(&hole) {
            self.detector.hear_lost(now, hole as usize, &mut |press| {
                self.collector.handle_key(now, press.digit);
            });
        }
        self.stream = Some((at.ssrc, at.timestamp.wrapping_add(at.samples)));
        true
    }

    /// Restarts the count of quiet audio whenever something like a key was heard.
    fn note_quiet(&mut self) {
        if let Some(heard) = self.detector.last_heard()
            && heard > self.quiet_since
        {
            self.restart_quiet(heard);
        }
    }

    /// Restarts the count of quiet audio after a stall: what was said in it comes only now, in a
    /// burst that must be heard out.
    fn note_arrival(&mut self, now: Instant) {
        if now.saturating_duration_since(self.audio_at) > DRAIN_STALL {
            self.restart_quiet(now);
        }
        self.audio_at = now;
    }

    fn restart_quiet(&mut self, since: Instant) {
        self.quiet_since = since;
        self.quiet_samples = 0;
    }
}
