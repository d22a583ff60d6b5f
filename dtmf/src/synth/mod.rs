//! Generators of what callers send: for tests and the load test.

pub mod event;
pub mod tone;
