//! The media plane: who hears whom, on which port, in which state.
//!
//! Three folders, by what they may do:
//!
//! - [`wire`]: bytes to values and back. No state, no time.
//! - [`switchboard`]: decisions. Steps by hand, performs no effect; time and randomness come in as
//!   arguments, so that a simulation drives the same code as the sockets do.
//! - [`io`]: sockets, threads and the clock.
//!
//! [`codec`] is samples and octets, without time. [`recording`] is half and half: its tape is pure,
//! its recorder writes files. So is [`prompts`]: its player is pure, its folders are read before a
//! call.
//!
//! Caller media reaches an engine or a recording through [`switchboard::route`] and nowhere else.

pub mod codec;
pub mod io;
mod privileges;
pub mod prompts;
pub mod recording;
#[cfg(feature = "sabotage")]
pub mod sabotage;
#[cfg(test)]
mod scratch;
pub mod switchboard;
pub mod wire;

pub use io::{
    CallAt, CallRequest, Gauges, HangUp, IoMethod, LINK_PEER, Link, NearEnd, OpenedCall, Relay,
    RelayConfig, StartError, Started, link, start,
};
