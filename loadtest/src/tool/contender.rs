//! Contender: a relay that a load test is about.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use loadtest::relay_process::Failure;

use super::peer::Peer;
use super::rtpengine::Rtpengine;
use super::sotto::Sotto;

/// A relay, and how it does its media I/O.
#[derive(Clone, PartialEq, Eq)]
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
    /// A Sotto that runs already.
    SottoAt {
        /// Of its REST API.
        address: SocketAddr,
        /// An operator's key.
        key: String,
        /// Its process, if it is on this machine and known.
        pid: Option<u32>,
    },
    /// An rtpengine that runs already.
    RtpengineAt {
        /// Of its NG port.
        address: SocketAddr,
        /// Its process, if it is on this machine and known.
        pid: Option<u32>,
    },
}

impl Contender {
    /// Starts it with one media thread, receiving at `media`; or finds it running.
    pub(crate) fn meet(&self, media: Ipv4Addr) -> Result<Box<dyn Peer>, Failure> {
        Ok(match self {
            Contender::Sotto { binary, io } => Box::new(Sotto::start(binary, io, media)?),
            Contender::Rtpengine { binary } => Box::new(Rtpengine::start(binary, media)?),
            Contender::SottoAt { address, key, pid } => Box::new(Sotto::find(*address, key, *pid)?),
            Contender::RtpengineAt { address, pid } => Box::new(Rtpengine::find(*address, *pid)?),
        })
    }

    /// Whether it is started for the test.
    pub(crate) fn is_started(&self) -> bool {
        match self {
            Contender::Sotto { .. } | Contender::Rtpengine { .. } => true,
            Contender::SottoAt { .. } | Contender::RtpengineAt { .. } => false,
        }
    }

    /// Its name in reports.
    pub(crate) fn name(&self) -> String {
        match self {
            Contender::Sotto { io, .. } => format!("sotto {io}"),
            Contender::Rtpengine { .. } => "rtpengine".to_owned(),
            Contender::SottoAt { address, .. } => format!("sotto at {address}"),
            Contender::RtpengineAt { address, .. } => format!("rtpengine at {address}"),
        }
    }
}
