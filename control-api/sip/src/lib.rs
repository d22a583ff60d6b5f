//! A SIP user agent server without sockets, clocks or threads (RFC 3261).
//!
//! Octets and the time go in, octets and events come out: [`Agent`] holds messages, transactions,
//! dialogs and digest authentication, and nothing that waits. It answers calls and ends them; it
//! places none. Every table has a bound, and a source that has proven nothing leaves no state.

#![forbid(unsafe_code)]

mod access;
mod agent;
mod dialogs;
mod digest;
mod fields;
mod flow;
mod framer;
mod info;
mod leg;
mod message;
mod offers;
mod pressed_key;
mod rate;
mod reply;
mod transaction;

pub use access::Access;
pub use agent::{Agent, Event, Invitation, LegId, Refusal, Settings, Transmit};
pub use digest::{Algorithms, Users};
pub use flow::{Flow, Transport};
pub use framer::{Frame, Framer};
pub use message::{MAX_MESSAGE, Malformed};
pub use pressed_key::PressedKey;
