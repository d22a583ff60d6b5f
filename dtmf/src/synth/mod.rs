//! Generators of what callers send: for the relay's own keys, tests and the load test.

pub mod event;
pub mod tone;
