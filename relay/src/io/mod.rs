//! I/O: sockets, threads and the clock around the switchboard.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::thread::CapabilitySet;
use tokio::sync::mpsc;

mod clock;
mod frame_socket;
mod gauges;
mod handle;
mod kernel_tables;
mod link;
mod media_io;
mod media_links;
mod method;
mod neighbourhood;
mod pace;
mod packet;
mod resolver;
mod rings;
mod sockets;
mod waker;
mod ways;
mod worker;
mod xdp;

pub use clock::Clock;
pub use frame_socket::{FrameSocket, Steering, XdpSteering};
pub use gauges::{FLIP_BUCKETS_US, Gauges};
pub use handle::{CallAt, CallRequest, HangUp, OpenedCall, Relay, WeakRelay};
pub use link::{LINK_PEER, Link, NearEnd, link};
pub use media_io::{IoCounts, MediaIo, Received};
pub use method::IoMethod;
pub use packet::{PacketRings, PacketSteering};
pub use rings::Rings;
pub use sockets::Sockets;
pub use waker::Waker;
pub use ways::{IoWish, NoWay, Opened, open};
pub use xdp::XdpRings;

use crate::privileges;
use crate::recording::{Archive, RecordQueue, Recorder};
use crate::switchboard::limits::{BUFFER, COMMAND_QUEUE, DELIVERY_QUEUE, EVENT_QUEUE};
use crate::switchboard::{Delivery, Event, PortPool, Switchboard, SwitchboardConfig, WorkerIndex};
use crate::wire::ntp::NtpTime;
use handle::Door;
use link::Links;
use worker::{Effort, MediaAddresses, Worker};

/// How a relay is set up.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Address for media of IPv4 peers.
    pub media_v4: Option<Ipv4Addr>,
    /// Address for media of IPv6 peers.
    pub media_v6: Option<Ipv6Addr>,
    /// UDP ports for media.
    pub ports: RangeInclusive<u16>,
    /// Worker threads, at least one.
    pub workers: usize,
    /// Keep each worker on a core of its own.
    pub pin: bool,
    /// How media comes and goes.
    pub io: IoMethod,
    /// Interfaces that carry media besides those that hold its addresses, by name: loopback, say,
    /// where peers are on this machine. Only rings need to know.
    pub io_interfaces: Vec<String>,
    /// Silence of a sending caller that ends its call.
    pub media_timeout: Duration,
    /// Where recordings are kept, and under which keys; `None` refuses to record.
    pub recordings: Option<Arc<Archive>>,
    /// Seed of SSRCs, initial numbers and the first port.
    pub seed: [u8; 32],
    /// Wall-clock time since 1970 at this moment, for sender reports.
    pub unix_time: Duration,
}

/// What a running relay consists of, for its owner.
pub struct Started {
    /// The way to ask for calls.
    pub relay: Relay,
    /// What happens on them.
    pub events: mpsc::Receiver<Event>,
    /// What their secure sessions have accepted.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// Figures of the workers.
    pub gauges: Gauges,
    /// The worker threads and the recorder; to be stopped last.
    pub threads: Threads,
}

/// The threads of a relay.
pub struct Threads {
    workers: Vec<JoinHandle<()>>,
    resolver: Option<JoinHandle<()>>,
    recorder: Option<Recorder>,
}

/// Why a relay could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error("{0}")]
    Config(&'static str),
    /// A media address can't be bound.
    #[error(
        "media.addresses: {address} can't be bound: it has to be an address of this machine's own \
         interfaces"
    )]
    Address {
        /// The address.
        address: IpAddr,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The way that was asked for can't be had.
    #[error("media.io: {method} can't be had")]
    Method {
        /// The way.
        method: IoMethod,
        /// What is missing.
        #[source]
        source: NoWay,
    },
    /// The kernel refused something.
    #[error("cannot {doing}")]
    Kernel {
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl Threads {
    /// Waits for the workers to end, which they do once every [`Relay`] is dropped, and for the
    /// recordings to be complete.
    pub fn join(self) {
        // A worker that panicked has ended the process; the resolver ends when all workers have.
        for thread in self.workers.into_iter().chain(self.resolver) {
            let _ = thread.join();
        }
        drop(self.recorder);
    }

    /// The recorder, where recordings are kept.
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }
}

/// Starts the workers.
pub fn start(config: &RelayConfig) -> Result<Started, StartError> {
    check(config)?;
    let recorder = config.recordings.clone().map(Recorder::spawn).transpose();
    let recorder =
        recorder.map_err(|source| StartError::Kernel { doing: "keep recordings", source })?;
    let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
    let (delivery_sender, deliveries) = mpsc::channel(DELIVERY_QUEUE);
    let mut agency = Agency {
        config,
        clock: Clock::new(),
        random: StdRng::from_seed(config.seed),
        senders: Senders { events: event_sender, deliveries: delivery_sender },
        gauges: Gauges::new(config.workers),
        recorder: recorder.as_ref().map(Recorder::queue),
    };
    let hired = agency.hire_all()?;
    let Agency { gauges, clock, .. } = agency;
    let relay = Relay::new(hired.doors, clock);
    let Hired { workers, resolver, .. } = hired;
    let threads = Threads { workers, resolver, recorder };
    Ok(Started { relay, events, deliveries, gauges, threads })
}

/// A worker's ways to control.
#[derive(Clone)]
struct Senders {
    events: mpsc::Sender<Event>,
    deliveries: mpsc::Sender<Delivery>,
}

fn check(config: &RelayConfig) -> Result<(), StartError> {
    if config.workers == 0 {
        return Err(StartError::Config("there has to be at least one media worker"));
    }
    if config.media_v4.is_none() && config.media_v6.is_none() {
        return Err(StartError::Config("no media address is configured"));
    }
    let slices = (0..config.workers).map(|n| PortPool::slice(&config.ports, n, config.workers));
    if slices.into_iter().any(|slice| slice.count() < 4) {
        return Err(StartError::Config(
            "media.ports has no two pairs of ports for each worker: widen it, or take fewer workers",
        ));
    }
    let addresses = [config.media_v4.map(IpAddr::V4), config.media_v6.map(IpAddr::V6)];
    for address in addresses.into_iter().flatten() {
        // Any port will do: that the address is ours is seen now, and not by the first call.
        UdpSocket::bind((address, 0)).map_err(|source| StartError::Address { address, source })?;
    }
    Ok(())
}

/// What workers are given when they begin.
struct Agency<'a> {
    config: &'a RelayConfig,
    clock: Clock,
    random: StdRng,
    senders: Senders,
    gauges: Gauges,
    recorder: Option<RecordQueue>,
}

/// Workers that have begun.
struct Hired {
    doors: Vec<Door>,
    workers: Vec<JoinHandle<()>>,
    resolver: Option<JoinHandle<()>>,
}

impl Agency<'_> {
    /// Starts a worker for each slice of the ports, by the best way for media that can be had.
    fn hire_all(&mut self) -> Result<Hired, StartError> {
        let RelayConfig { ports, workers, .. } = self.config;
        let slices: Vec<_> = (0..*workers).map(|n| PortPool::slice(ports, n, *workers)).collect();
        let RelayConfig { io: method, media_v4: v4, media_v6: v6, .. } = *self.config;
        let wish = IoWish { method, v4, v6, interfaces: self.config.io_interfaces.clone() };
        let opened = ways::open(&wish, &slices, &self.clock)
            .map_err(|source| StartError::Method { method, source })?;
        match opened {
            Opened::Sockets(ios) => self.hire_each(ios, &slices, (None, privileges::NONE)),
            Opened::Packet(ios, resolver) => {
                self.hire_each(ios, &slices, (Some(resolver), privileges::NONE))
            }
            Opened::Xdp(ios, resolver) => {
                self.hire_each(ios, &slices, (Some(resolver), privileges::STEERING))
            }
        }
    }

    fn hire_each<Io: MediaIo + Send + 'static>(
        &mut self,
        ios: Vec<Io>,
        slices: &[RangeInclusive<u16>],
        (resolver, keep): (Option<JoinHandle<()>>, CapabilitySet),
    ) -> Result<Hired, StartError> {
        let mut hired = Hired { doors: Vec::new(), workers: Vec::new(), resolver };
        for (index, (io, ports)) in ios.into_iter().zip(slices).enumerate() {
            let (door, worker) = self
                .hire(index, io, (ports.clone(), keep))
                .map_err(|source| StartError::Kernel { doing: "start a media worker", source })?;
            hired.doors.push(door);
            hired.workers.push(worker);
        }
        Ok(hired)
    }

    fn hire<Io: MediaIo + Send + 'static>(
        &mut self,
        index: usize,
        io: Io,
        (ports, keep): (RangeInclusive<u16>, CapabilitySet),
    ) -> std::io::Result<(Door, JoinHandle<()>)> {
        let (config, clock) = (self.config, self.clock.clone());
        let (requests_in, requests) = sync_channel(COMMAND_QUEUE);
        let waker = io.waker();
        let door = Door { requests: requests_in, waker: waker.clone() };
        let switchboard = Switchboard::new(SwitchboardConfig {
            ports: ports.clone(),
            media_timeout: config.media_timeout,
            seed: self.random.random(),
            ntp_anchor: (clock.now(), NtpTime::from_unix(config.unix_time)),
        });
        let Senders { events, deliveries } = self.senders.clone();
        let worker = Worker {
            index: WorkerIndex(index),
            io,
            switchboard,
            links: Links::new(PortPool::links(&ports), waker),
            pool: PortPool::new(ports, self.random.random()),
            addresses: MediaAddresses { v4: config.media_v4, v6: config.media_v6 },
            effort: Effort::new(clock.now()),
            clock,
            requests,
            events,
            deliveries,
            recorder: self.recorder.clone(),
            room: None,
            unfinished: VecDeque::new(),
            gauges: self.gauges.clone(),
            buffer: [0; BUFFER],
        };
        let pin = config.pin;
        let thread =
            std::thread::Builder::new().name(format!("media-{index}")).spawn(move || {
                privileges::keep_only(keep);
                if pin {
                    pin_to_core(index);
                }
                worker.run();
            })?;
        Ok((door, thread))
    }
}

/// Best effort: a container may allow fewer cores than there are workers.
fn pin_to_core(index: usize) {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return };
    let cores: Vec<usize> =
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    if cores.is_empty() {
        return;
    }
    let mut set = rustix::thread::CpuSet::new();
    set.set(cores[index % cores.len()]);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(worker = index, %error, "the worker is not kept on one core");
    }
}
