//! Ports: the whole port range filled with calls and emptied, again and again.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use loadtest::relay_process::Failure;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;

use super::contender::Contender;
use super::peer::CallKind;
use super::ramp::MOST_CALLS;
use super::rig::Terms;

/// How often the range is filled.
const FILLINGS: usize = 10;
/// Until ports that a call has left may be used again: 5 s, and a little.
const QUARANTINE: Duration = Duration::from_millis(5_500);
/// Where nobody speaks from.
const ENDS: [SocketAddrV4; 2] = [
    SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 2), 40_000),
    SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 2), 42_000),
];

/// What ten fillings have shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fillings {
    /// Calls that found ports, in each filling.
    pub(crate) held: Vec<usize>,
    /// Processor time of the relay to open a call, in us.
    pub(crate) set_up_us: f64,
    /// Processor time of the relay to end a call, in us.
    pub(crate) tear_down_us: f64,
}

impl Fillings {
    /// Ports of the fullest filling that were missing in the emptiest; a call has four.
    pub(crate) fn lost(&self) -> u64 {
        let (most, least) = (self.held.iter().max(), self.held.iter().min());
        4 * (most.unwrap_or(&0) - least.unwrap_or(&0)) as u64
    }
}

/// Fills and empties the range without a packet sent.
pub(crate) fn run(contender: &Contender, terms: &Terms) -> Result<Fillings, Failure> {
    terms.network.at_relay(|| {
        let mut peer = contender.meet(terms.network.relay)?;
        let measured = Failure::kernel("measure the relay");
        let mut rng = StdRng::seed_from_u64(terms.seed);
        let kind = CallKind { srtp: false, record: false, secure: false };
        let (mut held, mut opening, mut ending) = (Vec::new(), 0.0, 0.0);
        for filling in 0..FILLINGS {
            if filling > 0 {
                std::thread::sleep(QUARANTINE);
            }
            let empty = peer.process().cpu_ns().map_err(&measured)?;
            let mut calls = Vec::new();
            // One more than there can be: it has to be refused.
            while calls.len() <= MOST_CALLS {
                match peer.open(ENDS, kind, &mut rng) {
                    Ok(opened) => calls.push(opened.id),
                    Err(Failure::Relay(_)) => break,
                    Err(failure) => return Err(failure),
                }
            }
            let full = peer.process().cpu_ns().map_err(&measured)?;
            calls.iter().try_for_each(|call| peer.close(call))?;
            opening += full - empty;
            ending += peer.process().cpu_ns().map_err(&measured)? - full;
            held.push(calls.len());
        }
        let calls = held.iter().sum::<usize>().max(1) as f64;
        let each = |cpu: f64| cpu / calls / 1e3;
        Ok(Fillings { held, set_up_us: each(opening), tear_down_us: each(ending) })
    })?
}
