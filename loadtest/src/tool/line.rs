//! Line: one UDP socket over which many legs speak, with their packets sent and read in batches.
//!
//! A relay tells its calls apart by its own ports, so legs may share an address. That makes the
//! generator so cheap that one core can load a relay on the other.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt,
    sockopt,
};

use super::wall;

/// Most datagrams in one system call.
pub(crate) const BATCH: usize = 64;
/// Room for a datagram: an RTP packet of 20 ms with SRTP's tag takes 192 octets.
const ROOM: usize = 512;
/// Octets the kernel may queue for a line: half a second of what 2000 calls send over 8 lines.
const QUEUE: usize = 16 << 20;

/// A datagram that came.
pub(crate) struct Datagram<'a> {
    /// Who sent it.
    pub(crate) from: SocketAddrV4,
    /// When the kernel got it, in ns of the wall clock.
    pub(crate) at: u64,
    /// What is in it.
    pub(crate) octets: &'a mut [u8],
}

/// A socket on this address, in the network namespace of the thread.
pub(crate) fn bind(address: SocketAddrV4) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    // Beyond the system's limit with the right to it; without, as much as the limit allows.
    if setsockopt(&socket, sockopt::RcvBufForce, &QUEUE).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &QUEUE)?;
    }
    Ok(socket)
}

/// A socket with room for a batch either way. It stays on the thread that made it.
pub(crate) struct Line {
    socket: UdpSocket,
    outgoing: Vec<[u8; ROOM]>,
    lengths: Vec<usize>,
    to: Vec<Option<SockaddrIn>>,
    send_headers: MultiHeaders<SockaddrIn>,
    incoming: Vec<[u8; ROOM]>,
    receive_headers: MultiHeaders<SockaddrIn>,
    came: Vec<(SocketAddrV4, u64, usize)>,
}

impl Line {
    /// A line over a socket of [`bind`].
    pub(crate) fn new(socket: UdpSocket) -> Line {
        let space = nix::cmsg_space!(nix::libc::timespec);
        Line {
            socket,
            outgoing: vec![[0; ROOM]; BATCH],
            lengths: Vec::with_capacity(BATCH),
            to: Vec::with_capacity(BATCH),
            send_headers: MultiHeaders::preallocate(BATCH, None),
            incoming: vec![[0; ROOM]; BATCH],
            receive_headers: MultiHeaders::preallocate(BATCH, Some(space)),
            came: Vec::with_capacity(BATCH),
        }
    }

    /// Puts a datagram into the batch: `write` fills in a buffer and says how much of it.
    /// Returns how many datagrams the kernel refused, if the batch had to go first.
    pub(crate) fn queue(
        &mut self,
        to: SocketAddrV4,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> usize {
        let refused = if self.lengths.len() == BATCH { self.flush() } else { 0 };
        let len = write(&mut self.outgoing[self.lengths.len()]);
        self.lengths.push(len);
        self.to.push(Some(to.into()));
        refused
    }

    /// Sends the batch. Returns how many datagrams the kernel refused; they are not sent later.
    pub(crate) fn flush(&mut self) -> usize {
        let mut sent = 0;
        while sent < self.lengths.len() {
            let lengths = &self.lengths[sent..];
            let buffers = self.outgoing[sent..].iter().zip(lengths);
            let slices: Vec<_> = buffers.map(|(it, &len)| [IoSlice::new(&it[..len])]).collect();
            let (fd, to) = (self.socket.as_raw_fd(), &self.to[sent..]);
            let flags = MsgFlags::MSG_DONTWAIT;
            match sendmmsg(fd, &mut self.send_headers, &slices, to, [], flags) {
                Ok(taken) => sent += taken.count().max(1),
                Err(Errno::EINTR | Errno::ECONNREFUSED) => {}
                Err(_) => break,
            }
        }
        let refused = self.lengths.len() - sent.min(self.lengths.len());
        self.lengths.clear();
        self.to.clear();
        refused
    }

    /// Reads a batch; returns how many datagrams came.
    pub(crate) fn receive(&mut self, mut hear: impl FnMut(Datagram<'_>)) -> usize {
        self.came.clear();
        let rooms = self.incoming.iter_mut();
        let mut slices: Vec<_> = rooms.map(|room| [IoSliceMut::new(room)]).collect();
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        if let Ok(read) = recvmmsg(fd, &mut self.receive_headers, &mut slices, flags, None) {
            for message in read {
                let from = message.address.map_or(SocketAddrV4::new([0; 4].into(), 0), Into::into);
                let stamps = message.cmsgs().into_iter().flatten();
                let at =
                    stamps.filter_map(|stamp| time_in(&stamp)).next().unwrap_or_else(wall::now);
                self.came.push((from, at, message.bytes));
            }
        }
        for (&(from, at, len), room) in self.came.iter().zip(&mut self.incoming) {
            hear(Datagram { from, at, octets: &mut room[..len.min(ROOM)] });
        }
        self.came.len()
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "not an enum of ours: one kind is asked for")]
fn time_in(message: &ControlMessageOwned) -> Option<u64> {
    match message {
        ControlMessageOwned::ScmTimestampns(at) => Some(wall::join(at.tv_sec(), at.tv_nsec())),
        _ => None,
    }
}
