//! Generator: one thread that speaks for all callers and engines, every 20 ms, and hears for them.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dtmf::Digit;
use dtmf::g711::Law;
use loadtest::sdp::PCMU;
use loadtest::{Caller, CallerConfig, KeyMethod, Voice};
use relay::io::Clock;
use relay::wire::rtp::RtpPacket;
use relay::wire::srtp::{Inbound, Outbound};

use super::arrivals::Arrivals;
use super::line::{BATCH, Datagram, Line, bind};
use super::probe::{Probe, Probing};
use super::tally::Tally;
use super::wall;
use super::watch::Watch;

/// Parts of 20 ms in which a part of the legs speaks.
const SLOTS: usize = 200;
/// Time of one part.
const SLOT: Duration = Duration::from_micros(100);
/// Steps between the slots of two calls in turn: without a common divisor with [`SLOTS`], so that
/// few calls are spread as evenly as many.
const STRIDE: usize = 77;
/// Lines a side.
const LINES: usize = 4;
/// Slots made up for at once before the lines are read again.
const SLOTS_AT_ONCE: usize = 8;
/// A generator this far behind skips what it has missed: to send it all at once would be a burst
/// that no caller makes.
const FAR_BEHIND: Duration = Duration::from_millis(200);
/// Batches read off one line at once.
const BATCHES_AT_ONCE: usize = 4;

/// A leg as its peer agreed to it.
pub(crate) struct LegPlan {
    /// Where the relay receives.
    pub(crate) to: SocketAddrV4,
    /// What it sends with.
    pub(crate) outbound: Option<Outbound>,
    /// What the relay sends with.
    pub(crate) inbound: Option<Inbound>,
}

/// A call to be spoken on.
pub(crate) struct CallPlan {
    /// Its number, unused so far.
    pub(crate) call: usize,
    /// The caller's leg, then the engine's.
    pub(crate) legs: [LegPlan; 2],
    /// How the caller presses keys.
    pub(crate) method: KeyMethod,
    /// What the engine hears in a cut.
    pub(crate) watch: Arc<Watch>,
}

/// A load that runs.
pub(crate) struct Load {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
    lines: Vec<SocketAddrV4>,
}

enum Order {
    Add(Box<CallPlan>),
    Silence(usize),
    Remove(usize, Sender<Totals>),
    Press(usize, Vec<Digit>),
    Hush(Sender<()>),
    Mark(Sender<Tally>),
    Totals(Sender<Totals>),
}

/// Counts of all packets since the beginning.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Packets of audio sent on open calls.
    pub(crate) sent: u64,
    /// Packets that came, each counted once.
    pub(crate) came: u64,
    /// Packets behind a later one.
    pub(crate) reordered: u64,
    /// Packets that came again.
    pub(crate) repeated: u64,
}

impl Load {
    /// Starts a generator at `address` in which everybody says the same, in the network namespace of this thread. `prepare` is
    /// called on its own thread first.
    pub(crate) fn start(
        address: Ipv4Addr,
        voice: Voice,
        clock: Clock,
        prepare: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Load> {
        let any = SocketAddrV4::new(address, 0);
        let sockets: Vec<_> = (0..2 * LINES).map(|_| bind(any)).collect::<Result<_, _>>()?;
        let lines = sockets.iter().map(|it| it.local_addr().map(v4)).collect::<Result<_, _>>()?;
        let (orders, received) = channel();
        let thread = std::thread::spawn(move || {
            prepare();
            let lines = sockets.into_iter().map(Line::new).collect();
            Generator::new(lines, received, voice, clock).run();
        });
        Ok(Load { orders, thread, lines })
    }

    /// Where the caller and the engine of a call receive.
    pub(crate) fn ends(&self, call: usize) -> [SocketAddrV4; 2] {
        [0, 1].map(|side| self.lines[line_of(leg_of(call, side))])
    }

    /// Both legs begin to speak.
    pub(crate) fn add(&self, plan: CallPlan) {
        self.order(Order::Add(Box::new(plan)));
    }

    /// Both legs fall silent, and go on to listen.
    pub(crate) fn silence(&self, call: usize) {
        self.order(Order::Silence(call));
    }

    /// Both legs are gone. Returns what became of the call's packets.
    pub(crate) fn remove(&self, call: usize) -> Totals {
        self.ask(|reply| Order::Remove(call, reply))
    }

    /// The caller presses these keys.
    pub(crate) fn press(&self, call: usize, keys: Vec<Digit>) {
        self.order(Order::Press(call, keys));
    }

    /// All legs stop to speak, and go on to listen.
    pub(crate) fn hush(&self) {
        self.ask(Order::Hush);
    }

    /// What was counted since the last mark.
    pub(crate) fn mark(&self) -> Tally {
        self.ask(Order::Mark)
    }

    /// What was counted since the beginning.
    pub(crate) fn totals(&self) -> Totals {
        self.ask(Order::Totals)
    }

    /// Ends the generator.
    pub(crate) fn stop(self) {
        drop(self.orders);
        self.thread.join().expect("the generator does not panic");
    }

    fn order(&self, order: Order) {
        self.orders.send(order).expect("the generator runs as long as its load");
    }

    fn ask<T>(&self, order: impl FnOnce(Sender<T>) -> Order) -> T {
        let (reply, answer) = channel();
        self.order(order(reply));
        answer.recv().expect("the generator answers")
    }
}

struct Generator {
    lines: Vec<Line>,
    legs: Vec<Option<Leg>>,
    slots: Vec<Vec<usize>>,
    by_relay: HashMap<SocketAddrV4, usize>,
    orders: Receiver<Order>,
    voice: Voice,
    tally: Tally,
    gone: Totals,
    clock: Clock,
}

struct Leg {
    caller: Caller<Probing>,
    to: SocketAddrV4,
    outbound: Option<Outbound>,
    inbound: Option<Inbound>,
    /// What came of the other leg.
    arrivals: Arrivals,
    /// The engine's, of a call that may be cut.
    watch: Option<Arc<Watch>>,
}

impl Generator {
    fn new(lines: Vec<Line>, orders: Receiver<Order>, voice: Voice, clock: Clock) -> Generator {
        Generator {
            lines,
            legs: Vec::new(),
            slots: vec![Vec::new(); SLOTS],
            by_relay: HashMap::new(),
            orders,
            voice,
            tally: Tally::new(),
            gone: Totals::default(),
            clock,
        }
    }

    fn run(mut self) {
        // Sleeps end on time, not 50 us later.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZero::new(1));
        let mut due = self.clock.now();
        let mut slot = 0;
        while self.obey() {
            for _ in 0..SLOTS_AT_ONCE {
                let now = self.clock.now();
                if now < due {
                    break;
                }
                if now - due > FAR_BEHIND {
                    self.tally.skipped += self.slots[slot].len() as u64;
                } else {
                    self.speak(slot, due, now);
                }
                slot = (slot + 1) % SLOTS;
                due += SLOT;
            }
            self.listen();
            std::thread::sleep(due.saturating_duration_since(self.clock.now()));
        }
    }

    /// Obeys what was ordered; false once nobody can order any more.
    fn obey(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Add(plan)) => self.add(*plan),
                Ok(Order::Silence(call)) => self.silence(call),
                Ok(Order::Remove(call, reply)) => drop(reply.send(self.remove(call))),
                Ok(Order::Press(call, keys)) => {
                    if let Some(Some(leg)) = self.legs.get_mut(leg_of(call, 0)) {
                        leg.caller.press(keys);
                    }
                }
                Ok(Order::Hush(reply)) => {
                    self.slots.iter_mut().for_each(Vec::clear);
                    let _ = reply.send(());
                }
                Ok(Order::Mark(reply)) => {
                    let _ = reply.send(std::mem::replace(&mut self.tally, Tally::new()));
                }
                Ok(Order::Totals(reply)) => drop(reply.send(self.totals())),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn add(&mut self, plan: CallPlan) {
        let CallPlan { call, legs, method, watch } = plan;
        for (side, plan) in legs.into_iter().enumerate() {
            let leg = leg_of(call, side);
            let ssrc = 0x5107_0000 + leg as u32;
            let config = CallerConfig::pcmu(ssrc, method);
            let speech = Probing::new(leg as u32, self.voice.clone());
            if self.legs.len() <= leg {
                self.legs.resize_with(leg + 1, || None);
            }
            self.by_relay.insert(plan.to, leg);
            self.slots[slot_of(leg)].push(leg);
            self.legs[leg] = Some(Leg {
                caller: Caller::new(config, speech),
                to: plan.to,
                outbound: plan.outbound,
                inbound: plan.inbound,
                arrivals: Arrivals::default(),
                watch: (side == 1).then(|| Arc::clone(&watch)),
            });
        }
    }

    fn silence(&mut self, call: usize) {
        for leg in [0, 1].map(|side| leg_of(call, side)) {
            self.slots[slot_of(leg)].retain(|&other| other != leg);
        }
    }

    fn remove(&mut self, call: usize) -> Totals {
        self.silence(call);
        let mut totals = Totals::default();
        for leg in [0, 1].map(|side| leg_of(call, side)) {
            let Some(gone) = self.legs.get_mut(leg).and_then(Option::take) else { continue };
            gone.count(&mut totals);
            gone.count(&mut self.gone);
            self.by_relay.remove(&gone.to);
        }
        totals
    }

    fn totals(&self) -> Totals {
        let mut totals = self.gone;
        self.legs.iter().flatten().for_each(|leg| leg.count(&mut totals));
        totals
    }

    /// All legs of a slot say what is theirs to say.
    fn speak(&mut self, slot: usize, due: Instant, now: Instant) {
        let Generator { lines, legs, slots, tally, .. } = self;
        let sent = wall::now();
        for &index in &slots[slot] {
            let Some(leg) = &mut legs[index] else { continue };
            leg.speak(&mut lines[line_of(index)], sent, tally);
        }
        if !slots[slot].is_empty() {
            tally.lateness.saturating_record((now - due).as_nanos() as u64);
            lines.iter_mut().for_each(|line| tally.unsent += line.flush() as u64);
        }
    }

    fn listen(&mut self) {
        let Generator { lines, legs, by_relay, tally, .. } = self;
        for line in lines {
            for _ in 0..BATCHES_AT_ONCE {
                let came = line.receive(|datagram| match by_relay.get(&datagram.from) {
                    Some(&index) => match &mut legs[index] {
                        Some(leg) => leg.hear(index, datagram, tally),
                        None => tally.foreign += 1,
                    },
                    None => tally.foreign += 1,
                });
                if came < BATCH {
                    break;
                }
            }
        }
    }
}

impl Leg {
    fn speak(&mut self, line: &mut Line, sent: u64, tally: &mut Tally) {
        let Leg { caller, to, outbound, .. } = self;
        caller.speech_mut().set_time(sent);
        let said = caller.speech_mut().said();
        caller.tick(&mut |packet| {
            let refused = line.queue(*to, |room| {
                room[..packet.len()].copy_from_slice(packet);
                match outbound {
                    Some(srtp) => srtp.protect(room, packet.len()).unwrap_or(0),
                    None => packet.len(),
                }
            });
            tally.unsent += refused as u64;
        });
        tally.sent += u64::from(caller.speech_mut().said() - said);
    }

    fn hear(&mut self, index: usize, datagram: Datagram<'_>, tally: &mut Tally) {
        let Datagram { at, octets, .. } = datagram;
        let len = match &mut self.inbound {
            Some(srtp) => srtp.unprotect(octets),
            None => Ok(octets.len()),
        };
        let Some(packet) = len.ok().and_then(|len| RtpPacket::parse(&octets[..len]).ok()) else {
            tally.foreign += 1;
            return;
        };
        let audio = packet.header.payload_type == PCMU;
        let payload = &octets[packet.payload];
        if let Some(watch) = &self.watch
            && !(audio && payload.iter().all(|&code| code == Law::Mu.silence()))
        {
            watch.hear(at, payload.len() as u64);
        }
        match Probe::read(payload).filter(|_| audio) {
            Some(probe) if probe.leg as usize == index ^ 1 => {
                self.arrivals.note(probe.number);
                tally.arrived += 1;
                tally.latency.saturating_record(at.saturating_sub(probe.sent));
            }
            Some(_) => tally.foreign += 1,
            None => tally.generated += 1,
        }
    }

    fn count(&self, totals: &mut Totals) {
        totals.sent += u64::from(self.caller.speech().said());
        totals.came += self.arrivals.came();
        totals.reordered += self.arrivals.reordered();
        totals.repeated += self.arrivals.repeated();
    }
}

/// Callers have even legs, engines odd ones.
fn leg_of(call: usize, side: usize) -> usize {
    2 * call + side
}

/// Engines speak half a period after their callers.
fn slot_of(leg: usize) -> usize {
    ((leg / 2) * STRIDE + (leg % 2) * SLOTS / 2) % SLOTS
}

/// All callers of a slot share a line, and so do all engines, so that they go in one batch.
fn line_of(leg: usize) -> usize {
    (leg % 2) * LINES + slot_of(leg) % LINES
}

fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(v4) => v4,
        SocketAddr::V6(v6) => unreachable!("a line is of IPv4, not {v6}"),
    }
}
