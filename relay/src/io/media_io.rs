//! MediaIo: what a worker needs of the kernel, whichever way packets come and go.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::waker::Waker;
use crate::switchboard::{LocalPort, PortPair};

/// A datagram that was read into the caller's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// The local port it came to.
    pub port: LocalPort,
    /// Who sent it.
    pub from: SocketAddr,
    /// Its length; 0 for one that did not fit.
    pub len: usize,
}

/// What has gone which way since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IoCounts {
    /// Datagrams that came by a ring.
    pub received_by_ring: u64,
    /// Datagrams that came by a socket.
    pub received_by_socket: u64,
    /// Datagrams that left by a ring.
    pub sent_by_ring: u64,
    /// Datagrams that left by a socket.
    pub sent_by_socket: u64,
    /// Frames on a ring that were no sound datagram for a bound port.
    pub unreadable: u64,
    /// Waits that ended.
    pub wakes: u64,
    /// Looks at the rings that came more than a tick late.
    pub late: u64,
}

/// Datagrams in and out of the media ports.
///
/// A worker alternates [`MediaIo::wait`], a bounded number of [`MediaIo::receive`] and
/// [`MediaIo::send`], and [`MediaIo::flush`]: ways with batches (rings) gather between the waits.
pub trait MediaIo {
    /// Takes both ports of a pair on `address`.
    fn bind(&mut self, address: IpAddr, pair: PortPair) -> io::Result<()>;

    /// Gives both ports of a pair back.
    fn release(&mut self, pair: PortPair);

    /// Sleeps until a datagram or a wake-up is there, at most for `timeout`.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// Reads the next datagram that the last wait found.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<Received>;

    /// Sends a datagram; false if it was not taken. Voice is never queued for later.
    fn send(&mut self, port: LocalPort, to: SocketAddr, datagram: &[u8]) -> bool;

    /// Hands over what [`MediaIo::send`] has gathered.
    fn flush(&mut self);

    /// What has gone which way.
    fn counts(&self) -> IoCounts;

    /// Something that ends a wait from another thread.
    fn waker(&self) -> Waker;
}
