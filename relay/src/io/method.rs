//! Method: which way media comes and goes, and what became of the wish for one.

use std::fmt;

/// Which way media is to come and go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IoMethod {
    /// The best that the kernel allows.
    #[default]
    Auto,
    /// A UDP socket a port; needs no privileges.
    Sockets,
    /// AF_PACKET rings; needs `CAP_NET_RAW`.
    Packet,
    /// AF_XDP rings; needs `CAP_NET_RAW`, `CAP_NET_ADMIN` and `CAP_BPF`.
    Xdp,
}

impl IoMethod {
    /// All of them, by the words of the configuration.
    pub const ALL: [IoMethod; 4] =
        [IoMethod::Auto, IoMethod::Sockets, IoMethod::Packet, IoMethod::Xdp];

    /// The word of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            IoMethod::Auto => "auto",
            IoMethod::Sockets => "sockets",
            IoMethod::Packet => "packet",
            IoMethod::Xdp => "xdp",
        }
    }
}

impl fmt::Display for IoMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
