//! FrameSocket: one ring of Ethernet frames, and Steering: which frames come to it.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use packet_ring::{PacketSocket, Steer, XdpSocket};

use crate::switchboard::LocalPort;
use crate::wire::udp::Checksum;

/// One ring of Ethernet frames. What was read or has left is wiped.
pub trait FrameSocket: AsFd {
    /// Whether a frame waits to be read.
    fn has_received(&mut self) -> bool;

    /// Hands the next frame to `read`, with what is known of its checksum.
    fn receive<R>(&mut self, read: impl FnOnce(&[u8], Checksum) -> R) -> Option<R>;

    /// Has `write` make a frame of `length` octets, which leaves with the next flush; false if there
    /// is no room.
    fn send(&mut self, length: usize, write: impl FnOnce(&mut [u8])) -> bool;

    /// Hands the kernel what was written, and back what was read.
    fn flush(&mut self);

    /// Takes note of an error that a poll has shown, so that the next one does not end by it too.
    fn take_error(&self);
}

impl FrameSocket for XdpSocket {
    fn has_received(&mut self) -> bool {
        XdpSocket::has_received(self)
    }

    /// A program before the stack can't know whether a checksum is finished.
    fn receive<R>(&mut self, read: impl FnOnce(&[u8], Checksum) -> R) -> Option<R> {
        XdpSocket::receive(self, |frame| read(frame, Checksum::Unknown))
    }

    fn send(&mut self, length: usize, write: impl FnOnce(&mut [u8])) -> bool {
        XdpSocket::send(self, length, write)
    }

    fn flush(&mut self) {
        XdpSocket::flush(self);
    }

    /// It shows none.
    fn take_error(&self) {}
}

impl FrameSocket for PacketSocket {
    fn has_received(&mut self) -> bool {
        PacketSocket::has_received(self)
    }

    fn receive<R>(&mut self, read: impl FnOnce(&[u8], Checksum) -> R) -> Option<R> {
        PacketSocket::receive(self, |frame, is_checked| {
            read(frame, if is_checked { Checksum::Verified } else { Checksum::Unknown })
        })
    }

    fn send(&mut self, length: usize, write: impl FnOnce(&mut [u8])) -> bool {
        PacketSocket::send(self, length, write)
    }

    fn flush(&mut self) {
        PacketSocket::flush(self);
    }

    fn take_error(&self) {
        PacketSocket::take_error(self);
    }
}

/// What is told which ports are a worker's own.
pub trait Steering {
    /// From now on frames to this port, which `socket` holds, come to the worker's rings.
    ///
    /// # Errors
    /// Those of the kernel.
    fn own(&mut self, port: LocalPort, socket: &UdpSocket) -> io::Result<()>;

    /// From now on they no longer do.
    fn disown(&mut self, port: LocalPort);
}

/// The programs on all links, which the workers share: ports are bound by the way, not by packet.
pub struct XdpSteering {
    pub(super) programs: Arc<Mutex<Vec<Steer>>>,
    pub(super) worker: u32,
}

impl Steering for XdpSteering {
    fn own(&mut self, port: LocalPort, _socket: &UdpSocket) -> io::Result<()> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut owned = programs.iter_mut().map(|program| program.own(port.0, self.worker));
        owned.try_for_each(|owned| owned.map_err(io::Error::other))
    }

    fn disown(&mut self, port: LocalPort) {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        for program in programs.iter_mut() {
            if let Err(error) = program.disown(port.0) {
                // Its frames find no port and are dropped until another call has it.
                tracing::warn!(port = port.0, %error, "the port is still steered");
            }
        }
    }
}
