//! Sockets: media over one UDP socket a port, without privileges.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use zeroize::Zeroize;

use super::media_io::{IoCounts, MediaIo, Received};
use super::waker::Waker;
use crate::switchboard::limits::{MAX_DATAGRAM, PACKETS_PER_TURN};
use crate::switchboard::{LocalPort, PortPair};

/// The epoll token of the waker; ports are smaller.
const WAKE: u64 = u64::MAX;

/// Media over one UDP socket a port. Level-triggered: one read a wake-up and socket, since each
/// sees a packet every 20 ms and reading until "empty" would cost a second system call for each.
pub struct Sockets {
    epoll: OwnedFd,
    waker: Waker,
    first_port: u16,
    sockets: Vec<Option<UdpSocket>>,
    ready: Vec<u64>,
    counts: IoCounts,
}

impl Sockets {
    /// No socket yet, for ports of `ports`.
    pub fn new(ports: &RangeInclusive<u16>) -> io::Result<Sockets> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let waker = Waker::new()?;
        epoll::add(
            &epoll,
            waker.counter(),
            epoll::EventData::new_u64(WAKE),
            epoll::EventFlags::IN,
        )?;
        let sockets = ports.clone().map(|_| None).collect();
        let ready = Vec::with_capacity(PACKETS_PER_TURN);
        let counts = IoCounts::default();
        Ok(Sockets { epoll, waker, first_port: *ports.start(), sockets, ready, counts })
    }

    /// What is readable once a wait would find something.
    pub(super) fn readiness(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// The socket that holds a port.
    pub(super) fn socket(&mut self, port: LocalPort) -> Option<&UdpSocket> {
        self.slot(port)?.as_ref()
    }

    fn open(&mut self, address: IpAddr, port: LocalPort) -> io::Result<()> {
        let socket = UdpSocket::bind(SocketAddr::new(address, port.0))?;
        socket.set_nonblocking(true)?;
        let token = epoll::EventData::new_u64(u64::from(port.0));
        epoll::add(&self.epoll, &socket, token, epoll::EventFlags::IN)?;
        *self.slot(port).ok_or(io::ErrorKind::InvalidInput)? = Some(socket);
        Ok(())
    }

    fn slot(&mut self, port: LocalPort) -> Option<&mut Option<UdpSocket>> {
        let index = usize::from(port.0.checked_sub(self.first_port)?);
        self.sockets.get_mut(index)
    }

    fn close(&mut self, port: LocalPort) {
        if let Some(socket) = self.slot(port).and_then(Option::take) {
            let _ = epoll::delete(&self.epoll, &socket);
        }
    }
}

impl MediaIo for Sockets {
    fn bind(&mut self, address: IpAddr, pair: PortPair) -> io::Result<()> {
        self.open(address, pair.rtp())?;
        self.open(address, pair.rtcp()).inspect_err(|_| self.close(pair.rtp()))
    }

    fn release(&mut self, pair: PortPair) {
        self.close(pair.rtp());
        self.close(pair.rtcp());
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.ready.clear();
        self.counts.wakes += 1;
        let timeout = timeout.map(|span| Timespec {
            tv_sec: span.as_secs() as i64,
            tv_nsec: span.subsec_nanos().into(),
        });
        let mut events = [const { MaybeUninit::uninit() }; PACKETS_PER_TURN];
        match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((ready, _)) => self.ready.extend(ready.iter().map(|event| event.data.u64())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<Received> {
        while let Some(token) = self.ready.pop() {
            if token == WAKE {
                self.waker.rest();
                continue;
            }
            let port = LocalPort(token as u16);
            let Some(Some(socket)) = self.slot(port) else { continue };
            // An error (an ICMP answer to what was sent) is read off and means no datagram.
            let room = buffer.len().min(MAX_DATAGRAM + 1);
            if let Ok((len, from)) = socket.recv_from(&mut buffer[..room]) {
                self.counts.received_by_socket += 1;
                if len > MAX_DATAGRAM {
                    buffer[..len].zeroize();
                    return Some(Received { port, from, len: 0 });
                }
                return Some(Received { port, from, len });
            }
        }
        None
    }

    fn send(&mut self, port: LocalPort, to: SocketAddr, datagram: &[u8]) -> bool {
        self.counts.sent_by_socket += 1;
        match self.slot(port) {
            Some(Some(socket)) => socket.send_to(datagram, to).is_ok(),
            Some(None) | None => false,
        }
    }

    fn flush(&mut self) {}

    fn counts(&self) -> IoCounts {
        self.counts
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}
