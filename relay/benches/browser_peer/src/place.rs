//! Place: where the relay and where its peers are, as `run` has set it up.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;

/// One side, by the variable that tells its address.
pub struct Place(&'static str);

/// The relay's.
pub const NEAR: Place = Place("BENCH_NEAR");
/// Its peers'.
pub const FAR: Place = Place("BENCH_FAR");
/// Names the network namespace of the relay, if that is another one.
const NETNS: &str = "BENCH_NETNS";

impl Place {
    /// Its address; loopback if none is told.
    pub fn ip(&self) -> IpAddr {
        let told = std::env::var(self.0);
        told.map_or(Ipv4Addr::LOCALHOST.into(), |text| text.parse().unwrap())
    }

    /// The same of the only family that there is here.
    pub fn v4(&self) -> Ipv4Addr {
        match self.ip() {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => panic!("the bench is of IPv4"),
        }
    }
}

/// A program where the relay is.
pub fn near(program: PathBuf) -> Command {
    match std::env::var(NETNS) {
        Err(_) => Command::new(program),
        Ok(name) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &name]).arg(program);
            command
        }
    }
}
