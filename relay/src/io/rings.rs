//! Rings: media as Ethernet frames, without the socket layer.
//!
//! Each port is held by a socket as well: no other program takes it, the kernel does not call it
//! unreachable, and what the rings are not for (fragments, links without a ring, peers whose
//! neighbour is not known) comes and goes by it. Nothing ever depends on a ring being there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::clock::Clock;
use super::frame_socket::{FrameSocket, Steering};
use super::media_io::{IoCounts, MediaIo, Received};
use super::media_links::MAX_LINKS;
use super::neighbourhood::{FRESH, Hop, Neighbourhood, Path, Way};
use super::pace::{Pace, Wait};
use super::resolver;
use super::sockets::Sockets;
use super::waker::Waker;
use crate::switchboard::limits::{MAX_DATAGRAM, PACKETS_PER_TURN};
use crate::switchboard::{LocalPort, PortPair};
use crate::wire::udp::{self, Datagram, Envelope};

/// Frames looked at between two waits, those that turn out to be no datagrams of ours included, so
/// that a flood of such keeps nobody waiting.
const FRAMES_PER_TURN: usize = 2 * PACKETS_PER_TURN;

/// The rings of one worker on one link.
pub(super) struct LinkRings<Socket> {
    /// The link's index.
    pub(super) link: u32,
    /// It leads back to this machine.
    pub(super) is_loopback: bool,
    /// One for each of its queues.
    pub(super) sockets: Vec<Socket>,
}

/// Media by rings, of one worker.
pub struct Rings<Socket, Steer> {
    kernel: Sockets,
    links: Vec<LinkRings<Socket>>,
    /// How many rings there are on all links.
    rings: usize,
    turn: Turn,
    steering: Steer,
    /// The queue to send by: workers spread over them.
    queue: usize,
    neighbourhood: Neighbourhood,
    clock: Clock,
    pace: Pace,
    ports: Ports,
    /// As of the last wait.
    now: Instant,
    age: u64,
    /// Frames that may still be looked at before the next wait.
    budget: usize,
    counts: IoCounts,
}

/// What a worker's rings are made of.
struct RingParts<Socket, Steer> {
    worker: usize,
    links: Vec<LinkRings<Socket>>,
    steering: Steer,
    neighbourhood: Neighbourhood,
    clock: Clock,
}

/// The bound ports of a worker's slice.
struct Ports {
    first: u16,
    bound: Vec<Option<Port>>,
}

/// A bound port.
struct Port {
    address: IpAddr,
    peer: Option<Peer>,
}

/// Whom a port last sent to, and how.
struct Peer {
    to: SocketAddr,
    /// Frames, if they are a way to this peer.
    frames: Option<Frames>,
    /// What [`Neighbourhood::age`] was when the way was looked up, and until when it holds.
    age: u64,
    until: Instant,
}

struct Frames {
    envelope: Envelope,
    /// Which of the worker's links.
    link: usize,
    mtu: usize,
}

impl Ports {
    fn new(ports: &RangeInclusive<u16>) -> Ports {
        Ports { first: *ports.start(), bound: ports.clone().map(|_| None).collect() }
    }

    fn slot(&mut self, port: LocalPort) -> Option<&mut Option<Port>> {
        let index = usize::from(port.0.checked_sub(self.first)?);
        self.bound.get_mut(index)
    }

    fn get(&mut self, port: LocalPort) -> Option<&mut Port> {
        self.slot(port)?.as_mut()
    }

    fn set(&mut self, pair: PortPair, address: Option<IpAddr>) {
        for port in [pair.rtp(), pair.rtcp()] {
            if let Some(slot) = self.slot(port) {
                *slot = address.map(|address| Port { address, peer: None });
            }
        }
    }
}

impl<Socket: FrameSocket, Steer: Steering> Rings<Socket, Steer> {
    /// No port yet, for ports of `ports`.
    fn new(
        ports: &RangeInclusive<u16>,
        parts: RingParts<Socket, Steer>,
    ) -> io::Result<Rings<Socket, Steer>> {
        let RingParts { worker, links, steering, neighbourhood, clock } = parts;
        let now = clock.now();
        Ok(Rings {
            kernel: Sockets::new(ports)?,
            rings: links.iter().map(|link| link.sockets.len()).sum(),
            links,
            turn: Turn::default(),
            steering,
            queue: worker,
            age: neighbourhood.age(),
            neighbourhood,
            clock,
            pace: Pace::new(now),
            ports: Ports::new(ports),
            now,
            budget: 0,
            counts: IoCounts::default(),
        })
    }

    fn steer(&mut self, pair: PortPair) -> io::Result<()> {
        for port in [pair.rtp(), pair.rtcp()] {
            let socket = self.kernel.socket(port).ok_or(io::ErrorKind::NotFound)?;
            self.steering.own(port, socket)?;
        }
        Ok(())
    }

    fn has_backlog(&mut self) -> bool {
        self.links.iter_mut().flat_map(|link| &mut link.sockets).any(Socket::has_received)
    }

    /// Sleeps until a socket or the waker has something, or a ring, if those count. By a poll, whose
    /// limit is precise: an epoll's may be rounded up to a millisecond, which is two ticks.
    fn wait_for(&mut self, rings: WithRings, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|span| Timespec {
            tv_sec: span.as_secs() as i64,
            tv_nsec: span.subsec_nanos().into(),
        });
        let mut watched = arrayvec::ArrayVec::<PollFd<'_>, MAX_WATCHED>::new();
        watched.push(PollFd::from_borrowed_fd(self.kernel.readiness(), PollFlags::IN));
        if rings == WithRings::Yes {
            let sockets = self.links.iter().flat_map(|link| &link.sockets);
            watched.extend(sockets.map(|socket| PollFd::new(socket, PollFlags::IN)));
        }
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let sockets = self.links.iter().flat_map(|link| &link.sockets);
        for (socket, seen) in sockets.zip(&watched[1..]) {
            if seen.revents().contains(PollFlags::ERR) {
                socket.take_error();
            }
        }
        let is_readable = !watched[0].revents().is_empty();
        drop(watched);
        if is_readable { self.kernel.wait(Some(Duration::ZERO)) } else { Ok(()) }
    }

    /// The next datagram of ours out of the rings. A ring gives its place to the next after some
    /// frames, so that a flood on one starves no other.
    fn receive_frame(&mut self, buffer: &mut [u8]) -> Option<Received> {
        let mut empty = 0;
        while self.budget > 0 && empty < self.rings {
            let Rings { links, ports, turn, .. } = self;
            let (is_loopback, socket) = nth_socket(links, turn.ring)?;
            let read = socket.receive(|frame, checksum| {
                let datagram = udp::read(frame, checksum)?;
                accept(ports, is_loopback, frame, &datagram, buffer)
            });
            let Some(read) = read else {
                empty += 1;
                self.turn.pass(self.rings);
                continue;
            };
            empty = 0;
            self.turn.count(self.rings);
            self.budget -= 1;
            self.pace.count();
            if read.is_some() {
                self.counts.received_by_ring += 1;
                return read;
            }
            self.counts.unreadable += 1;
        }
        None
    }

    fn receive_by_socket(&mut self, buffer: &mut [u8]) -> Option<Received> {
        let received = self.kernel.receive(buffer);
        self.counts.received_by_socket += u64::from(received.is_some());
        received
    }

    /// Sends a frame, if that is a way to the peer and there is room.
    fn send_frame(&mut self, port: LocalPort, to: SocketAddr, datagram: &[u8]) -> bool {
        let Some(bound) = self.ports.get(port) else { return false };
        let (age, now) = (self.age, self.now);
        let holds = |peer: &Peer| peer.to == to && peer.age == age && now < peer.until;
        if !bound.peer.as_ref().is_some_and(holds) {
            let path = Path { from: bound.address, to: to.ip() };
            let Some(known) = self.neighbourhood.way(now, path) else { return false };
            let from = SocketAddr::new(bound.address, port.0);
            let frames = frames_on(&self.links, known.way, from, to);
            bound.peer = Some(Peer { to, frames, age, until: now + FRESH });
            if known.is_stale {
                return false;
            }
        }
        let Some(Peer { frames: Some(frames), .. }) = &bound.peer else { return false };
        if frames.envelope.packet_length(datagram.len()) > frames.mtu {
            return false;
        }
        let sockets = &mut self.links[frames.link].sockets;
        let queue = self.queue % sockets.len();
        let length = frames.envelope.frame_length(datagram.len());
        sockets[queue].send(length, |frame| frames.envelope.write(frame, datagram))
    }
}

/// Whether a frame in a ring ends a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WithRings {
    Yes,
    No,
}

/// Whose turn it is to be read.
#[derive(Default)]
struct Turn {
    /// Which ring, counted over all links.
    ring: usize,
    /// Frames that it has given since it was its turn.
    frames: usize,
    /// Sockets were asked before rings the last time.
    was_socket_first: bool,
}

impl Turn {
    /// Frames of one ring in a row.
    const MOST: usize = 16;

    fn pass(&mut self, rings: usize) {
        (self.ring, self.frames) = ((self.ring + 1) % rings, 0);
    }

    fn count(&mut self, rings: usize) {
        self.frames += 1;
        if self.frames == Turn::MOST {
            self.pass(rings);
        }
    }
}

/// A ring by its number over all links, and whether its link is loopback.
fn nth_socket<Socket>(
    links: &mut [LinkRings<Socket>],
    mut number: usize,
) -> Option<(bool, &mut Socket)> {
    for LinkRings { is_loopback, sockets, .. } in links {
        if number < sockets.len() {
            return Some((*is_loopback, &mut sockets[number]));
        }
        number -= sockets.len();
    }
    None
}

/// The rings of all workers, and the thread that finds their peers.
pub(super) type Assembled<Socket, Steer> = (Vec<Rings<Socket, Steer>>, JoinHandle<()>);

/// Makes workers' media of their rings; or says why that can't be, in one line.
pub(super) fn assemble<Socket: FrameSocket, Steer: Steering>(
    rings: Vec<Vec<LinkRings<Socket>>>,
    slices: &[RangeInclusive<u16>],
    clock: &Clock,
    steering: impl Fn(usize) -> Steer,
) -> Result<Assembled<Socket, Steer>, String> {
    let (neighbourhood, thread) =
        resolver::start(clock.clone()).map_err(|error| format!("no netlink socket: {error}"))?;
    let workers = rings.into_iter().zip(slices).enumerate().map(|(worker, (links, ports))| {
        let (neighbourhood, clock) = (neighbourhood.clone(), clock.clone());
        let steering = steering(worker);
        Rings::new(ports, RingParts { worker, links, steering, neighbourhood, clock })
    });
    let workers: io::Result<Vec<_>> = workers.collect();
    Ok((workers.map_err(|error| error.to_string())?, thread))
}

/// Most descriptors a worker waits for: the rings, and its sockets together.
const MAX_WATCHED: usize = MAX_LINKS * packet_ring::MAX_QUEUES as usize + 1;

/// Copies a datagram out, if it is for a port of ours and may have come by this link.
fn accept(
    ports: &mut Ports,
    is_loopback: bool,
    frame: &[u8],
    datagram: &Datagram,
    buffer: &mut [u8],
) -> Option<Received> {
    let port = LocalPort(datagram.to.port());
    let bound = ports.get(port)?;
    let from = datagram.from.ip();
    // The stack knows such a one for a forgery: nobody on a wire has an address of this machine.
    let is_forged = !is_loopback && (from.is_loopback() || from == bound.address);
    if datagram.to.ip() != bound.address || is_forged {
        return None;
    }
    let payload = &frame[datagram.payload.clone()];
    let len = if payload.len() > MAX_DATAGRAM { 0 } else { payload.len() };
    buffer[..len].copy_from_slice(&payload[..len]);
    Some(Received { port, from: datagram.from, len })
}

/// Frames to a peer, if one of our links leads there.
fn frames_on<Socket>(
    links: &[LinkRings<Socket>],
    way: Way,
    from: SocketAddr,
    to: SocketAddr,
) -> Option<Frames> {
    let Way::Frames(Hop { link, macs, mtu }) = way else { return None };
    let link = links.iter().position(|ours| ours.link == link && !ours.sockets.is_empty())?;
    let envelope = Envelope::new(&macs, from, to).filter(|_| to.port() != 0)?;
    Some(Frames { envelope, link, mtu })
}

impl<Socket: FrameSocket, Steer: Steering> MediaIo for Rings<Socket, Steer> {
    fn bind(&mut self, address: IpAddr, pair: PortPair) -> io::Result<()> {
        self.kernel.bind(address, pair)?;
        self.ports.set(pair, Some(address));
        self.steer(pair).inspect_err(|_| self.release(pair))
    }

    fn release(&mut self, pair: PortPair) {
        self.steering.disown(pair.rtp());
        self.steering.disown(pair.rtcp());
        self.ports.set(pair, None);
        self.kernel.release(pair);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let now = self.clock.now();
        if self.has_backlog() {
            self.kernel.wait(Some(Duration::ZERO))?;
        } else {
            match self.pace.plan(now) {
                // What falls due before the tick waits for it, as packets do.
                Wait::Tick(left) => self.wait_for(WithRings::No, Some(left))?,
                Wait::Packet => self.wait_for(WithRings::Yes, timeout)?,
            }
        }
        self.counts.wakes += 1;
        self.counts.late = self.pace.late();
        self.now = self.clock.now();
        self.age = self.neighbourhood.age();
        self.budget = FRAMES_PER_TURN;
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<Received> {
        // Neither can keep the other waiting: each is first every other time.
        self.turn.was_socket_first = !self.turn.was_socket_first;
        if self.turn.was_socket_first {
            self.receive_by_socket(buffer).or_else(|| self.receive_frame(buffer))
        } else {
            self.receive_frame(buffer).or_else(|| self.receive_by_socket(buffer))
        }
    }

    fn send(&mut self, port: LocalPort, to: SocketAddr, datagram: &[u8]) -> bool {
        if self.send_frame(port, to, datagram) {
            self.counts.sent_by_ring += 1;
            return true;
        }
        self.counts.sent_by_socket += 1;
        self.kernel.send(port, to, datagram)
    }

    fn flush(&mut self) {
        for socket in self.links.iter_mut().flat_map(|link| &mut link.sockets) {
            socket.flush();
        }
    }

    fn counts(&self) -> IoCounts {
        self.counts
    }

    fn waker(&self) -> Waker {
        self.kernel.waker()
    }
}
