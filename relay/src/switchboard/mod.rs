//! Switchboard: all calls of one worker. Decides, and performs no effect.
//!
//! Input goes in by `handle_*`, with the time as an argument; output comes out by `poll_*` and by
//! return value. After every input: [`Switchboard::poll_transmit`] until `None`, then the other
//! `poll_*` until `None`, then sleep until [`Switchboard::poll_timeout`].

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use zeroize::Zeroize;

mod access;
mod allowance;
mod announcer;
mod association;
mod browser;
mod call;
mod command;
mod cut_counts;
mod cut_memory;
mod delay_line;
mod delivery;
pub mod dtls;
mod egress;
mod egress_format;
mod event;
mod gate;
mod grid;
pub mod ice;
mod id;
mod keyed;
mod leg;
pub mod limits;
mod media;
mod mouth;
mod ntp_anchor;
mod outbox;
mod play_request;
mod playing;
mod playout;
mod ports;
mod position;
mod press;
mod reception;
mod routing;
mod secure_session;
mod snapshot;
mod subscription;
mod talk_gauge;
mod telephone;
mod timers;
mod transcoder;
mod transmit;
mod wheel;

pub use announcer::Announcer;
pub use association::DtlsPeer;
pub use browser::BrowserPeer;
pub use command::{
    Command, CutReceipt, LocalMedia, OpenCall, Part, RecordingAction, Refusal, Reply,
    SessionRequest,
};
pub use delivery::Delivery;
pub use event::{Event, EventKind};
pub use id::{CallId, LocalPort, Parties, PortPair, SessionId, Side, WorkerIndex};
pub use media::{LegMedia, LookAhead, SourceRule, SrtpKeys};
pub use play_request::PlayRequest;
pub use ports::PortPool;
pub use press::{Press, Presses};
pub use routing::{DropReason, EngineAudio, Media, Phase, Route, is_copied, route};
pub use snapshot::{
    CallSnapshot, LegCounts, LegSnapshot, RecordingState, SessionSnapshot, Transport,
};
pub use subscription::{Copies, CopyMedia, Subscribing, SubscriptionId};
pub use transmit::Transmit;

use crate::recording::Job;
use crate::wire::ntp::NtpTime;
use call::Call;
use grid::Grid;
use leg::Component;
use limits::MAX_CALLS;
use ntp_anchor::NtpAnchor;
use outbox::Outbox;
use timers::Timers;

/// What a switchboard is made with.
pub struct SwitchboardConfig {
    /// Ports that packets may come to.
    pub ports: RangeInclusive<u16>,
    /// Silence of a sending caller that ends its call.
    pub media_timeout: Duration,
    /// Seed of SSRCs and initial numbers.
    pub seed: [u8; 32],
    /// An instant and its wall-clock time, for sender reports.
    pub ntp_anchor: (Instant, NtpTime),
}

/// All calls of one worker.
pub struct Switchboard {
    config: SwitchboardConfig,
    /// What legs have for ports whose peers are in this process.
    links: RangeInclusive<u16>,
    ntp: NtpAnchor,
    calls: Vec<Option<Call>>,
    free: Vec<usize>,
    by_id: HashMap<CallId, usize>,
    by_port: Vec<Option<Target>>,
    timers: Timers,
    ready: VecDeque<usize>,
    /// Those at the front of them whose engines have what was due to them.
    engines_done: usize,
    outbox: Outbox,
    records: VecDeque<Job>,
    released: VecDeque<PortPair>,
    random: StdRng,
    strays: u64,
}

/// What a port belongs to.
#[derive(Clone, Copy)]
struct Target {
    slot: u32,
    end: End,
}

/// Who is at the other end of a port.
#[derive(Clone, Copy)]
enum End {
    Party(Side, Component),
    /// Who is sent copies: what it sends is not read.
    Subscriber,
}

impl Switchboard {
    /// A switchboard without calls.
    pub fn new(config: SwitchboardConfig) -> Switchboard {
        let links = PortPool::links(&config.ports);
        let ports = config.ports.clone().count() + links.clone().count();
        Switchboard {
            random: StdRng::from_seed(config.seed),
            by_port: vec![None; ports],
            ntp: NtpAnchor::new(config.ntp_anchor.0, config.ntp_anchor.1),
            timers: Timers::new(config.ntp_anchor.0),
            config,
            links,
            calls: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            ready: VecDeque::new(),
            engines_done: 0,
            outbox: Outbox::default(),
            records: VecDeque::new(),
            released: VecDeque::new(),
            strays: 0,
        }
    }

    /// Obeys a command, or says why not; a refused command has changed nothing.
    pub fn handle_command(&mut self, now: Instant, command: Command) -> Result<Reply, Refusal> {
        match command {
            Command::Open(request) => self.open(now, *request),
            Command::Reoffer { call, side, media } => self.reoffer(now, call, side, *media, false),
            Command::ReofferClaimed { call, side, media } => {
                self.reoffer(now, call, side, *media, true)
            }
            Command::CheckClaim { call, side, media } => {
                self.with(now, call, |call, _| call.check_claim(side, &media).map(|()| Reply::Done))
            }
            Command::Arm { call, look_ahead } => self.with(now, call, |call, outbox| {
                call.arm(now, look_ahead, outbox).map(|()| Reply::Done)
            }),
            Command::Disarm { call } => {
                self.with(now, call, |call, outbox| call.disarm(now, outbox).map(|()| Reply::Done))
            }
            Command::Block { call, side, part, blocked } => self.with(now, call, |call, _| {
                call.block(now, side, part, blocked);
                Ok(Reply::Done)
            }),
            Command::Subscription { call, id, ask } => self.subscribing(now, call, id, *ask),
            Command::Record { call, action } => self.with(now, call, |call, outbox| {
                call.record(now, action, outbox).map(Reply::Recorded)
            }),
            Command::Play { call, to, request } => {
                self.with(now, call, |call, _| call.play(now, to, request).map(|()| Reply::Done))
            }
            Command::StopPlaying { call, to } => {
                self.with(now, call, |call, _| Ok(Reply::Stopped(call.stop_playing(to))))
            }
            Command::Press { call, presses } => {
                self.with(now, call, |call, _| call.press(now, presses).map(|()| Reply::Done))
            }
            Command::Enter { call, request } => self.with(now, call, |call, outbox| {
                call.enter(now, *request, outbox).map(Reply::Secured)
            }),
            Command::Capture { call, step } => self.with(now, call, |call, outbox| {
                call.capture(now, step, outbox).map(|()| Reply::Done)
            }),
            Command::Complete { call } => self
                .with(now, call, |call, outbox| call.complete(now, outbox).map(|()| Reply::Done)),
            Command::Delivered { call, session, outcome } => {
                self.with(now, call, |call, outbox| {
                    call.delivered(now, session, outcome, outbox).map(|()| Reply::Done)
                })
            }
            Command::Abandon { call } => {
                self.with(now, call, |call, outbox| call.abandon(now, outbox).map(|()| Reply::Done))
            }
            Command::Cancel { call } => {
                self.with(now, call, |call, outbox| call.cancel(now, outbox).map(|()| Reply::Done))
            }
            Command::Key { call, digit } => self.with(now, call, |call, outbox| {
                call.key(now, digit, outbox);
                Ok(Reply::Done)
            }),
            Command::HangUp { call } => {
                self.with(now, call, |call, outbox| Ok(call.hang_up(now, outbox)))
            }
            Command::Close { call } => self.with(now, call, |call, outbox| {
                call.close(now, outbox);
                Ok(Reply::Done)
            }),
            Command::Snapshot { call } => {
                self.with(now, call, |call, _| Ok(Reply::Snapshot(Box::new(call.snapshot(now)))))
            }
        }
    }

    /// Handles the datagram in `buffer[..len]` that came to `port`. What has to be sent at once is
    /// returned and lies in `buffer`, which needs [`limits::TAG_ROOM`] octets more than `len`.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        port: LocalPort,
        from: SocketAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Transmit> {
        debug_assert!(len + limits::TAG_ROOM <= buffer.len());
        let Some(target) = self.target(port) else {
            self.strays += 1;
            // It may be the last of a call that ended in a cut.
            buffer[..len].zeroize();
            return None;
        };
        let slot = target.slot as usize;
        let call = self.calls[slot].as_mut().expect("a port in the table belongs to a call");
        let End::Party(side, component) = target.end else {
            self.strays += 1;
            buffer[..len].zeroize();
            return None;
        };
        let transmit =
            call.handle_packet(now, self.ntp, side, component, from, buffer, len, &mut self.outbox);
        if call.take_due_open() {
            self.timers.set(slot, call.due());
        }
        debug_assert!(
            self.ready.contains(&slot) || self.timers.of(slot) == call.due(),
            "a packet that moved nothing moved the alarm"
        );
        transmit
    }

    /// Runs the timers that are due; packets that come of it are fetched by `poll_transmit`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(slot) = self.timers.pop_due(now) {
            if let Some(call) = self.calls[slot].as_mut() {
                call.handle_timeout(now, &mut self.outbox);
                self.ready.push_back(slot);
            }
        }
    }

    /// Writes the next packet that is due to an engine into `buffer`.
    ///
    /// Engines, and subscribers with them, come before all callers, of whatever call: what a caller is told takes longer to make
    /// than silence, a key ends it, and no engine's frame may be later by that. Send what comes of
    /// this before [`Switchboard::poll_transmit`] is asked.
    pub fn poll_engine_transmit(&mut self, now: Instant, buffer: &mut [u8]) -> Option<Transmit> {
        while let Some(&slot) = self.ready.get(self.engines_done) {
            if let Some(call) = self.calls[slot].as_mut()
                && let Some(transmit) = call.generate(now, self.ntp, Side::Engine, buffer)
            {
                return Some(transmit);
            }
            self.engines_done += 1;
        }
        None
    }

    /// Writes the next packet that is due into `buffer`: engines' first, then callers'.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut [u8]) -> Option<Transmit> {
        if let Some(transmit) = self.poll_engine_transmit(now, buffer) {
            return Some(transmit);
        }
        while let Some(&slot) = self.ready.front() {
            if let Some(call) = self.calls[slot].as_mut()
                && let Some(transmit) = call.generate(now, self.ntp, Side::Caller, buffer)
            {
                return Some(transmit);
            }
            self.ready.pop_front();
            self.engines_done = self.engines_done.saturating_sub(1);
            self.settle(now, slot);
        }
        None
    }

    /// The next event for control.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.outbox.events.pop_front()
    }

    /// The next accepted entries to be delivered.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.outbox.deliveries.pop_front()
    }

    /// The next job for the recorder.
    pub fn poll_record(&mut self) -> Option<Job> {
        self.records.pop_front()
    }

    /// The next pair of ports that no call uses any more.
    pub fn poll_released(&mut self) -> Option<PortPair> {
        self.released.pop_front()
    }

    /// When [`Switchboard::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Calls in progress.
    pub fn calls(&self) -> usize {
        self.by_id.len()
    }

    /// Ports of a call, its peers' addresses and whether RTCP is multiplexed, by [`Side::index`].
    pub fn legs(&self, call: CallId) -> Option<[(PortPair, SocketAddr, bool); 2]> {
        let &slot = self.by_id.get(&call)?;
        self.calls[slot].as_ref().map(Call::legs)
    }

    /// A packet that was to leave from `port` was not taken by the kernel.
    pub fn handle_unsent(&mut self, port: LocalPort) {
        if let Some(target) = self.target(port)
            && let Some(call) = self.calls[target.slot as usize].as_mut()
        {
            match target.end {
                End::Party(side, _) => call.count_unsent(side),
                // Lost on its way, as any copy may be.
                End::Subscriber => {}
            }
        }
    }

    /// The recorder could not take a job: what it held is lost, and that is told.
    pub fn handle_record_lost(&mut self, call: CallId) {
        self.outbox.tell(call, EventKind::RecordingGap);
    }

    /// The end of a recording was taken by the recorder. A call that goes on tells of it.
    pub fn handle_record_end(&mut self, call: CallId) {
        if self.by_id.contains_key(&call) {
            self.outbox.tell(call, EventKind::RecordingHandedOver);
        }
    }

    /// Ends all calls.
    pub fn close_all(&mut self, now: Instant) {
        for slot in 0..self.calls.len() {
            if let Some(call) = self.calls[slot].as_mut() {
                call.close(now, &mut self.outbox);
                self.settle(now, slot);
            }
        }
    }

    fn open(&mut self, now: Instant, request: OpenCall) -> Result<Reply, Refusal> {
        if self.by_id.contains_key(&request.call) {
            return Err(Refusal::DuplicateCall);
        }
        if self.by_id.len() >= MAX_CALLS {
            return Err(Refusal::Full);
        }
        let (id, pairs) = (request.call, [request.caller_ports, request.engine_ports]);
        let (media_timeout, grid) =
            (self.config.media_timeout, Grid::new(self.config.ntp_anchor.0));
        let call =
            Call::open(now, request, media_timeout, grid, &mut self.random, &mut self.outbox);
        let slot = self.free.pop().unwrap_or(self.calls.len());
        if slot == self.calls.len() {
            self.calls.push(None);
        }
        self.calls[slot] = Some(call);
        self.by_id.insert(id, slot);
        for (side, pair) in Side::ALL.into_iter().zip(pairs) {
            self.claim(pair, slot, |component| End::Party(side, component));
        }
        self.settle(now, slot);
        Ok(Reply::Done)
    }

    fn subscribing(
        &mut self,
        now: Instant,
        call: CallId,
        id: SubscriptionId,
        ask: Subscribing,
    ) -> Result<Reply, Refusal> {
        let mut random = StdRng::from_rng(&mut self.random);
        let pairs: Copies<PortPair> = match &ask {
            Subscribing::Begin(copies) => copies.iter().map(|(_, ports)| *ports).collect(),
            Subscribing::Answer(_) | Subscribing::End => Copies::new(),
        };
        let reply = self.with(now, call, |call, outbox| match ask {
            Subscribing::Begin(copies) => call.subscribe(now, id, copies),
            Subscribing::Answer(copies) => call.listen(now, id, copies, &mut random, outbox),
            Subscribing::End => call.unsubscribe(id, outbox),
        })?;
        if let Some(&slot) = self.by_id.get(&call) {
            for pair in pairs {
                self.claim(pair, slot, |_| End::Subscriber);
            }
        }
        Ok(reply)
    }

    /// Replaces what was agreed for one leg; on the word of somebody who may be the other party, if
    /// that may be.
    fn reoffer(
        &mut self,
        now: Instant,
        call: CallId,
        side: Side,
        media: LegMedia,
        is_claimed: bool,
    ) -> Result<Reply, Refusal> {
        // Drawn before, since the call and its switchboard cannot both be asked.
        let mut random = StdRng::from_rng(&mut self.random);
        self.with(now, call, |call, _| {
            if is_claimed {
                call.check_claim(side, &media)?;
            }
            call.reoffer(now, side, media, &mut random);
            Ok(Reply::Done)
        })
    }

    fn with(
        &mut self,
        now: Instant,
        call: CallId,
        obey: impl FnOnce(&mut Call, &mut Outbox) -> Result<Reply, Refusal>,
    ) -> Result<Reply, Refusal> {
        let &slot = self.by_id.get(&call).ok_or(Refusal::UnknownCall)?;
        let call = self.calls[slot].as_mut().expect("an id in the table belongs to a call");
        let reply = obey(call, &mut self.outbox);
        self.settle(now, slot);
        reply
    }

    /// After a call has changed: fetches its recording, sets its alarm, or frees what it held.
    fn settle(&mut self, now: Instant, slot: usize) {
        let Some(call) = self.calls[slot].as_mut() else { return };
        while let Some(job) = call.poll_record(now) {
            self.records.push_back(job);
        }
        self.timers.set(slot, call.due());
        let is_over = call.phase() == Phase::Closed;
        while let Some(pair) = self.calls[slot].as_mut().and_then(Call::poll_freed) {
            self.let_go(pair);
        }
        if is_over {
            self.free(slot);
        }
    }

    fn free(&mut self, slot: usize) {
        let Some(call) = self.calls[slot].take() else { return };
        self.by_id.remove(&call.id());
        self.timers.set(slot, None);
        self.ready.retain(|&ready| ready != slot);
        // Those who have theirs already are asked in vain.
        self.engines_done = 0;
        self.free.push(slot);
        for pair in call.ports() {
            self.let_go(pair);
        }
    }

    fn let_go(&mut self, pair: PortPair) {
        for port in [pair.rtp(), pair.rtcp()] {
            if let Some(entry) = self.port_index(port) {
                self.by_port[entry] = None;
            }
        }
        self.released.push_back(pair);
    }

    fn claim(&mut self, pair: PortPair, slot: usize, end: impl Fn(Component) -> End) {
        for (port, component) in [(pair.rtp(), Component::Rtp), (pair.rtcp(), Component::Rtcp)] {
            let entry = self.port_index(port).expect("ports of a call come from the range");
            let target = Target { slot: slot as u32, end: end(component) };
            let before = self.by_port[entry].replace(target);
            assert!(before.is_none(), "a port belongs to one call");
        }
    }

    fn target(&self, port: LocalPort) -> Option<Target> {
        self.by_port[self.port_index(port)?]
    }

    fn port_index(&self, port: LocalPort) -> Option<usize> {
        let ports = &self.config.ports;
        if ports.contains(&port.0) {
            return Some(usize::from(port.0 - ports.start()));
        }
        let place = usize::from(port.0.checked_sub(*self.links.start())?);
        self.links.contains(&port.0).then_some(ports.clone().count() + place)
    }
}
