//! Worker: one thread that owns its sockets, its ports and its switchboard.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use dtmf::FailReason;
use tokio::sync::mpsc::Sender;
use zeroize::Zeroize;

use super::clock::Clock;
use super::gauges::Gauges;
use super::handle::{Answer, Ask, CallAt, CallRequest, CopyRequest, OpenedCall, Request};
use super::link::{CutLine, LINK_PEER, Links, NearEnd};
use super::media_io::{MediaIo, Received};
use crate::recording::{Full, Job, RecordQueue, Room};
use crate::switchboard::limits::{BIND_ATTEMPTS, BUFFER, COMMANDS_PER_TURN, PACKETS_PER_TURN};
use crate::switchboard::{
    CallId, Command, Copies, Delivery, Event, LegMedia, LocalMedia, OpenCall, PortPair, PortPool,
    RecordingAction, Refusal, Reply, Side, Subscribing, Switchboard, Transmit, WorkerIndex,
};

/// The addresses media is received on, one a family.
#[derive(Clone, Copy)]
pub(super) struct MediaAddresses {
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
}

impl MediaAddresses {
    /// Ours of the family that `peer` needs.
    fn facing(self, peer: SocketAddr) -> Option<IpAddr> {
        match peer.ip() {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }
}

/// One thread's possessions. Calls never move between workers, and nothing here is shared.
pub(super) struct Worker<Io> {
    pub(super) index: WorkerIndex,
    pub(super) io: Io,
    pub(super) switchboard: Switchboard,
    pub(super) pool: PortPool,
    pub(super) links: Links,
    pub(super) addresses: MediaAddresses,
    pub(super) clock: Clock,
    pub(super) requests: Receiver<Request>,
    pub(super) events: Sender<Event>,
    pub(super) deliveries: Sender<Delivery>,
    pub(super) recorder: Option<RecordQueue>,
    /// Kept for the beginning of a recording that was asked for.
    pub(super) room: Option<Room>,
    pub(super) unfinished: VecDeque<(CallId, u64)>,
    pub(super) gauges: Gauges,
    pub(super) effort: Effort,
    pub(super) buffer: [u8; BUFFER],
}

/// How long a worker was awake.
pub(super) struct Effort {
    woken: Instant,
    told: Instant,
    awake: Duration,
}

impl Effort {
    /// Between two tellings.
    const INTERVAL: Duration = Duration::from_secs(1);

    pub(super) fn new(now: Instant) -> Effort {
        Effort { woken: now, told: now, awake: Duration::ZERO }
    }

    fn sleep(&mut self, now: Instant) {
        self.awake += now.saturating_duration_since(self.woken);
    }

    fn wake(&mut self, now: Instant) {
        self.woken = now;
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.told) >= Effort::INTERVAL;
        if is_due {
            self.told = now;
        }
        is_due
    }
}

/// Whether the worker goes on.
#[derive(PartialEq, Eq)]
enum Turn {
    Go,
    Stop,
}

impl<Io: MediaIo> Worker<Io> {
    /// Serves until the last [`super::handle::Relay`] is gone; then ends all calls.
    pub(super) fn run(mut self) {
        self.tell();
        loop {
            // Priority 1: commands, so that a flip never waits for packets.
            if self.obey_commands() == Turn::Stop {
                break;
            }
            // Priority 2: packets, a bounded number.
            if let Err(error) = self.wait() {
                tracing::error!(worker = self.index.0, %error, "waiting for media failed");
                break;
            }
            self.relay_packets();
            self.hear_links();
            // Priority 3: timers and what they send.
            self.run_timers();
            self.io.flush();
            // Priority 4: telling.
            self.tell();
        }
        let now = self.clock.now();
        self.switchboard.close_all(now);
        self.tell();
    }

    fn obey_commands(&mut self) -> Turn {
        for _ in 0..COMMANDS_PER_TURN {
            match self.requests.try_recv() {
                Ok(request) => self.answer(request),
                Err(TryRecvError::Empty) => return Turn::Go,
                Err(TryRecvError::Disconnected) => return Turn::Stop,
            }
        }
        Turn::Go
    }

    /// Obeys a request and replies after its effect.
    fn answer(&mut self, Request { ask, asked, reply }: Request) {
        let now = self.clock.now();
        let flip = match &ask {
            Ask::Obey(Command::Enter { call, .. }) => Some(*call),
            Ask::Open(_)
            | Ask::Local { .. }
            | Ask::Subscribe(_)
            | Ask::Key { .. }
            | Ask::Obey(_) => None,
        };
        let mut answer = match ask {
            Ask::Open(request) => self.open(now, *request).map(Answer::Opened),
            Ask::Local { call } => self.local(call).map(Answer::Local),
            Ask::Subscribe(request) => self.subscribe(now, request).map(Answer::Subscribed),
            Ask::Key { call, key } => {
                let command = Command::Key { call, digit: key.digit() };
                self.switchboard.handle_command(now, command).map(Answer::Obeyed)
            }
            Ask::Obey(command @ Command::Record { action: RecordingAction::Start, .. }) => self
                .keep_room()
                .and_then(|()| self.switchboard.handle_command(now, command))
                .map(Answer::Obeyed),
            Ask::Obey(command) => self.switchboard.handle_command(now, command).map(Answer::Obeyed),
        };
        if let (Some(call), Ok(Answer::Obeyed(Reply::Secured(receipt)))) = (flip, &answer) {
            // The last packet from before the cut may still lie here.
            self.buffer.zeroize();
            self.gauges.flip(self.clock.now().saturating_duration_since(asked));
            if let Some(line) = self.cut_link(call) {
                answer = Ok(Answer::Cut(*receipt, line));
            }
        }
        self.tell();
        // There was no recording to begin, or it has begun.
        self.room = None;
        // Whoever asked may have gone away; the effect stands all the same.
        let _ = reply.send(answer);
    }

    fn open(&mut self, now: Instant, request: CallRequest) -> Result<OpenedCall, Refusal> {
        let CallRequest { call, caller, engine, armed, record, links } = request;
        let [caller_link, engine_link] = links;
        if record {
            self.keep_room()?;
        }
        let caller_at = self.ours(&caller, caller_link.is_some())?;
        let engine_at = self.ours(&engine, engine_link.is_some())?;
        let caller_ports = self.take(now, caller_at, caller_link)?;
        let engine_ports = self
            .take(now, engine_at, engine_link)
            .inspect_err(|_| self.release(now, caller_ports))?;
        let (caller_local, engine_local) = (
            local_media(caller_at, caller_ports, caller.rtcp_mux),
            local_media(engine_at, engine_ports, engine.rtcp_mux),
        );
        let open = OpenCall { call, caller_ports, caller, engine_ports, engine, armed, record };
        if let Err(refusal) = self.switchboard.handle_command(now, Command::Open(Box::new(open))) {
            self.release(now, caller_ports);
            self.release(now, engine_ports);
            return Err(refusal);
        }
        let at = CallAt { call, worker: self.index };
        Ok(OpenedCall { at, caller: caller_local, engine: engine_local })
    }

    /// Takes ports for copies. RTCP has a port of its own, and nothing is read from either.
    fn subscribe(
        &mut self,
        now: Instant,
        CopyRequest { call, id, sides, is_ipv6 }: CopyRequest,
    ) -> Result<Copies<LocalMedia>, Refusal> {
        let ours = match is_ipv6 {
            true => self.addresses.v6.map(IpAddr::V6),
            false => self.addresses.v4.map(IpAddr::V4),
        };
        let ours = ours.ok_or(Refusal::NoAddressFamily)?;
        let mut copies = Copies::new();
        let mut begun = Ok(Reply::Done);
        for side in sides {
            match self.bind(now, ours) {
                Ok(pair) => copies.push((side, pair)),
                Err(refusal) => begun = Err(refusal),
            }
        }
        let pairs: Copies<PortPair> = copies.iter().map(|(_, pair)| *pair).collect();
        let begun = begun.and_then(|_| {
            let ask = Box::new(Subscribing::Begin(copies));
            self.switchboard.handle_command(now, Command::Subscription { call, id, ask })
        });
        if let Err(refusal) = begun {
            pairs.into_iter().for_each(|pair| self.release(now, pair));
            return Err(refusal);
        }
        Ok(pairs.into_iter().map(|pair| local_media(ours, pair, false)).collect())
    }

    /// Whether there is a place for recordings, on a disk that works.
    /// Keeps room for the beginning of a recording, before anybody is told that it begins.
    fn keep_room(&mut self) -> Result<(), Refusal> {
        let queue = self.recorder.as_ref().filter(|queue| !queue.has_disk_failed());
        let room = queue.ok_or(Refusal::NoRecording)?.reserve();
        self.room = Some(room.map_err(|Full| Refusal::Busy)?);
        Ok(())
    }

    /// Our address on a leg; a link has none.
    fn ours(&self, media: &LegMedia, is_linked: bool) -> Result<IpAddr, Refusal> {
        if is_linked {
            return Ok(LINK_PEER.ip());
        }
        self.addresses.facing(media.remote_rtp).ok_or(Refusal::NoAddressFamily)
    }

    /// Takes a free pair: of ports, or of numbers for a link.
    fn take(
        &mut self,
        now: Instant,
        address: IpAddr,
        link: Option<NearEnd>,
    ) -> Result<PortPair, Refusal> {
        match link {
            Some(link) => self.links.bind(now, link).ok_or(Refusal::NoPort),
            None => self.bind(now, address),
        }
    }

    /// Empties the link of the engine, where it is behind one: of what was for it before the cut.
    fn cut_link(&self, call: CallId) -> Option<CutLine> {
        let legs = self.switchboard.legs(call)?;
        let (ports, _, _) = legs[Side::Engine.index()];
        self.links.cut(ports)
    }

    /// Binds a free pair. Other programs may hold ports of the range: those are rested and passed.
    fn bind(&mut self, now: Instant, address: IpAddr) -> Result<PortPair, Refusal> {
        for _ in 0..BIND_ATTEMPTS {
            let pair = self.pool.take(now).ok_or(Refusal::NoPort)?;
            match self.io.bind(address, pair) {
                Ok(()) => return Ok(pair),
                Err(error) => {
                    tracing::debug!(port = pair.rtp().0, %error, "media port passed over");
                    self.pool.give_back(now, pair);
                    if error.kind() != std::io::ErrorKind::AddrInUse {
                        return Err(Refusal::BindFailed);
                    }
                }
            }
        }
        Err(Refusal::NoPort)
    }

    fn local(&self, call: CallId) -> Result<[LocalMedia; 2], Refusal> {
        let legs = self.switchboard.legs(call).ok_or(Refusal::UnknownCall)?;
        let mut local = [None; 2];
        for (place, (ports, peer, mux)) in local.iter_mut().zip(legs) {
            let ours = match self.links.has(ports.rtp()) {
                true => Some(LINK_PEER.ip()),
                false => self.addresses.facing(peer),
            };
            *place = ours.map(|at| local_media(at, ports, mux));
        }
        match local {
            [Some(caller), Some(engine)] => Ok([caller, engine]),
            [None, _] | [_, None] => Err(Refusal::NoAddressFamily),
        }
    }

    fn release(&mut self, now: Instant, pair: PortPair) {
        if self.links.release(now, pair) {
            return;
        }
        self.io.release(pair);
        self.pool.give_back(now, pair);
    }

    fn relay_packets(&mut self) {
        let now = self.clock.now();
        for _ in 0..PACKETS_PER_TURN {
            let Some(received) = self.io.receive(&mut self.buffer) else { break };
            self.handle(now, received);
        }
    }

    /// As [`Worker::relay_packets`], of peers in this process.
    fn hear_links(&mut self) {
        if !self.links.is_waiting() {
            return;
        }
        let now = self.clock.now();
        for _ in 0..PACKETS_PER_TURN {
            let Some(received) = self.links.receive(&mut self.buffer) else { return };
            self.handle(now, received);
            self.buffer[..received.len].zeroize();
        }
        self.links.wake_again();
    }

    fn handle(&mut self, now: Instant, Received { port, from, len }: Received) {
        let transmit = self.switchboard.handle_packet(now, port, from, &mut self.buffer, len);
        if let Some(transmit) = transmit {
            self.send(&transmit);
        }
    }

    fn run_timers(&mut self) {
        let now = self.clock.now();
        self.switchboard.handle_timeout(now);
        let mut is_any = false;
        while let Some(transmit) = self.switchboard.poll_engine_transmit(now, &mut self.buffer) {
            self.send(&transmit);
            is_any = true;
        }
        if is_any {
            // They leave before the callers' are made.
            self.io.flush();
        }
        while let Some(transmit) = self.switchboard.poll_transmit(now, &mut self.buffer) {
            self.send(&transmit);
            // It may have been a part of a read-back.
            self.buffer[transmit.range].zeroize();
        }
    }

    fn send(&mut self, Transmit { port, to, range }: &Transmit) {
        let datagram = &self.buffer[range.clone()];
        let is_sent =
            self.links.send(*port, datagram).unwrap_or_else(|| self.io.send(*port, *to, datagram));
        if !is_sent {
            self.switchboard.handle_unsent(*port);
        }
    }

    /// Hands on what the switchboard has to say. Nothing here waits: what a full queue cannot take
    /// is counted, and the recorder's losses are told in turn.
    fn tell(&mut self) {
        self.record();
        while let Some(event) = self.switchboard.poll_event() {
            if self.events.try_send(event).is_err() {
                self.gauges.event_lost();
            }
        }
        let now = self.clock.now();
        self.deliver(now);
        while let Some(pair) = self.switchboard.poll_released() {
            self.release(now, pair);
        }
        self.gauges.set(self.index, self.switchboard.calls(), self.pool.left());
    }

    /// Hands over what sessions have accepted. What finds no room fails its session, and is wiped.
    fn deliver(&mut self, now: Instant) {
        while let Some(delivery) = self.switchboard.poll_delivery() {
            let (call, session) = (delivery.call, delivery.session);
            if self.deliveries.try_send(delivery).is_err() {
                let outcome = Err(FailReason::InternalError);
                let failed = Command::Delivered { call, session, outcome };
                // A call that has ended meanwhile needs no answer.
                let _ = self.switchboard.handle_command(now, failed);
            }
        }
    }

    /// Hands audio to the recorder. A block that finds no room is lost, counted and told; the end
    /// of a recording is offered until it is taken.
    fn record(&mut self) {
        let Some(queue) = &self.recorder else { return };
        while let Some(&(call, samples)) = self.unfinished.front() {
            if queue.try_send(Job::Finish { call, samples }).is_err() {
                break;
            }
            self.unfinished.pop_front();
            self.switchboard.handle_record_end(call);
        }
        while let Some(job) = self.switchboard.poll_record() {
            let (call, end) = match &job {
                Job::Start { call } | Job::Block { call, .. } => (*call, None),
                Job::Finish { call, samples } => (*call, Some((*call, *samples))),
            };
            let room = match &job {
                Job::Start { .. } => self.room.take(),
                Job::Block { .. } | Job::Finish { .. } => None,
            };
            let sent = match room {
                Some(room) => queue.send(room, job),
                None => queue.try_send(job),
            };
            match (sent, end) {
                (Ok(()), None) => {}
                (Ok(()), Some(_)) => self.switchboard.handle_record_end(call),
                (Err(_), Some(end)) => self.unfinished.push_back(end),
                (Err(_), None) => self.switchboard.handle_record_lost(call),
            }
        }
    }

    /// Sleeps until something is to do. Once a second, what was done is told.
    fn wait(&mut self) -> std::io::Result<()> {
        let now = self.clock.now();
        self.effort.sleep(now);
        if self.effort.is_due(now) {
            self.gauges.set_io(self.index, self.io.counts(), self.effort.awake);
        }
        let due = self.switchboard.poll_timeout();
        self.io.wait(due.map(|due| due.saturating_duration_since(now)))?;
        self.effort.wake(self.clock.now());
        Ok(())
    }
}

impl<Io> Drop for Worker<Io> {
    fn drop(&mut self) {
        self.buffer.zeroize();
        if std::thread::panicking() {
            // Calls of a dead worker would be half alive: better lost loudly, and restarted.
            tracing::error!(worker = self.index.0, "a media worker has panicked; stopping");
            std::process::abort();
        }
    }
}

/// The addresses a peer is told; with multiplexing both are one (RFC 5761).
fn local_media(address: IpAddr, ports: PortPair, mux: bool) -> LocalMedia {
    let rtp = SocketAddr::new(address, ports.rtp().0);
    let rtcp = if mux { rtp } else { SocketAddr::new(address, ports.rtcp().0) };
    LocalMedia { rtp, rtcp }
}
