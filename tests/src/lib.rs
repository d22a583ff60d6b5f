//! Harness shared by the system tests: a simulated network, a line and a world around the real switchboard,
//! and the reference of who may hear what.

pub mod line;
pub mod reference;
pub mod sim_net;
pub mod tape_witness;
pub mod world;
