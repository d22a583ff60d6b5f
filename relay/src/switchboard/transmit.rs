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
