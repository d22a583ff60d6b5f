//! The words of rtpengine's NG control protocol: octets to requests, replies to octets.
//!
//! ```text
//! octets ── Message::split ──► cookie, body ── Value::read ──► Value ── Request::read ──► Request
//!                                                                                            │
//! octets ◄── Reply::write ◄── Reply ◄────────────────── whoever does what is asked ◄─────────┘
//! ```
//!
//! ```
//! use ng_protocol::{Command, Message, Reply, Request, Value};
//!
//! let message = Message::split(b"1_7 d7:command4:pinge").unwrap();
//! let value = Value::read(message.syntax, message.body).unwrap();
//! assert_eq!(Request::read(&value).unwrap().command, Command::Ping);
//! assert_eq!(*Reply::pong().write(&message), b"1_7 d6:result4:ponge"[..]);
//! ```
//!
//! No I/O, no clock. What comes in is hostile: depth, number of values and length are bounded, and
//! no error repeats a word of it.

#![forbid(unsafe_code)]

mod bencode;
mod command;
mod flags;
mod json;
mod message;
mod options;
mod playback;
mod reply;
mod request;
mod value;

pub use command::Command;
pub use message::{MAX_COOKIE, MAX_MESSAGE, Message, NotAMessage, Syntax, first_message};
pub use options::{Ice, Offerer, Options, RtcpMux, Transport};
pub use playback::{Playback, Written};
pub use reply::Reply;
pub use request::{BadRequest, Request};
pub use value::{MAX_DEPTH, MAX_VALUES, Malformed, Octets, Value};
