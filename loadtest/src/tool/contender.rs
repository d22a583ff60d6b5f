//! Contender: a relay that can be started for a load test.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use loadtest::relay_process::Failure;

use super::peer::Peer;
use super::rtpengine::Rtpengine;
use super::sotto::Sotto;

/// A relay, and how it does its media I/O.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Contender {
    /// This project's.
    Sotto {
        /// Its program.
        binary: PathBuf,
        /// What `sotto serve --io` is told.
        io: String,
    },
    /// rtpengine in user space, as Debian or anybody else builds it.
    Rtpengine {
        /// Its program.
        binary: PathBuf,
    },
}

impl Contender {
    /// Starts it with one media thread, receiving at `media`.
    pub(crate) fn start(&self, media: Ipv4Addr) -> Result<Box<dyn Peer>, Failure> {
        Ok(match self {
            Contender::Sotto { binary, io } => Box::new(Sotto::start(binary, io, media)?),
            Contender::Rtpengine { binary } => Box::new(Rtpengine::start(binary, media)?),
        })
    }

    /// Its name in reports.
    pub(crate) fn name(&self) -> String {
        match self {
            Contender::Sotto { io, .. } => format!("sotto {io}"),
            Contender::Rtpengine { .. } => "rtpengine".to_owned(),
        }
    }
}
