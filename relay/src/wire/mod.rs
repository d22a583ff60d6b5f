//! Bytes to values and back: no state of a call, no time, no effect.

pub mod dtls;
pub mod netlink;
pub mod ntp;
pub mod rtcp;
pub mod rtp;
pub mod sdes;
pub mod sdp;
pub mod srtp;
pub mod stun;
pub mod udp;
