//! Transmit: where part of the caller's buffer has to be sent.

use std::net::SocketAddr;
use std::ops::Range;

use super::id::LocalPort;

/// An instruction to send; the octets stay in the buffer that was handed in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// The local port to send from.
    pub port: LocalPort,
    /// The peer.
    pub to: SocketAddr,
    /// Which octets of the buffer.
    pub range: Range<usize>,
}

/// Octets of the buffer that are ready to be sent, handed on in one register.
///
/// A [`Transmit`] that is copied from one stack frame to the next, in other pieces than it was
/// written in, has to wait until everything written before it has reached the cache: on a recorded
/// call that took longer than all the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extent(u64);

impl Extent {
    /// A range of a packet buffer, which is a few thousand octets at most.
    pub(super) fn new(start: usize, end: usize) -> Extent {
        debug_assert!(start <= end && u32::try_from(end).is_ok(), "a datagram is short");
        Extent((start as u64) << 32 | end as u64)
    }

    /// The same as a range.
    pub(super) fn range(self) -> Range<usize> {
        (self.0 >> 32) as usize..self.0 as u32 as usize
    }
}
