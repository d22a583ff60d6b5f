//! Ways: the choice among the ways media can come and go by, best first.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::thread::JoinHandle;

use super::clock::Clock;
use super::method::IoMethod;
use super::packet::{self, PacketRings};
use super::sockets::Sockets;
use super::xdp::{self, XdpRings};

/// What is wanted of the ways.
#[derive(Clone, Debug)]
pub struct IoWish {
    /// Which way.
    pub method: IoMethod,
    /// Address for media of IPv4 peers.
    pub v4: Option<Ipv4Addr>,
    /// Address for media of IPv6 peers.
    pub v6: Option<Ipv6Addr>,
    /// Interfaces that carry media besides those that hold the addresses, by name.
    pub interfaces: Vec<String>,
}

impl IoWish {
    /// All media is this machine's own.
    fn is_loopback(&self) -> bool {
        let v4 = self.v4.is_none_or(|address| address.is_loopback());
        v4 && self.v6.is_none_or(|address| address.is_loopback()) && self.interfaces.is_empty()
    }
}

/// One way for each worker, and the thread that finds their peers where rings need one. It ends
/// when they are gone.
pub enum Opened {
    /// By sockets.
    Sockets(Vec<Sockets>),
    /// By AF_PACKET rings.
    Packet(Vec<PacketRings>, JoinHandle<()>),
    /// By AF_XDP rings.
    Xdp(Vec<XdpRings>, JoinHandle<()>),
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoWay(String);

/// Opens the way that is wanted, or the best one, for workers with these slices of the ports; says
/// in one line of the log which that is.
///
/// # Errors
/// If the way can't be had.
pub fn open(wish: &IoWish, slices: &[RangeInclusive<u16>], clock: &Clock) -> Result<Opened, NoWay> {
    let mut refused = Vec::new();
    let methods = match wish.method {
        IoMethod::Auto => &[IoMethod::Xdp, IoMethod::Packet, IoMethod::Sockets][..],
        IoMethod::Sockets => &[IoMethod::Sockets],
        IoMethod::Packet => &[IoMethod::Packet],
        IoMethod::Xdp => &[IoMethod::Xdp],
    };
    for method in methods {
        match open_one(*method, wish, slices, clock) {
            Ok(opened) => {
                let instead_of = refused.join("; ");
                tracing::info!(io = method.as_str(), instead_of, "media comes and goes");
                return Ok(opened);
            }
            Err(reason) => refused.push(format!("{method}: {reason}")),
        }
    }
    Err(NoWay(refused.join("; ")))
}

fn open_one(
    method: IoMethod,
    wish: &IoWish,
    slices: &[RangeInclusive<u16>],
    clock: &Clock,
) -> Result<Opened, String> {
    match method {
        IoMethod::Sockets | IoMethod::Auto => {
            let sockets = slices.iter().map(Sockets::new).collect::<std::io::Result<_>>();
            sockets.map(Opened::Sockets).map_err(|error| error.to_string())
        }
        IoMethod::Xdp | IoMethod::Packet if wish.method == IoMethod::Auto && wish.is_loopback() => {
            // They would see everything else on loopback too, large frames included.
            Err("media is on loopback alone; say so to have rings there".to_owned())
        }
        IoMethod::Xdp => {
            xdp::open(wish, slices, clock).map(|(rings, thread)| Opened::Xdp(rings, thread))
        }
        IoMethod::Packet => {
            packet::open(wish, slices, clock).map(|(rings, thread)| Opened::Packet(rings, thread))
        }
    }
}
