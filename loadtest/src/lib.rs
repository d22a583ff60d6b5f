//! Synthetic callers and engines: what they send, and what they heard.
//!
//! Both are sans-IO: a caller says which packet is next, an ear is told which packet came. Sockets
//! and pacing belong to whoever drives them.

pub mod caller;
pub mod client;
pub mod ear;
pub mod relay_process;
pub mod sdp;
pub mod voice;

pub use caller::{Caller, CallerConfig, KeyMethod};
pub use ear::{Ear, Hearing, Sound};
pub use voice::{Speech, Voice};
