//! XdpSocket: one worker's AF_XDP socket on one queue of an interface, in copy mode.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING,
    XDP_PGOFF_TX_RING, XdpDesc, XdpDescOptions, XdpMmapOffsets,
};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, bind, send, socket_with, sockopt,
};

use crate::LONGEST_FRAME;
use crate::ring::{Consumer, Producer};
use crate::xdp_queue::{Frame, XdpQueue};

/// Most receive queues of one interface that are served.
pub const MAX_QUEUES: u32 = 64;

/// Frames that a socket takes from, and gives to, the common pool at a time.
const BATCH: usize = 64;
/// Octets that may wait to leave by one socket: a burst of 4,096 frames with what the kernel adds.
const SEND_BUFFER: usize = 4 << 20;
/// Kicks without a frame leaving after which the rest waits for the next flush: the device is full.
const IDLE_KICKS: u32 = 2;

/// How long rings are, in frames. Powers of two.
#[derive(Clone, Copy, Debug)]
pub struct XdpSizes {
    /// Frames of a queue to receive into, and as many to send with.
    pub frames: u32,
    /// Places in each socket's own two rings.
    pub places: u32,
}

/// One worker's socket on one queue of an interface.
pub struct XdpSocket {
    socket: OwnedFd,
    queue: Arc<XdpQueue>,
    received: Consumer<XdpDesc>,
    to_send: Producer<XdpDesc>,
    /// Frames that were read and go back to the kernel.
    spent: Vec<Frame>,
    /// Frames to send with.
    spare: Vec<Frame>,
    /// Something was written since the last flush.
    is_unsent: bool,
}

impl XdpSocket {
    /// A socket for each of `workers` workers on queue `queue` of an interface. They share their
    /// memory, since the kernel gives a queue to one memory alone.
    ///
    /// # Errors
    /// Those of the kernel: `EINVAL` where there is no such queue, `EBUSY` where another program has
    /// it, `EPERM` without `CAP_NET_RAW`.
    pub fn open(
        interface: u32,
        queue: u32,
        workers: usize,
        sizes: XdpSizes,
    ) -> io::Result<Vec<XdpSocket>> {
        let address = SocketAddrXdp::new(SocketAddrXdpFlags::XDP_COPY, interface, queue);
        let socket = xdp_socket()?;
        let memory = XdpQueue::register(socket.as_fd(), sizes.frames)?;
        set_rings(&socket, sizes)?;
        let offsets = sockopt::xdp_mmap_offsets(&socket)?;
        let memory = Arc::new(memory.map(socket.as_fd(), &offsets)?);
        let first = XdpSocket::map(socket, memory, &offsets, sizes)?;
        bind(&first.socket, &address)?;
        let mut sockets = vec![first];
        for _ in 1..workers {
            let socket = xdp_socket()?;
            set_rings(&socket, sizes)?;
            let offsets = sockopt::xdp_mmap_offsets(&socket)?;
            let next = XdpSocket::map(socket, Arc::clone(&sockets[0].queue), &offsets, sizes)?;
            let shared = SocketAddrXdp::new(SocketAddrXdpFlags::XDP_SHARED_UMEM, interface, queue);
            let shared_umem_fd = sockets[0].socket.as_fd();
            bind(&next.socket, &SocketAddrXdpWithSharedUmem { addr: shared, shared_umem_fd })?;
            sockets.push(next);
        }
        Ok(sockets)
    }

    fn map(
        socket: OwnedFd,
        queue: Arc<XdpQueue>,
        offsets: &XdpMmapOffsets,
        sizes: XdpSizes,
    ) -> io::Result<XdpSocket> {
        let received = Consumer::map(socket.as_fd(), XDP_PGOFF_RX_RING, &offsets.rx, sizes.places)?;
        let to_send = Producer::map(socket.as_fd(), XDP_PGOFF_TX_RING, &offsets.tx, sizes.places)?;
        let (spent, spare) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        Ok(XdpSocket { socket, queue, received, to_send, spent, spare, is_unsent: false })
    }

    /// Whether a frame waits to be read.
    pub fn has_received(&mut self) -> bool {
        !self.received.is_empty()
    }

    /// Hands the next frame to `read`, and wipes it.
    pub fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let XdpDesc { addr, len, options: _ } = self.received.pop()?;
        let mut frame = Frame::around(addr);
        let start = (addr - frame.address()) as usize;
        let octets = self.queue.octets(&mut frame, start..start + len as usize);
        let result = read(octets);
        octets.fill(0);
        self.spent.push(frame);
        if self.spent.len() == BATCH {
            self.settle();
        }
        Some(result)
    }

    /// Has `write` make a frame of `length` octets, which leaves with the next flush. False, and
    /// nothing written, if there is no room.
    pub fn send(&mut self, length: usize, write: impl FnOnce(&mut [u8])) -> bool {
        if length > LONGEST_FRAME {
            return false;
        }
        if self.spare.is_empty() {
            self.settle();
            self.queue.pool().take(&mut self.spare, BATCH);
        }
        let Some(mut frame) = self.spare.pop() else { return false };
        let len = length as u32;
        let entry = XdpDesc { addr: frame.address(), len, options: XdpDescOptions::empty() };
        if !self.to_send.push(entry) {
            self.spare.push(frame);
            return false;
        }
        write(self.queue.octets(&mut frame, 0..length));
        self.queue.note_length(&mut frame, length as u16);
        self.queue.count_sending();
        self.is_unsent = true;
        true
    }

    /// Has the kernel send what was written, and gives back what was read.
    pub fn flush(&mut self) {
        if self.is_unsent {
            self.to_send.publish();
            self.is_unsent = !self.kick();
        }
        self.settle();
    }

    /// Whether everything has left.
    fn kick(&self) -> bool {
        let (mut unread, mut idle) = (self.to_send.unread(), 0);
        while unread > 0 && idle < IDLE_KICKS {
            // The kernel sends a few dozen frames a call, and says EAGAIN where there are more.
            match send(&self.socket, &[], SendFlags::DONTWAIT) {
                Ok(_) | Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => {}
                // The interface is down or gone: what is left waits, and is old when it is back.
                Err(_) => return false,
            }
            let left = self.to_send.unread();
            idle = if left < unread { 0 } else { idle + 1 };
            unread = left;
        }
        unread == 0
    }

    /// Gives back to the common pool what was read and what the kernel has sent.
    fn settle(&mut self) {
        self.received.release();
        if self.spent.is_empty() && !self.queue.is_sending() {
            return;
        }
        let mut pool = self.queue.pool();
        if !self.spent.is_empty() {
            pool.refill(&mut self.spent);
        }
        pool.reap(&self.queue);
    }
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn xdp_socket() -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // More than the system's limit takes CAP_NET_ADMIN, which attaching a program takes anyway.
    sockopt::set_socket_send_buffer_size_force(&socket, SEND_BUFFER)?;
    Ok(socket)
}

fn set_rings(socket: &OwnedFd, sizes: XdpSizes) -> io::Result<()> {
    sockopt::set_xdp_rx_ring_size(socket, sizes.places)?;
    Ok(sockopt::set_xdp_tx_ring_size(socket, sizes.places)?)
}
