//! Ids: which call, which secure session, which side, which port.

/// A call, named by whoever opened it (a UUIDv7 as an integer at the REST edge).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CallId(pub u128);

/// A secure session, named by whoever asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SessionId(pub u128);

/// Which of the two parties of a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// The human who may key digits: SIP trunk, PBX, phone or browser.
    Caller,
    /// The AI engine.
    Engine,
}

impl Side {
    /// Both sides, for walks over a call's legs.
    pub const ALL: [Side; 2] = [Side::Caller, Side::Engine];

    /// The party at the other end.
    pub const fn other(self) -> Side {
        match self {
            Side::Caller => Side::Engine,
            Side::Engine => Side::Caller,
        }
    }

    /// Position in a `[T; 2]` of both sides.
    pub const fn index(self) -> usize {
        match self {
            Side::Caller => 0,
            Side::Engine => 1,
        }
    }

    /// The word used in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Side::Caller => "caller",
            Side::Engine => "engine",
        }
    }
}

/// One party of a call, or both: who is meant by what is done for all of them or for none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Parties {
    /// This one.
    One(Side),
    /// Both of them.
    Both,
}

impl Parties {
    /// Each of them, once.
    pub const fn sides(self) -> &'static [Side] {
        match self {
            Parties::One(Side::Caller) => &[Side::Caller],
            Parties::One(Side::Engine) => &[Side::Engine],
            Parties::Both => &Side::ALL,
        }
    }
}

impl From<Side> for Parties {
    fn from(side: Side) -> Parties {
        Parties::One(side)
    }
}

/// A local UDP port of the media range.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LocalPort(pub u16);

/// An even RTP port and the odd RTCP port above it (RFC 3550 section 11).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PortPair(u16);

impl PortPair {
    /// The pair whose RTP port is `rtp`; `None` if that port is odd or has none above it.
    pub const fn new(rtp: u16) -> Option<PortPair> {
        if rtp.is_multiple_of(2) && rtp < u16::MAX { Some(PortPair(rtp)) } else { None }
    }

    /// The even port, for RTP (and RTCP where multiplexed).
    pub const fn rtp(self) -> LocalPort {
        LocalPort(self.0)
    }

    /// The odd port, for RTCP.
    pub const fn rtcp(self) -> LocalPort {
        LocalPort(self.0 + 1)
    }
}

/// Index of a worker thread; a call never leaves its worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WorkerIndex(pub usize);
