//! Call: two legs and one routing, and every transition between its states.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dtmf::event_receiver::{EventPacket, EventReceiver};
use dtmf::redundancy::Redundancy;
use dtmf::{Digit, Progress, SecurePlan, Verdict};
use rand::Rng;
use zeroize::Zeroize;

use super::command::{CutReceipt, OpenCall, Refusal};
use super::cut_memory::CutMemory;
use super::egress::Position;
use super::event::{Event, EventKind};
use super::id::{CallId, PortPair, SessionId, Side};
use super::leg::{Component, Heard, Leg};
use super::limits::{DRAIN_LIMIT, DRAIN_TICK, LOOK_AHEAD, TAPE_TICK};
use super::media::LegMedia;
use super::routing::{DropReason, EngineAudio, Media, Phase, Route, route};
use super::secure_session::SecureSession;
use super::snapshot::{CallSnapshot, SessionSnapshot};
use super::transmit::Transmit;
use crate::recording::{Block, Tape};
use crate::wire::ntp::NtpTime;

/// Clock of telephone-event on G.711 legs, in Hz.
const EVENT_CLOCK: u32 = 8000;

/// One call.
pub(super) struct Call {
    id: CallId,
    legs: [Leg; 2],
    routing: Routing,
    keys_before: EventReceiver,
    memory: CutMemory,
    tape: Option<Tape>,
    last_session: Option<SessionSnapshot>,
    tape_look: Instant,
    silence_look: Instant,
    length: u64,
    media_timeout: Duration,
    opened: Instant,
}

/// The state of a call, holding exactly what is known in it.
enum Routing {
    Open,
    Armed,
    Secure(Box<SecureSession>),
    Draining { session: Box<SecureSession>, since: Instant, look: Instant },
    Held { session: Box<SecureSession> },
    Closed,
}

/// What a call tells the control plane, in order.
pub(super) type Events = VecDeque<Event>;

impl Routing {
    fn phase(&self) -> Phase {
        match self {
            Routing::Open => Phase::Open,
            Routing::Armed => Phase::Armed,
            Routing::Secure(session) => Phase::Secure(session.engine_audio()),
            Routing::Draining { session, .. } => Phase::Draining(session.engine_audio()),
            Routing::Held { session } => Phase::Held(session.engine_audio()),
            Routing::Closed => Phase::Closed,
        }
    }

    fn session(&mut self) -> Option<&mut SecureSession> {
        match self {
            Routing::Secure(session)
            | Routing::Draining { session, .. }
            | Routing::Held { session } => Some(session),
            Routing::Open | Routing::Armed | Routing::Closed => None,
        }
    }
}

impl Call {
    /// A call on bound ports, open or armed.
    pub(super) fn open(
        now: Instant,
        request: OpenCall,
        media_timeout: Duration,
        random: &mut impl Rng,
        events: &mut Events,
    ) -> Call {
        let caller = Leg::new(now, request.caller_ports, request.caller, random);
        let engine = Leg::new(now, request.engine_ports, request.engine, random);
        let mut call = Call {
            id: request.call,
            legs: [caller, engine],
            routing: Routing::Open,
            keys_before: EventReceiver::new(EVENT_CLOCK),
            memory: CutMemory::default(),
            tape: request.record.then(|| Tape::new(now)),
            last_session: None,
            tape_look: now + TAPE_TICK,
            silence_look: now + media_timeout,
            length: 0,
            media_timeout,
            opened: now,
        };
        call.tell(events, EventKind::Opened);
        if request.armed {
            // A call that has just begun cannot be cut already.
            let _ = call.arm(now, events);
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

    /// Whether the call is recorded.
    pub(super) fn is_recorded(&self) -> bool {
        self.tape.is_some()
    }

    /// Takes over what was agreed anew for one leg. The routing stays what it is.
    pub(super) fn reoffer(&mut self, now: Instant, side: Side, media: LegMedia) {
        self.legs[side.index()].reagree(now, media);
    }

    /// Begins to delay the caller towards the engine.
    pub(super) fn arm(&mut self, now: Instant, events: &mut Events) -> Result<(), Refusal> {
        match self.routing {
            Routing::Open => {}
            Routing::Armed => return Ok(()),
            Routing::Secure(_) | Routing::Draining { .. } | Routing::Held { .. } => {
                return Err(Refusal::CallIsCut);
            }
            Routing::Closed => return Err(Refusal::UnknownCall),
        }
        self.routing = Routing::Armed;
        self.egress(Side::Engine).pace(now, LOOK_AHEAD);
        self.tell(events, EventKind::Armed);
        Ok(())
    }

    /// Ends the delay without a session.
    pub(super) fn disarm(&mut self, events: &mut Events) -> Result<(), Refusal> {
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
        self.tell(events, EventKind::Disarmed);
        Ok(())
    }

    /// Cuts the call and starts to collect. When this returns, no octet of the caller that has not
    /// left yet can leave.
    pub(super) fn enter(
        &mut self,
        now: Instant,
        id: SessionId,
        plan: SecurePlan,
        engine_audio: EngineAudio,
        events: &mut Events,
    ) -> Result<CutReceipt, Refusal> {
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
        let session = SecureSession::new(now, id, plan, engine_audio, &self.keys_before)
            .map_err(|_| Refusal::NoLockedMemory)?;
        self.withhold(now, engine_audio);
        self.routing = Routing::Secure(Box::new(session));
        assert!(self.phase().is_cut(), "a receipt is given only for a call that is cut");
        self.tell(events, EventKind::SecureStarted { session: id });
        self.tell_progress(events);
        Ok(CutReceipt::new(self.id, id, now))
    }

    /// An operator ends a collection, or has a held call drained once more.
    pub(super) fn cancel(&mut self, now: Instant, events: &mut Events) -> Result<(), Refusal> {
        match std::mem::replace(&mut self.routing, Routing::Closed) {
            Routing::Secure(mut session) => {
                session.cancel(now);
                self.routing = Routing::Secure(session);
                self.conclude(now, events);
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
    pub(super) fn key(&mut self, now: Instant, digit: Digit, events: &mut Events) {
        if let Some(session) = self.routing.session() {
            session.hear_signalled(now, digit);
            self.conclude(now, events);
        }
    }

    /// Ends the call. What was keyed is wiped, a collection ends as hung up.
    pub(super) fn close(&mut self, now: Instant, events: &mut Events) {
        if let Some(session) = self.routing.session() {
            session.hang_up(now);
        }
        self.conclude(now, events);
        self.routing = Routing::Closed;
        for leg in &mut self.legs {
            leg.egress().silence(now);
        }
        if let Some(tape) = &mut self.tape {
            self.length = tape.finish(now);
        }
        self.tell(events, EventKind::Closed);
    }

    /// Handles a datagram that came to one of the call's ports. What has to be sent at once is
    /// returned; it lies in `buffer`.
    #[expect(clippy::too_many_arguments, reason = "the parts of one datagram, on the packet path")]
    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        now_ntp: NtpTime,
        side: Side,
        component: Component,
        from: SocketAddr,
        buffer: &mut [u8],
        len: usize,
        events: &mut Events,
    ) -> Option<Transmit> {
        let phase = self.phase();
        let leg = &mut self.legs[side.index()];
        let heard = leg.hear(now, component, from, &mut buffer[..len], !phase.is_cut());
        let heard = heard.and_then(|heard| self.refuse_straggler(now, side, heard));
        if let (Side::Caller, false, Ok(Heard::Rtp { media, at, payload })) =
            (side, phase.is_cut(), &heard)
        {
            self.know(now, *media, *at, &buffer[payload.clone()]);
        }
        let outcome = match heard {
            Err(reason) => Err(reason),
            Ok(Heard::Rtcp(len)) => match route(phase, side, Media::Rtcp) {
                Route::Terminate => {
                    self.legs[side.index()].read_rtcp(now, now_ntp, &buffer[..len]);
                    Ok(None)
                }
                Route::Drop(reason) => Err(reason),
                Route::Forward | Route::Collect | Route::Unpack => {
                    unreachable!("reports end at the leg")
                }
            },
            Ok(Heard::Rtp { media, at, payload }) => match route(phase, side, media) {
                Route::Forward => self.forward(now, side, media, at, payload, buffer),
                Route::Unpack => self.forward_newest(now, side, at, payload, buffer),
                Route::Collect => self
                    .collect(now, media, at, &buffer[payload.clone()], events)
                    .and_then(|()| self.leak_if_sabotaged(now, side, media, at, payload, buffer)),
                Route::Drop(reason) => Err(reason),
                Route::Terminate => unreachable!("only reports are terminated"),
            },
        };
        let transmit = outcome.unwrap_or_else(|reason| {
            self.legs[side.index()].count_drop(reason);
            None
        });
        if transmit.is_none() && phase.is_cut() {
            // Whatever it was, the caller's part of it must not linger in a reused buffer.
            buffer[..len].zeroize();
        }
        transmit
    }

    /// Runs the timers that are due, those of generated packets aside.
    pub(super) fn handle_timeout(&mut self, now: Instant, events: &mut Events) {
        if let Some(session) = self.routing.session() {
            session.handle_timeout(now);
        }
        self.conclude(now, events);
        self.drain(now, events);
        if self.tape_look <= now {
            self.tape_look = now + TAPE_TICK;
        }
        if self.silence_look <= now {
            self.look_for_silence(now, events);
        }
    }

    /// Writes the next packet that is due and not caused by another one.
    pub(super) fn generate(
        &mut self,
        now: Instant,
        now_ntp: NtpTime,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        self.legs.iter_mut().find_map(|leg| leg.generate(now, now_ntp, buffer))
    }

    /// The next part of the recording that can no longer be taken back.
    pub(super) fn poll_block(&mut self, now: Instant) -> Option<Block> {
        self.tape.as_mut()?.poll_block(now)
    }

    /// The length of the recording of a closed call, in samples at 8 kHz.
    pub(super) fn recorded_samples(&self) -> u64 {
        debug_assert!(self.phase() == Phase::Closed);
        self.length
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
        let tape = self.tape.as_ref().map(|_| self.tape_look);
        let legs = self.legs.iter().map(Leg::due).min();
        [routing, silent, tape, legs].into_iter().flatten().min()
    }

    /// State and counters, copied out.
    pub(super) fn snapshot(&self, now: Instant) -> CallSnapshot {
        CallSnapshot {
            phase: self.phase(),
            session: match &self.routing {
                Routing::Secure(session)
                | Routing::Draining { session, .. }
                | Routing::Held { session } => Some(snapshot_of(session)),
                Routing::Open | Routing::Armed | Routing::Closed => self.last_session,
            },
            legs: [self.legs[0].snapshot(), self.legs[1].snapshot()],
            recording: self.tape.is_some(),
            age: now.saturating_duration_since(self.opened),
        }
    }

    /// Ends a call whose caller should send and has not for too long.
    fn look_for_silence(&mut self, now: Instant, events: &mut Events) {
        let caller = &self.legs[Side::Caller.index()];
        let heard = if caller.media().they_send { caller.last_heard() } else { now };
        self.silence_look = heard + self.media_timeout;
        if self.silence_look <= now {
            self.tell(events, EventKind::MediaTimeout { side: Side::Caller });
            self.close(now, events);
        }
    }

    /// Stops what the caller sent during a cut that is over: it is neither for the engine nor for
    /// the next session.
    fn refuse_straggler(
        &self,
        now: Instant,
        side: Side,
        heard: Heard,
    ) -> Result<Heard, DropReason> {
        match (side, &heard) {
            (Side::Caller, Heard::Rtp { media, at, .. })
                if self.memory.is_straggler(now, self.phase().is_cut(), *media, *at) =>
            {
                Err(DropReason::Straggler)
            }
            (Side::Caller | Side::Engine, Heard::Rtp { .. } | Heard::Rtcp(_)) => Ok(heard),
        }
    }

    /// Knows of the keys of the open, so that one held over the flip is no key of the session. Never
    /// of a key of a session, not even by a copy sent after it: what knows one lies in the session's
    /// locked page.
    fn know(&mut self, now: Instant, media: Media, at: Position, payload: &[u8]) {
        let Self { keys_before, memory, legs, .. } = self;
        match media {
            Media::TelephoneEvent => {
                keys_before.hear(event_packet(now, at, payload), &mut |_| {});
            }
            Media::Redundancy => {
                let agreed = legs[Side::Caller.index()].media().telephone_event;
                let blocks = Redundancy::parse(payload).into_iter().flatten();
                for block in blocks.filter(|block| Some(block.payload_type) == agreed) {
                    let timestamp = at.timestamp.wrapping_sub(block.age);
                    let marker = at.marker && !block.is_copy;
                    let at = Position { timestamp, marker, ..at };
                    if !memory.is_straggler(now, false, Media::TelephoneEvent, at) {
                        keys_before.hear(event_packet(now, at, block.payload), &mut |_| {});
                    }
                }
            }
            Media::Audio | Media::Rtcp | Media::Unknown => {}
        }
    }

    /// Passes the newest key event of a redundant packet on as if it had come alone. The copies are
    /// overwritten: they may be of a session that is over.
    fn forward_newest(
        &mut self,
        now: Instant,
        side: Side,
        at: Position,
        payload: std::ops::Range<usize>,
        buffer: &mut [u8],
    ) -> Result<Option<Transmit>, DropReason> {
        let newest = self.legs[side.index()].unpack(at, payload.clone(), buffer);
        let kept = newest.as_ref().map_or(payload.end, |(_, newest)| newest.start);
        buffer[payload.start..kept].zeroize();
        let (at, newest) = newest?;
        self.forward(now, side, Media::TelephoneEvent, at, newest, buffer)
    }

    /// The only way of a party's media to the other party and onto the tape.
    fn forward(
        &mut self,
        now: Instant,
        side: Side,
        media: Media,
        at: Position,
        payload: std::ops::Range<usize>,
        buffer: &mut [u8],
    ) -> Result<Option<Transmit>, DropReason> {
        // In every build: a way past the table is worth more than the nanosecond this takes.
        assert!(sabotaged() || route(self.phase(), side, media) == Route::Forward);
        let law = self.legs[side.index()].media().law;
        match media {
            Media::Audio => {
                if let Some(tape) = &mut self.tape {
                    tape.lay(now, side, at.timestamp, law, &buffer[payload.clone()]);
                }
                let to = self.legs[side.other().index()].media().law;
                law.transcode(to, &mut buffer[payload.clone()]);
            }
            Media::TelephoneEvent => {}
            Media::Redundancy | Media::Rtcp | Media::Unknown => unreachable!("never forwarded"),
        }
        self.legs[side.other().index()].pass(now, media, at, payload, buffer)
    }

    /// Takes caller media to the session, the only one who may hear it.
    fn collect(
        &mut self,
        now: Instant,
        media: Media,
        at: Position,
        payload: &[u8],
        events: &mut Events,
    ) -> Result<(), DropReason> {
        self.memory.note(media, at);
        let agreed = self.legs[Side::Caller.index()].media();
        let (law, event_type) = (agreed.law, agreed.telephone_event);
        let session = self.routing.session().expect("caller media is collected only in a session");
        match media {
            Media::Audio => session.hear_audio(now, law, at, payload),
            Media::TelephoneEvent => session.hear_event(now, at, payload),
            Media::Redundancy => session
                .hear_redundant(
                    event_packet(now, at, payload),
                    event_type.ok_or(DropReason::NotAgreed)?,
                )
                .map_err(|_| DropReason::Malformed)?,
            Media::Rtcp | Media::Unknown => unreachable!("never collected"),
        }
        self.conclude(now, events);
        Ok(())
    }

    /// Puts our own silence in place of the caller (and of the engine, unless the plan lets it
    /// talk), and takes back what has not left yet.
    fn withhold(&mut self, now: Instant, engine_audio: EngineAudio) {
        self.memory.begin();
        if !sabotaged() {
            self.egress(Side::Engine).silence(now);
            if let Some(tape) = &mut self.tape {
                tape.cut(now);
            }
        }
        match engine_audio {
            EngineAudio::Drop => self.egress(Side::Caller).silence(now),
            EngineAudio::Pass => {}
        }
    }

    /// Tells what the collector has got to; on a verdict, wipes the digits and starts to drain.
    fn conclude(&mut self, now: Instant, events: &mut Events) {
        self.tell_progress(events);
        let Routing::Secure(session) = &mut self.routing else { return };
        let Some(verdict) = session.verdict() else { return };
        session.wipe_digits();
        self.last_session = Some(snapshot_of(session));
        let id = session.id();
        self.tell(events, EventKind::SecureConcluded { session: id, verdict });
        if let Routing::Secure(mut session) = std::mem::replace(&mut self.routing, Routing::Closed)
        {
            session.begin_drain(now);
            self.routing = Routing::Draining { session, since: now, look: now };
        }
    }

    /// Reopens a drained call once it is quiet; holds it if that takes too long.
    fn drain(&mut self, now: Instant, events: &mut Events) {
        let Routing::Draining { session, since, look } = &mut self.routing else { return };
        *look = now + DRAIN_TICK;
        let id = session.id();
        if session.is_quiet(now) {
            // What the session heard is wiped with it; its late packets are known as stragglers.
            self.keys_before.wipe();
            self.routing = Routing::Open;
            self.memory.reopen(now);
            if let Some(tape) = &mut self.tape {
                tape.uncut(now);
            }
            for leg in &mut self.legs {
                leg.egress().resume();
            }
            self.tell(events, EventKind::Reopened { session: id });
        } else if now.saturating_duration_since(*since) >= DRAIN_LIMIT
            && let Routing::Draining { session, .. } =
                std::mem::replace(&mut self.routing, Routing::Closed)
        {
            self.routing = Routing::Held { session };
            self.tell(events, EventKind::DrainHeld { session: id });
        }
    }

    fn tell_progress(&mut self, events: &mut Events) {
        let call = self.id;
        let Some(session) = self.routing.session() else { return };
        while let Some(progress) = session.poll_progress() {
            let kind = match progress {
                Progress::FieldStarted { step, attempt } => {
                    EventKind::FieldStarted { step, attempt }
                }
                Progress::FieldRejected { step, attempt, error } => {
                    EventKind::FieldRejected { step, attempt, error }
                }
                Progress::FieldAccepted { step } => EventKind::FieldAccepted { step },
            };
            events.push_back(Event { call, kind });
        }
    }

    fn tell(&self, events: &mut Events, kind: EventKind) {
        events.push_back(Event { call: self.id, kind });
    }

    fn egress(&mut self, side: Side) -> &mut super::egress::Egress {
        self.legs[side.index()].egress()
    }

    /// Shows that the checks can fail: with the protection broken on purpose, what the collector
    /// heard goes on to the engine and the tape as well. Always `Ok(None)` in a normal build.
    fn leak_if_sabotaged(
        &mut self,
        now: Instant,
        side: Side,
        media: Media,
        at: Position,
        payload: std::ops::Range<usize>,
        buffer: &mut [u8],
    ) -> Result<Option<Transmit>, DropReason> {
        if !sabotaged() {
            return Ok(None);
        }
        match media {
            Media::Redundancy => self.forward_newest(now, side, at, payload, buffer),
            Media::Audio | Media::TelephoneEvent | Media::Rtcp | Media::Unknown => {
                self.forward(now, side, media, at, payload, buffer)
            }
        }
    }
}

#[cfg(feature = "sabotage")]
fn sabotaged() -> bool {
    crate::sabotage::masking_is_broken()
}

#[cfg(not(feature = "sabotage"))]
const fn sabotaged() -> bool {
    false
}

fn event_packet(now: Instant, at: Position, payload: &[u8]) -> EventPacket<'_> {
    EventPacket {
        arrival: now,
        ssrc: at.ssrc,
        sequence: at.sequence,
        timestamp: at.timestamp,
        marker: at.marker,
        payload,
    }
}

fn snapshot_of(session: &SecureSession) -> SessionSnapshot {
    let current = session.current();
    SessionSnapshot {
        session: session.id(),
        step: current.map(|(step, _)| step),
        attempt: current.map_or(0, |(_, attempt)| attempt),
        verdict: session.verdict().map(|verdict: Verdict| verdict),
        progress: session.masked_progress(),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use std::time::{Duration, Instant};

    use dtmf::g711::Law;
    use dtmf::{Field, FieldKind, SecurePlan, expiry::Date, keys::Keys};
    use rand::{SeedableRng, rngs::StdRng};

    use super::super::media::SourceRule;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_key_of_a_session_is_known_in_its_locked_page_alone() {
        let start = Instant::now();
        let mut call = call(start);
        press(&mut call, start, 1, 8000);
        assert!(call.keys_before.is_sounding(start), "the control: a key of the open is known");
        let later = start + 1000 * MS;
        let plan = SecurePlan::new(
            &[Field::new(FieldKind::ExpirationDate)],
            Keys::default(),
            60_000 * MS,
            Date::new(2026, 11, 24).unwrap(),
        );
        let id = SessionId(1);
        let mut events = Events::new();
        call.enter(later, id, plan.unwrap(), EngineAudio::Drop, &mut events).unwrap();
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
            call.memory.note(Media::Audio, heard);
            call.memory.reopen(start);
            // A copy without end, so that it can be seen, before a key that has ended.
            let older = (0x80_u32 | 101) << 24 | age << 10 | 4;
            let blocks = [&older.to_be_bytes()[..], &[101, 5, 10, 0, 160, 6, 0x8a, 0, 160]];
            send(&mut call, start, 121, 2, 10_000, &blocks.concat());
            assert_eq!(call.keys_before.is_sounding(start), is_known, "{age} ticks ago");
        }
    }

    /// A key goes down, by event.
    fn press(call: &mut Call, now: Instant, sequence: u16, timestamp: u32) {
        send(call, now, 101, sequence, timestamp, &[5, 10, 0, 160]);
    }

    fn send(
        call: &mut Call,
        now: Instant,
        payload_type: u8,
        sequence: u16,
        timestamp: u32,
        payload: &[u8],
    ) {
        let mut buffer = [0; 64];
        buffer[..12].copy_from_slice(&[0x80, 0x80 | payload_type, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        buffer[2..4].copy_from_slice(&sequence.to_be_bytes());
        buffer[4..8].copy_from_slice(&timestamp.to_be_bytes());
        let len = 12 + payload.len();
        buffer[12..len].copy_from_slice(payload);
        let (ntp, from) = (NtpTime::from_unix(Duration::ZERO), call.legs[0].media().remote_rtp);
        let (side, component) = (Side::Caller, Component::Rtp);
        let events = &mut Events::new();
        call.handle_packet(now, ntp, side, component, from, &mut buffer, len, events);
    }

    fn call(now: Instant) -> Call {
        let media = |port| {
            let remote = SocketAddr::from(([127, 0, 0, 1], port));
            LegMedia {
                remote_rtp: remote,
                remote_rtcp: remote,
                rtcp_mux: true,
                law: Law::Mu,
                payload_type: 0,
                telephone_event: Some(101),
                redundancy: Some(121),
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
            caller: media(40000),
            engine_ports: PortPair::new(10002).unwrap(),
            engine: media(50000),
            armed: false,
            record: false,
        };
        let mut random = StdRng::from_seed([1; 32]);
        Call::open(now, request, 60_000 * MS, &mut random, &mut Events::new())
    }
}
