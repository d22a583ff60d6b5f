//! SecureSession: the period of a cut. Whatever it knows of keys lives in one locked page.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use dtmf::event_receiver::{EventPacket, EventReceiver};
use dtmf::expiry::DateOrder;
use dtmf::plan::MAX_FIELDS;
use dtmf::redundancy::MalformedRedundancy;
use dtmf::{
    Accepted, CaptureError, Collector, Detector, Digit, Drive, FailReason, Progress, Step, Verdict,
};
use locked_page::Locked;
use zeroize::Zeroizing;

use super::announcer::Announcer;
use super::command::SessionRequest;
use super::egress::{Position, Said};
use super::id::SessionId;
use super::limits::{
    DRAIN_HEARD, DRAIN_JITTER, DRAIN_QUIET, DRAIN_QUIET_UNFINISHED, DRAIN_STALL, FRAME_SAMPLES,
};
use super::routing::EngineAudio;
use super::talk_gauge::TalkGauge;
use crate::codec::{Codec, Decoder, MAX_NARROW, NARROW, Undecodable};
use crate::prompts::{Cue, Phrase, Player, Voice};

/// Longest hole in the audio that is told to the detector sample by sample; a longer one is as
/// good as a new stream.
const MAX_HOLE: u32 = 8000;

/// One secure session.
pub(super) struct SecureSession {
    id: SessionId,
    engine_audio: EngineAudio,
    entered: Instant,
    current: Option<(Step, u8)>,
    announcer: Option<Announcer>,
    /// A script says which field is next.
    is_driven: bool,
    /// How a date of birth is keyed, if one is.
    date_order: Option<DateOrder>,
    /// Quiet that must be heard before the route reopens.
    quiet_needed: Duration,
    /// Of codecs that take more than a table; begun with the session and gone with it, so that
    /// nothing it remembers of the cut is in what is decoded for the engine.
    decoder: Option<(Codec, Box<Decoder>)>,
    room: Locked<Room>,
}

/// All that could tell a key: the one thing inside the page.
struct Room {
    detector: Detector,
    desk: Desk,
    stream: Option<(u32, u32)>,
    quiet_samples: u32,
    quiet_since: Instant,
    audio_at: Instant,
    /// How long the last packet of audio lasts.
    audio_length: Duration,
    /// What the caller says, decoded: written over packet by packet, and wiped with the page.
    pcm: [i16; FRAME_SAMPLES],
}

/// Where keys are taken in, and what is said across it.
struct Desk {
    collector: Collector,
    /// What is being said: it may be a read-back of what was keyed.
    player: Player,
    talk: TalkGauge,
    /// Each key is confirmed by a beep.
    beeps: bool,
    /// The last field was closed by time and not by a key: the caller may be in the middle of it.
    closed_by_time: bool,
}

impl SecureSession {
    /// Begins to listen and collect. `before` is what the leg heard of events so far, so that an
    /// event begun before the cut is not taken for a key of the session.
    pub(super) fn new(
        now: Instant,
        request: SessionRequest,
        before: &EventReceiver,
    ) -> Result<SecureSession, locked_page::LockError> {
        let SessionRequest { session: id, plan, engine_audio, announcer } = request;
        let beeps = announcer.as_ref().is_some_and(|announcer| announcer.key_beep);
        let is_driven = plan.drive() == Drive::FieldAtATime;
        let date_order = plan.fields().iter().find_map(|field| field.kind.date_order());
        let room = Locked::new(|| Room {
            detector: Detector::new(now, before),
            desk: Desk {
                collector: Collector::new(plan, now),
                player: Player::new(),
                talk: TalkGauge::default(),
                beeps,
                closed_by_time: false,
            },
            stream: None,
            quiet_samples: 0,
            quiet_since: now,
            audio_at: now,
            audio_length: Duration::ZERO,
            pcm: [0; FRAME_SAMPLES],
        })?;
        Ok(SecureSession {
            id,
            engine_audio,
            entered: now,
            current: None,
            announcer,
            is_driven,
            date_order,
            quiet_needed: DRAIN_QUIET_UNFINISHED,
            decoder: None,
            room,
        })
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
    pub(super) fn hear_audio(
        &mut self,
        now: Instant,
        codec: Codec,
        at: Position,
        payload: &[u8],
    ) -> Result<(), Undecodable> {
        // A caller who is asked for nothing, or told nothing, is not listened to for talk.
        let is_guided = self.announcer.is_some() && self.room.desk.is_listening();
        let room = &mut *self.room;
        if !room.follows(now, codec, at) {
            return Ok(());
        }
        let length = codec.length(at.samples);
        let mut is_talking = false;
        match codec.law() {
            Some(law) => {
                room.note_arrival(now, length);
                for codes in payload.chunks(FRAME_SAMPLES) {
                    law.decode_all(codes, &mut room.pcm);
                    is_talking |= room.listen(now, codes.len(), is_guided);
                }
            }
            None => {
                let mut pcm = Zeroizing::new([0; MAX_NARROW]);
                let decoder = decoder_of(&mut self.decoder, codec).ok_or(Undecodable)?;
                let count = decoder.decode(payload, &mut *pcm)?;
                room.note_arrival(now, length);
                for samples in pcm[..count].chunks(FRAME_SAMPLES) {
                    room.pcm[..samples.len()].copy_from_slice(samples);
                    is_talking |= room.listen(now, samples.len(), is_guided);
                }
            }
        }
        room.note_quiet();
        if is_talking {
            self.hint(now);
        }
        Ok(())
    }

    /// Follows a renegotiation to another clock of key events.
    pub(super) fn set_event_clock(&mut self, clock: u32) {
        self.room.detector.set_event_clock(clock);
    }

    /// Listens to a key event of the caller.
    pub(super) fn hear_event(&mut self, packet: EventPacket<'_>) {
        let room = &mut *self.room;
        room.detector.hear_event(packet, &mut |press| {
            room.desk.press(packet.arrival, press.digit);
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
            room.desk.press(packet.arrival, press.digit);
        })?;
        room.note_quiet();
        Ok(())
    }

    /// A key that came by signalling.
    pub(super) fn hear_signalled(&mut self, now: Instant, digit: Digit) {
        let room = &mut *self.room;
        room.detector.hear_signalled(now, digit, &mut |press| {
            room.desk.press(now, press.digit);
        });
        room.note_quiet();
    }

    /// Runs the collector's timers.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.room.desk.handle_timeout(now);
    }

    /// When the collector's next timer is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.room.desk.collector.poll_timeout()
    }

    /// Has the caller key one field of a plan that is driven field by field.
    pub(super) fn capture(&mut self, now: Instant, step: Step) -> Result<(), CaptureError> {
        self.room.desk.collector.capture(now, step)?;
        self.room.desk.closed_by_time = false;
        Ok(())
    }

    /// Ends a collection that is driven field by field.
    pub(super) fn complete(&mut self, now: Instant) -> Result<(), CaptureError> {
        self.room.desk.handle_timeout(now);
        self.room.desk.collector.complete(now)
    }

    /// A script ends a collection that it drives field by field, between two fields.
    pub(super) fn abandon(&mut self, now: Instant) -> Result<(), CaptureError> {
        match self.room.desk.collector.phase() {
            dtmf::Phase::Waiting => {
                self.room.desk.collector.cancel(now);
                Ok(())
            }
            dtmf::Phase::Collecting { .. } if self.is_driven => Err(CaptureError::Busy),
            dtmf::Phase::Collecting { .. } => Err(CaptureError::WholePlan),
            dtmf::Phase::Processing => Err(CaptureError::Processing),
            dtmf::Phase::Concluded(_) => Err(CaptureError::Ended),
        }
    }

    /// The fields that are still missing, where a script drives the session.
    pub(super) fn required(&self) -> Option<ArrayVec<Step, MAX_FIELDS>> {
        self.is_driven.then(|| self.room.desk.collector.required().collect())
    }

    /// What was accepted, once, for whoever delivers it. Without a page of its own for it the
    /// session fails.
    pub(super) fn take_accepted(&mut self, now: Instant) -> Option<Locked<Accepted>> {
        match self.room.desk.collector.take_accepted()? {
            Ok(accepted) => Some(accepted),
            Err(_) => {
                self.room.desk.collector.abort(now);
                None
            }
        }
    }

    /// What was accepted has reached whoever may have it, or will not.
    pub(super) fn delivered(&mut self, now: Instant, outcome: Result<(), FailReason>) {
        self.room.desk.collector.delivered(now, outcome);
    }

    /// What the script may be told next; the caller is told as well, in words.
    pub(super) fn poll_progress(&mut self, now: Instant) -> Option<Progress> {
        let progress = self.room.desk.collector.poll_progress()?;
        match progress {
            Progress::FieldStarted { step, attempt, .. } => self.current = Some((step, attempt)),
            Progress::FieldRepeat { .. }
            | Progress::FieldRejected { .. }
            | Progress::FieldAccepted { .. }
            | Progress::Processing => {}
        }
        self.announce(now, progress);
        Some(progress)
    }

    /// Settles how long the caller must be quiet, and tells the caller how it ended.
    pub(super) fn end(&mut self, verdict: Verdict) {
        let (quiet_needed, cue) = match verdict {
            Verdict::Passed if self.room.desk.closed_by_time => {
                (DRAIN_QUIET_UNFINISHED, Cue::Passed)
            }
            Verdict::Passed => (DRAIN_QUIET, Cue::Passed),
            Verdict::Failed(reason) => (DRAIN_QUIET_UNFINISHED, Cue::Failed(reason)),
        };
        self.quiet_needed = quiet_needed;
        let Some(announcer) = &self.announcer else { return };
        self.room.desk.player.play(&announcer.voice.phrase(cue));
    }

    /// Whether the caller is being told something.
    pub(super) fn is_speaking(&self) -> bool {
        !self.room.desk.player.is_idle()
    }

    /// Writes the next frame of what the caller is told, if that is anything.
    pub(super) fn speak(&mut self, pcm: &mut [i16]) -> Said {
        let Some(announcer) = &self.announcer else { return Said::Nothing };
        match self.room.desk.player.fill(&announcer.voice, pcm) {
            true => Said::Sound,
            false => Said::Nothing,
        }
    }

    /// Tells a caller who talks instead of keying to use the keypad.
    fn hint(&mut self, now: Instant) {
        let room = &mut *self.room;
        // A key of the same packet may have ended the field.
        if let (Some(announcer), true) = (&self.announcer, room.desk.is_listening()) {
            let voice = &announcer.voice;
            room.desk.say(now, voice, &voice.phrase(Cue::UseKeypad));
        }
    }

    /// Says what has become of a field, and asks for the next; the time for the first key counts
    /// from the end of it.
    fn announce(&mut self, now: Instant, progress: Progress) {
        let Some(announcer) = &self.announcer else { return };
        let (room, voice) = (&mut *self.room, &announcer.voice);
        match progress {
            Progress::FieldStarted { step, attempt, error } => {
                let (brand, date_order) = (room.desk.collector.issuer(), self.date_order);
                room.desk.talk.restart();
                room.desk.say(
                    now,
                    voice,
                    &voice.phrase(Cue::Ask { step, attempt, error, brand, date_order }),
                );
            }
            Progress::FieldRepeat { step, .. } => {
                room.desk.say(now, voice, &voice.phrase(Cue::Repeat { step }));
            }
            Progress::FieldAccepted { step: Step::PaymentCardNumber } if announcer.read_back => {
                if let Some(last_four) = room.desk.collector.last_four() {
                    room.desk.say(now, voice, &voice.last_four(&last_four));
                }
            }
            Progress::Processing => room.desk.say(now, voice, &voice.phrase(Cue::Processing)),
            Progress::FieldAccepted { .. } | Progress::FieldRejected { .. } => {}
        }
    }

    /// How the collection ended, once it has.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.room.desk.collector.verdict()
    }

    /// The field in progress and its attempt, from 1.
    pub(super) fn current(&self) -> Option<(Step, u8)> {
        self.current
    }

    /// How far the field is, quantised: groups of four keys begun.
    pub(super) fn masked_progress(&self) -> u8 {
        self.room.desk.collector.masked_progress().groups()
    }

    /// An operator ends the collection.
    pub(super) fn cancel(&mut self, now: Instant) {
        self.room.desk.collector.cancel(now);
    }

    /// The caller is gone.
    pub(super) fn hang_up(&mut self, now: Instant) {
        self.room.desk.collector.hang_up(now);
    }

    /// Wipes what was keyed. Only the detector goes on, to guard the drain.
    pub(super) fn wipe_digits(&mut self) {
        self.room.desk.collector.wipe();
    }

    /// The drain begins, or begins anew: quiet counts from now on.
    pub(super) fn begin_drain(&mut self, now: Instant) {
        self.room.restart_quiet(now);
    }

    /// Whether no key or tone has been heard for long enough, while audio came all along, and
    /// enough of it to have heard one.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        let room = &*self.room;
        now.saturating_duration_since(room.quiet_since) >= self.quiet_needed
            && Duration::from_micros(u64::from(room.quiet_samples) * 125) >= DRAIN_HEARD
            && now.saturating_duration_since(room.audio_at) <= room.stall()
    }
}

/// The decoder there is, or a new one after a change of the codec; `None` without memory for it.
fn decoder_of(slot: &mut Option<(Codec, Box<Decoder>)>, codec: Codec) -> Option<&mut Decoder> {
    if slot.as_ref().is_none_or(|(of, _)| *of != codec) {
        *slot = Some((codec, Box::new(Decoder::new(codec, NARROW)?)));
    }
    slot.as_mut().map(|(_, decoder)| &mut **decoder)
}

impl Desk {
    /// A key was heard. One that counts interrupts whatever is being said.
    fn press(&mut self, now: Instant, digit: Digit) {
        self.handle_timeout(now);
        self.talk.restart();
        if self.is_listening() {
            self.player.stop();
            if self.beeps {
                self.player.beep();
            }
        }
        self.collector.handle_key(now, digit);
    }

    /// Says something after what is being said. The first key may take its time from the end of
    /// it.
    fn say(&mut self, now: Instant, voice: &Voice, phrase: &Phrase) {
        self.handle_timeout(now);
        // Nothing is said twice for one step, so a full queue is one that nobody listens to.
        let _ = self.player.append(phrase);
        self.collector.handle_prompt(now, self.player.remaining(voice));
    }

    /// Runs the collector's timers, and notes whether one closes the last field.
    fn handle_timeout(&mut self, now: Instant) {
        let was_listening = self.is_listening();
        self.collector.handle_timeout(now);
        self.closed_by_time |= was_listening && !self.is_listening();
    }

    /// Whether the caller is to key something.
    fn is_listening(&self) -> bool {
        self.collector.is_collecting()
    }
}

impl Room {
    /// Whether the packet comes after all audio heard so far; tells the detector of what should
    /// have come before it and didn't. A late packet's place has been told as lost already.
    fn follows(&mut self, now: Instant, codec: Codec, at: Position) -> bool {
        let expected = self.stream.filter(|&(ssrc, _)| ssrc == at.ssrc).map(|(_, next)| next);
        let hole = expected.map_or(0, |next| at.timestamp.wrapping_sub(next));
        let ticks = codec.clock() / NARROW;
        if hole > u32::MAX - MAX_HOLE * ticks {
            return false;
        }
        if (1..=MAX_HOLE * ticks).contains(&hole) {
            self.detector.hear_lost(now, (hole / ticks) as usize, &mut |press| {
                self.desk.press(now, press.digit);
            });
        }
        self.stream = Some((at.ssrc, at.timestamp.wrapping_add(at.samples)));
        true
    }

    /// Listens to what the caller says: the first `count` samples of `pcm`. Whether that is a caller
    /// who talks instead of keying.
    fn listen(&mut self, now: Instant, count: usize, is_guided: bool) -> bool {
        let Room { detector, desk, quiet_samples, pcm, .. } = self;
        let pcm = &pcm[..count];
        *quiet_samples = quiet_samples.saturating_add(count as u32);
        let is_talking = is_guided && desk.player.is_idle() && desk.talk.hear(pcm);
        detector.hear_audio(now, pcm, &mut |press| desk.press(now, press.digit));
        is_talking
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
    fn note_arrival(&mut self, now: Instant, length: Duration) {
        if now.saturating_duration_since(self.audio_at) > self.stall() {
            self.restart_quiet(now);
        }
        self.audio_at = now;
        self.audio_length = length;
    }

    /// A pause that is longer than the packets of this caller are apart.
    fn stall(&self) -> Duration {
        DRAIN_STALL.max(self.audio_length + DRAIN_JITTER)
    }

    fn restart_quiet(&mut self, since: Instant) {
        self.quiet_since = since;
        self.quiet_samples = 0;
    }
}
