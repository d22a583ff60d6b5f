//! Rings of frames that are shared with the kernel, so that packets pass without the socket layer.
//!
//! - [`XdpSocket`]: AF_XDP in copy mode, one socket a worker, interface and queue, fed by the small
//!   program that [`Steer`] attaches to an interface.
//! - [`PacketSocket`]: AF_PACKET, one a worker and interface, beside the stack. [`leave_to_rings`]
//!   keeps the stack from handing the same packets over once more.
//!
//! Both ends see whole Ethernet frames. Nothing here knows what is in them, but for the program,
//! which picks out UDP to our own addresses and ports.
//!
//! A frame is wiped once it was read, and once the kernel has sent it: no payload stays behind.

mod mapping;
mod packet_filter;
mod packet_socket;
mod ring;
mod steer;
mod xdp_queue;
mod xdp_socket;

pub use packet_filter::{Wanted, leave_to_rings};
pub use packet_socket::PacketSocket;
pub use steer::{Ours, Steer, SteerError};
pub use xdp_socket::{MAX_QUEUES, XdpSizes, XdpSocket};

/// Octets of one frame of a ring: an Ethernet frame of 1,514 octets, and before it the 256 that the
/// kernel keeps for itself when it receives.
pub const FRAME_BYTES: usize = 2048;

/// Longest Ethernet frame that is received or sent; `steer.bpf.c` lets longer ones pass it by.
pub const LONGEST_FRAME: usize = 1536;
