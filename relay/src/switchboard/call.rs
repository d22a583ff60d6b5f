//! Call: two legs and one routing, and every transition between its states.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dtmf::event_receiver::EventReceiver;
use dtmf::{Digit, FailReason, Progress, Step, Verdict};
use rand::Rng;

use super::command::{CutReceipt, OpenCall, Refusal, Reply, SessionRequest};
use super::cut_memory::CutMemory;
use super::delivery::Delivery;
use super::egress::{Egress, Said};
use super::event::EventKind;
use super::grid::Grid;
use super::id::{CallId, PortPair, SessionId, Side};
use super::leg::Leg;
use super::limits::{DRAIN_LIMIT, DRAIN_TICK};
use super::media::LookAhead;
use super::ntp_anchor::NtpAnchor;
use super::outbox::Outbox;
use super::playing::Stage;
use super::press::KeyEvents;
use super::routing::{DropReason, EngineAudio, Phase};
use super::secure_session::SecureSession;
use super::snapshot::{CallSnapshot, SessionSnapshot};
use super::transmit::Transmit;

mod blocked;
mod packet_path;
mod playing;
mod recorded;
mod reoffered;
mod state;
mod subscribed;

use blocked::Blocked;
use packet_path::sabotaged;
use recorded::Recorded;
use state::Routing;
use subscribed::Subscribed;

/// One call.
pub(super) struct Call {
    id: CallId,
    legs: [Leg; 2],
    routing: Routing,
    keys_before: EventReceiver,
    memory: CutMemory,
    /// What is kept back of what each party sends, by [`Side::index`].
    blocked: [Blocked; 2],
    /// What the parties hear of us in place of each other; nothing in a cut.
    playing: Option<Box<Stage>>,
    recorded: Recorded,
    subscribed: Option<Box<Subscribed>>,
    last_session: Option<SessionSnapshot>,
    /// Something has happened since [`Call::due`] was asked that may have moved it.
    is_due_open: bool,
    /// The engine has hung up during a session: the call ends with it.
    engine_gone: bool,
    grid: Grid,
    silence_look: Instant,
    media_timeout: Duration,
    opened: Instant,
}

impl Call {
    /// A call on bound ports, open or armed.
    pub(super) fn open(
        now: Instant,
        request: OpenCall,
        media_timeout: Duration,
        grid: Grid,
        random: &mut impl Rng,
        outbox: &mut Outbox,
    ) -> Call {
        let (spoken, heard) = (request.caller.codec, request.engine.codec);
        let caller = Leg::new(now, grid, request.caller_ports, request.caller, heard, random);
        let engine = Leg::new(now, grid, request.engine_ports, request.engine, spoken, random);
        let mut call = Call {
            id: request.call,
            legs: [caller, engine],
            routing: Routing::Open,
            keys_before: EventReceiver::new(spoken.clock()),
            memory: CutMemory::default(),
            blocked: [Blocked::default(); 2],
            playing: None,
            recorded: Recorded::not(now),
            subscribed: None,
            last_session: None,
            is_due_open: false,
            engine_gone: false,
            grid,
            silence_look: now + media_timeout,
            media_timeout,
            opened: now,
        };
        if request.record {
            call.recorded.begin(now, grid, false);
        }
        call.tell(outbox, EventKind::Opened);
        if let Some(look_ahead) = request.armed {
            // A call that has just begun cannot be cut already.
            let _ = call.arm(now, look_ahead, outbox);
        }
        call
    }

    /// The call's id.
    pub(super) fn id(&self) -> CallId {
        self.id
    }

    /// The ports of both legs, by [`Side::index`].
    pub(super) fn ports(&self) -> [PortPair; 2] {
        [self.legs[0].ports(), self.legs[1].ports()]
    }

    /// Ports, peers' signalled addresses and multiplexing of both legs.
    pub(super) fn legs(&self) -> [(PortPair, SocketAddr, bool); 2] {
        Side::ALL.map(|side| {
            let leg = &self.legs[side.index()];
            (leg.ports(), leg.media().remote_rtp, leg.media().rtcp_mux)
        })
    }

    /// A packet to this side was not taken by the kernel.
    pub(super) fn count_unsent(&mut self, side: Side) {
        self.legs[side.index()].count_drop(DropReason::Unsent);
    }

    /// The state of the routing.
    pub(super) fn phase(&self) -> Phase {
        self.routing.phase()
    }

    /// Begins to delay the caller towards the engine.
    pub(super) fn arm(
        &mut self,
        now: Instant,
        look_ahead: LookAhead,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        match self.routing {
            Routing::Open => {}
            Routing::Armed => return Ok(()),
            Routing::Secure(_) | Routing::Draining { .. } | Routing::Held { .. } => {
                return Err(Refusal::CallIsCut);
            }
            Routing::Closed => return Err(Refusal::UnknownCall),
        }
        // What it would hear of us has no place in the delay.
        self.end_playing(Side::Engine);
        self.routing = Routing::Armed;
        self.egress(Side::Engine).pace(now, look_ahead.delay());
        self.resume_copies(now);
        self.tell(outbox, EventKind::Armed);
        Ok(())
    }

    /// Ends the delay without a session.
    pub(super) fn disarm(&mut self, now: Instant, outbox: &mut Outbox) -> Result<(), Refusal> {
        match self.routing {
            Routing::Armed => {}
            Routing::Open => return Ok(()),
            Routing::Secure(_) | Routing::Draining { .. } | Routing::Held { .. } => {
                return Err(Refusal::CallIsCut);
            }
            Routing::Closed => return Err(Refusal::UnknownCall),
        }
        self.routing = Routing::Open;
        self.egress(Side::Engine).resume();
        self.hush(now);
        self.resume_copies(now);
        self.tell(outbox, EventKind::Disarmed);
        Ok(())
    }

    /// Cuts the call and starts to collect. When this returns, no octet of the caller that has not
    /// left yet can leave.
    pub(super) fn enter(
        &mut self,
        now: Instant,
        request: SessionRequest,
        outbox: &mut Outbox,
    ) -> Result<CutReceipt, Refusal> {
        let (id, engine_audio) = (request.session, request.engine_audio);
        match &self.routing {
            Routing::Open | Routing::Armed => {}
            Routing::Secure(session) if session.id() == id => {
                return Ok(CutReceipt::new(self.id, id, session.entered()));
            }
            Routing::Secure(_) | Routing::Draining { .. } | Routing::Held { .. } => {
                return Err(Refusal::SessionInProgress);
            }
            Routing::Closed => return Err(Refusal::UnknownCall),
        }
        let session = SecureSession::new(now, request, &self.keys_before)
            .map_err(|_| Refusal::NoLockedMemory)?;
        self.withhold(now, engine_audio);
        self.routing = Routing::Secure(Box::new(session));
        assert!(self.phase().is_cut(), "a receipt is given only for a call that is cut");
        self.tell(outbox, EventKind::SecureStarted { session: id });
        self.tell_progress(now, outbox);
        Ok(CutReceipt::new(self.id, id, now))
    }

    /// Has the caller key one field of a plan that is driven field by field.
    pub(super) fn capture(
        &mut self,
        now: Instant,
        step: Step,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        self.collecting()?.capture(now, step).map_err(Refusal::Capture)?;
        self.conclude(now, outbox);
        Ok(())
    }

    /// Ends a collection that is driven field by field.
    pub(super) fn complete(&mut self, now: Instant, outbox: &mut Outbox) -> Result<(), Refusal> {
        self.collecting()?.complete(now).map_err(Refusal::Capture)?;
        self.conclude(now, outbox);
        Ok(())
    }

    /// What was accepted has reached whoever may have it, or will not.
    pub(super) fn delivered(
        &mut self,
        now: Instant,
        id: SessionId,
        outcome: Result<(), FailReason>,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let session = self.collecting()?;
        if session.id() != id {
            return Err(Refusal::NoSession);
        }
        session.delivered(now, outcome);
        self.conclude(now, outbox);
        Ok(())
    }

    /// A script ends a collection that it drives field by field. Never within a field: a caller who
    /// is keying would go on, and be heard.
    pub(super) fn abandon(&mut self, now: Instant, outbox: &mut Outbox) -> Result<(), Refusal> {
        self.collecting()?.abandon(now).map_err(Refusal::Capture)?;
        self.conclude(now, outbox);
        Ok(())
    }

    fn collecting(&mut self) -> Result<&mut SecureSession, Refusal> {
        match &mut self.routing {
            Routing::Secure(session) => Ok(session),
            Routing::Open | Routing::Armed | Routing::Draining { .. } | Routing::Held { .. } => {
                Err(Refusal::NoSession)
            }
            Routing::Closed => Err(Refusal::UnknownCall),
        }
    }

    /// An operator ends a collection, or has a held call drained once more.
    pub(super) fn cancel(&mut self, now: Instant, outbox: &mut Outbox) -> Result<(), Refusal> {
        match std::mem::replace(&mut self.routing, Routing::Closed) {
            Routing::Secure(mut session) => {
                session.cancel(now);
                self.routing = Routing::Secure(session);
                self.conclude(now, outbox);
                Ok(())
            }
            Routing::Held { mut session } | Routing::Draining { mut session, .. } => {
                session.begin_drain(now);
                self.routing = Routing::Draining { session, since: now, look: now };
                Ok(())
            }
            other @ (Routing::Open | Routing::Armed) => {
                self.routing = other;
                Err(Refusal::NoSession)
            }
            Routing::Closed => Err(Refusal::UnknownCall),
        }
    }

    /// A key that came by signalling: to the collector, or nowhere.
    pub(super) fn key(&mut self, now: Instant, digit: Digit, outbox: &mut Outbox) {
        if let Some(session) = self.routing.session() {
            session.hear_signalled(now, digit);
            self.conclude(now, outbox);
        }
    }

    /// The engine hangs up. A collection in progress is none of its business: the caller stays,
    /// and the call ends when the session does.
    pub(super) fn hang_up(&mut self, now: Instant, outbox: &mut Outbox) -> Reply {
        if self.phase().is_cut() {
            self.engine_gone = true;
            return Reply::HeldBack;
        }
        self.close(now, outbox);
        Reply::Done
    }

    /// Ends the call. What was keyed is wiped, a collection ends as hung up.
    pub(super) fn close(&mut self, now: Instant, outbox: &mut Outbox) {
        if let Some(session) = self.routing.session() {
            session.hang_up(now);
        }
        self.conclude(now, outbox);
        self.routing = Routing::Closed;
        self.playing = None;
        for leg in &mut self.legs {
            leg.egress().silence(now);
        }
        self.recorded.end(now);
        self.end_all_subscriptions(outbox);
        self.tell(outbox, EventKind::Closed);
    }

    /// Runs the timers that are due, those of generated packets aside.
    pub(super) fn handle_timeout(&mut self, now: Instant, outbox: &mut Outbox) {
        if let Some(session) = self.routing.session() {
            session.handle_timeout(now);
        }
        self.conclude(now, outbox);
        self.drain(now, outbox);
        self.end_unanswered(now, outbox);
        self.recorded.looked_at(now, self.grid);
        if self.silence_look <= now {
            self.look_for_silence(now, outbox);
        }
    }

    /// Writes the next packet to a party that is due and not caused by another one.
    pub(super) fn generate(
        &mut self,
        now: Instant,
        ntp: NtpAnchor,
        side: Side,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        debug_assert!(!self.phase().is_cut() || self.playing.is_none(), "a cut ends what plays");
        let leg = &mut self.legs[side.index()];
        let events = KeyEvents::of(leg.media());
        let mut playing = self.playing.as_mut().and_then(|stage| stage[side.index()].as_mut());
        // The caller alone is spoken to in a cut: what is said may be a read-back of what was keyed.
        let mut session = match side {
            Side::Caller => self.routing.session(),
            Side::Engine => None,
        };
        let transmit =
            leg.generate(now, ntp, buffer, &mut |pcm| match (&mut session, &mut playing) {
                (Some(session), _) => session.speak(pcm),
                (None, Some(playing)) => playing.frame(pcm, events),
                (None, None) => Said::Nothing,
            });
        if playing.is_some_and(|playing| playing.is_over()) {
            self.end_playing(side);
        }
        match side {
            Side::Caller => transmit,
            Side::Engine => transmit.or_else(|| self.subscribed.as_mut()?.generate(now, buffer)),
        }
    }

    /// Whether a packet may have moved when the call is due, since this was last asked.
    pub(super) fn take_due_open(&mut self) -> bool {
        std::mem::take(&mut self.is_due_open)
    }

    /// When the call has to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        let routing = match &self.routing {
            Routing::Closed => return None,
            Routing::Open | Routing::Armed | Routing::Held { .. } => None,
            Routing::Secure(session) => session.poll_timeout(),
            Routing::Draining { look, .. } => Some(*look),
        };
        // Looked at when it would have run out, not moved with every packet.
        let silent = Some(self.silence_look);
        let tape = self.recorded.due();
        let legs = self.legs.iter().map(Leg::due).min();
        let copies = self.subscribed.as_ref().and_then(|subscribed| subscribed.due());
        [routing, silent, tape, legs, copies].into_iter().flatten().min()
    }

    /// State and counters, copied out.
    pub(super) fn snapshot(&self, now: Instant) -> CallSnapshot {
        CallSnapshot {
            phase: self.phase(),
            session: match &self.routing {
                Routing::Secure(session)
                | Routing::Draining { session, .. }
                | Routing::Held { session } => Some(snapshot_of(session)),
                Routing::Open | Routing::Armed | Routing::Closed => self.last_session.clone(),
            },
            legs: [self.legs[0].snapshot(), self.legs[1].snapshot()],
            recording: self.recorded.state(),
            listeners: self.listeners(),
            age: now.saturating_duration_since(self.opened),
        }
    }

    /// Ends a call whose caller should send and has not for too long.
    fn look_for_silence(&mut self, now: Instant, outbox: &mut Outbox) {
        let caller = &self.legs[Side::Caller.index()];
        let heard = if caller.media().they_send { caller.last_heard() } else { now };
        self.silence_look = heard + self.media_timeout;
        if self.silence_look <= now {
            self.tell(outbox, EventKind::MediaTimeout { side: Side::Caller });
            self.close(now, outbox);
        }
    }

    /// Puts our own silence in place of the caller (and of the engine, unless the plan lets it
    /// talk), and takes back what has not left yet.
    fn withhold(&mut self, now: Instant, engine_audio: EngineAudio) {
        self.memory.begin();
        // What is played ends here, and is not taken up again.
        Side::ALL.into_iter().for_each(|side| self.end_playing(side));
        self.legs[Side::Caller.index()].begin_cut();
        if !sabotaged() {
            let heard = self.legs[Side::Caller.index()].last_heard();
            self.egress(Side::Engine).silence_midway(now, heard);
            self.silence_copies(now);
            self.recorded.cut(now);
        }
        match engine_audio {
            EngineAudio::Drop => {
                let [caller, engine] = &mut self.legs;
                caller.egress().silence_along(now, engine.egress());
            }
            EngineAudio::Pass => {}
        }
    }

    /// Tells what the collector has got to, and hands over what it has accepted; on a verdict,
    /// wipes the digits and starts to drain.
    fn conclude(&mut self, now: Instant, outbox: &mut Outbox) {
        self.tell_progress(now, outbox);
        let call = self.id;
        let Routing::Secure(session) = &mut self.routing else { return };
        if let Some(accepted) = session.take_accepted(now) {
            outbox.deliveries.push_back(Delivery { call, session: session.id(), accepted });
        }
        let Some(verdict) = session.verdict() else { return };
        session.wipe_digits();
        session.end(verdict);
        self.last_session = Some(snapshot_of(session));
        let id = session.id();
        self.tell(outbox, EventKind::SecureConcluded { session: id, verdict });
        if let Routing::Secure(mut session) = std::mem::replace(&mut self.routing, Routing::Closed)
        {
            session.begin_drain(now);
            self.routing = Routing::Draining { session, since: now, look: now };
        }
    }

    /// Reopens a drained call once it is quiet; holds it if that takes too long.
    fn drain(&mut self, now: Instant, outbox: &mut Outbox) {
        let Routing::Draining { session, since, look } = &mut self.routing else { return };
        *look = now + DRAIN_TICK;
        let id = session.id();
        let is_late = now.saturating_duration_since(*since) >= DRAIN_LIMIT;
        if session.is_quiet(now) && (is_late || !session.is_speaking()) {
            // What the session heard is wiped with it; its late packets are known as stragglers.
            self.keys_before.wipe();
            self.routing = Routing::Open;
            self.memory.reopen(now);
            self.legs[Side::Caller.index()].end_cut();
            self.recorded.uncut(now);
            for leg in &mut self.legs {
                leg.egress().resume();
                leg.egress().forget();
            }
            self.hush(now);
            self.resume_copies(now);
            self.tell(outbox, EventKind::Reopened { session: id });
            if self.engine_gone {
                self.close(now, outbox);
            }
        } else if is_late
            && let Routing::Draining { session, .. } =
                std::mem::replace(&mut self.routing, Routing::Closed)
        {
            self.routing = Routing::Held { session };
            self.tell(outbox, EventKind::DrainHeld { session: id });
        }
    }

    fn tell_progress(&mut self, now: Instant, outbox: &mut Outbox) {
        let call = self.id;
        let Some(session) = self.routing.session() else { return };
        while let Some(progress) = session.poll_progress(now) {
            let kind = match progress {
                Progress::FieldStarted { step, attempt, .. } => {
                    EventKind::FieldStarted { step, attempt }
                }
                Progress::FieldRejected { step, attempt, error } => {
                    EventKind::FieldRejected { step, attempt, error }
                }
                Progress::FieldRepeat { step, attempt } => {
                    EventKind::FieldRepeated { step, attempt }
                }
                Progress::FieldAccepted { step } => EventKind::FieldAccepted { step },
                Progress::Processing => EventKind::Processing,
            };
            outbox.tell(call, kind);
        }
    }

    fn tell(&self, outbox: &mut Outbox, kind: EventKind) {
        outbox.tell(self.id, kind);
    }

    fn egress(&mut self, side: Side) -> &mut Egress {
        self.legs[side.index()].egress()
    }
}

fn snapshot_of(session: &SecureSession) -> SessionSnapshot {
    let current = session.current();
    SessionSnapshot {
        session: session.id(),
        step: current.map(|(step, _)| step),
        attempt: current.map_or(0, |(_, attempt)| attempt),
        verdict: session.verdict().map(|verdict: Verdict| verdict),
        required: session.required(),
        progress: session.masked_progress(),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use std::time::{Duration, Instant};

    use dtmf::expiry::Date;
    use dtmf::g711::Law;
    use dtmf::{CardMode, Field, FieldKind, PlanRequest, SecurePlan};
    use rand::{SeedableRng, rngs::StdRng};

    use super::super::command::Part;
    use super::super::egress::Position;
    use super::super::leg::Component;
    use super::super::media::{LegMedia, SourceRule};
    use super::super::routing::Media;
    use super::*;
    use crate::codec::Codec;
    use crate::wire::ntp::NtpTime;

    const MS: Duration = Duration::from_millis(1);

    /// What every call takes, whatever it is used for. What only some need lies apart: SRTP, cuts,
    /// a delay, a tape, a session.
    #[test]
    fn a_plain_call_is_small() {
        println!(
            "call {}: leg {} x 2, keys of the open {}; apart: session {}",
            size_of::<Call>(),
            size_of::<Leg>(),
            size_of::<EventReceiver>(),
            size_of::<SecureSession>(),
        );
        assert!(size_of::<Call>() <= 2304, "{}", size_of::<Call>());
    }

    #[test]
    fn a_key_of_a_session_is_known_in_its_locked_page_alone() {
        let start = Instant::now();
        let mut call = call(start);
        press(&mut call, start, 1, 8000);
        assert!(call.keys_before.is_sounding(start), "the control: a key of the open is known");
        let later = start + 1000 * MS;
        call.enter(later, session(), &mut Outbox::default()).unwrap();
        press(&mut call, later, 2, 16_000);
        let session = call.routing.session().unwrap();
        assert_eq!(session.masked_progress(), 1, "the control: the session has heard it");
        assert!(!call.keys_before.is_sounding(later));
    }

    #[test]
    fn a_copy_of_a_key_of_a_session_is_not_known_in_the_open() {
        let start = Instant::now();
        for (age, is_known) in [(3200_u32, false), (800, true)] {
            let mut call = call(start);
            let heard =
                Position { ssrc: 9, sequence: 1, timestamp: 8000, samples: 160, marker: false };
            call.memory.begin();
            call.memory.note(Media::Audio, heard);
            call.memory.reopen(start);
            // A copy without end, so that it can be seen, before a key that has ended.
            let older = (0x80_u32 | 101) << 24 | age << 10 | 4;
            let blocks = [&older.to_be_bytes()[..], &[101, 5, 10, 0, 160, 6, 0x8a, 0, 160]];
            let _ = send(&mut call, start, 121, 2, 10_000, &blocks.concat());
            assert_eq!(call.keys_before.is_sounding(start), is_known, "{age} ticks ago");
        }
    }

    #[test]
    fn what_is_blocked_is_kept_back_and_nothing_else() {
        let start = Instant::now();
        let mut call = call(start);
        let event: &[u8] = &[5, 10, 0, 160];
        let mut sequence = 0;
        let mut passes = |call: &mut Call, payload_type, payload: &[u8]| {
            sequence += 1;
            let timestamp = u32::from(sequence) * 160;
            send(call, start, payload_type, sequence, timestamp, payload).is_some()
        };
        let redundant: &[u8] = &[101, 5, 10, 0, 160];
        let mut seen = |call: &mut Call| {
            [(101, event), (121, redundant), (0, &[0x55; 160])]
                .map(|(payload_type, payload)| passes(call, payload_type, payload))
        };
        assert_eq!(seen(&mut call), [true; 3], "the control: all of it passes");
        call.block(start, Side::Engine, Part::Media, true);
        assert_eq!(seen(&mut call), [true; 3], "the other party's");
        call.block(start, Side::Caller, Part::KeyEvents, true);
        assert_eq!(seen(&mut call), [false, false, true]);
        call.block(start, Side::Caller, Part::Media, true);
        call.block(start, Side::Caller, Part::KeyEvents, false);
        assert_eq!(seen(&mut call), [false; 3]);
        call.block(start, Side::Caller, Part::Media, false);
        assert_eq!(seen(&mut call), [true; 3]);
        call.block(start, Side::Caller, Part::Silence, true);
        assert_eq!(seen(&mut call), [false; 3]);
        call.block(start, Side::Caller, Part::Silence, false);
        call.enter(start, session(), &mut Outbox::default()).unwrap();
        call.block(start, Side::Caller, Part::KeyEvents, true);
        call.block(start, Side::Caller, Part::KeyEvents, false);
        assert_eq!(seen(&mut call), [false; 3], "a cut call stays cut");
        assert!(call.routing.session().unwrap().masked_progress() > 0, "and is heard");
    }

    #[test]
    fn a_voice_that_is_silenced_leaves_no_gap_and_stays_so_after_a_session() {
        let start = Instant::now();
        let mut call = call(start);
        let generates = |call: &mut Call| call.egress(Side::Engine).due().is_some();
        assert!(!generates(&mut call), "the control: the caller's packets are the stream");
        call.block(start, Side::Caller, Part::Silence, true);
        assert!(generates(&mut call));
        call.arm(start, LookAhead::default(), &mut Outbox::default()).unwrap();
        call.block(start, Side::Engine, Part::Silence, true);
        assert!(call.egress(Side::Caller).due().is_some(), "armed or not, the caller's has no gap");
        call.block(start, Side::Engine, Part::Silence, false);
        call.disarm(start, &mut Outbox::default()).unwrap();
        assert!(generates(&mut call) && send(&mut call, start, 0, 1, 160, &[0x55; 160]).is_none());
        call.block(start, Side::Caller, Part::Silence, false);
        assert!(send(&mut call, start, 0, 2, 320, &[0x55; 160]).is_some());
        assert!(!generates(&mut call), "it is heard again");
    }

    #[test]
    fn each_party_has_a_frame_of_its_own_at_the_same_moment() {
        let start = Instant::now();
        let mut call = call(start);
        call.enter(start, session(), &mut Outbox::default()).unwrap();
        let ntp = NtpAnchor::new(start, NtpTime::from_unix(Duration::ZERO));
        let buffer = &mut [0; 512];
        let ports = Side::ALL.map(|side| {
            let made = std::iter::from_fn(|| call.generate(start + 10 * MS, ntp, side, buffer));
            made.map(|transmit| transmit.port.0).collect::<Vec<u16>>()
        });
        assert_eq!(ports, [[10000], [10002]], "both are due at the same moment");
    }

    pub(super) fn session() -> SessionRequest {
        let fields = [Field::new(FieldKind::ExpirationDate)];
        let today = Date::new(2026, 11, 24).unwrap();
        let plan = SecurePlan::new(PlanRequest::new(&fields, today, CardMode::Test)).unwrap();
        let (session, engine_audio) = (SessionId(1), EngineAudio::Drop);
        SessionRequest { session, plan, engine_audio, announcer: None }
    }

    /// A key goes down, by event.
    fn press(call: &mut Call, now: Instant, sequence: u16, timestamp: u32) {
        let _ = send(call, now, 101, sequence, timestamp, &[5, 10, 0, 160]);
    }

    fn send(
        call: &mut Call,
        now: Instant,
        payload_type: u8,
        sequence: u16,
        timestamp: u32,
        payload: &[u8],
    ) -> Option<Transmit> {
        send_in(call, now, payload_type, sequence, timestamp, payload, &mut [0; 256])
    }

    /// A packet of the caller; what leaves for it lies in the buffer.
    pub(super) fn send_in(
        call: &mut Call,
        now: Instant,
        payload_type: u8,
        sequence: u16,
        timestamp: u32,
        payload: &[u8],
        buffer: &mut [u8; 256],
    ) -> Option<Transmit> {
        buffer[..12].copy_from_slice(&[0x80, 0x80 | payload_type, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        buffer[2..4].copy_from_slice(&sequence.to_be_bytes());
        buffer[4..8].copy_from_slice(&timestamp.to_be_bytes());
        let len = 12 + payload.len();
        buffer[12..len].copy_from_slice(payload);
        let ntp = NtpAnchor::new(now, NtpTime::from_unix(Duration::ZERO));
        let from = call.legs[0].media().remote_rtp;
        let (side, component) = (Side::Caller, Component::Rtp);
        let events = &mut Outbox::default();
        call.handle_packet(now, ntp, side, component, from, buffer, len, events)
    }

    pub(super) fn call(now: Instant) -> Call {
        call_in(now, [Codec::G711(Law::Mu); 2])
    }

    /// One whose parties speak these codecs.
    pub(super) fn call_in(now: Instant, codecs: [Codec; 2]) -> Call {
        let media = |port, codec| {
            let remote = SocketAddr::from(([127, 0, 0, 1], port));
            LegMedia {
                remote_rtp: remote,
                remote_rtcp: remote,
                rtcp_mux: true,
                codec,
                payload_type: 0,
                telephone_event: Some(101),
                redundancy: Some(121),
                wants_events: true,
                ptime: 20 * MS,
                they_send: true,
                they_receive: true,
                srtp: None,
                source: SourceRule::Signalled,
            }
        };
        let request = OpenCall {
            call: CallId(1),
            caller_ports: PortPair::new(10000).unwrap(),
            caller: media(40000, codecs[0]),
            engine_ports: PortPair::new(10002).unwrap(),
            engine: media(50000, codecs[1]),
            armed: None,
            record: false,
        };
        let mut random = StdRng::from_seed([1; 32]);
        Call::open(now, request, 60_000 * MS, Grid::new(now), &mut random, &mut Outbox::default())
    }
}
