//! Access: who may call.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::digest::Users;

/// Who may call: trunks by their address, others by a secret. Without either, this machine alone.
///
/// A trunk's address in a datagram proves little where a network lets forged senders in; there,
/// trunks are better known by a secret, or come by TCP.
#[derive(Default)]
pub struct Access {
    /// Those who prove who they are.
    pub users: Option<Users>,
    /// Those whose address says who they are.
    pub trunks: Vec<IpNet>,
}

/// How a source stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It may call.
    Trusted,
    /// It may if it proves who it is.
    Unproven,
    /// It may not.
    Unwelcome,
}

/// What is left of [`Access`] once its users are with who checks them.
pub(crate) struct Doors {
    trunks: Vec<IpNet>,
    asks: bool,
}

impl Access {
    pub(crate) fn split(self) -> (Doors, Option<Users>) {
        let Access { users, trunks } = self;
        (Doors { trunks, asks: users.is_some() }, users)
    }
}

impl Doors {
    pub(crate) fn standing(&self, source: IpAddr) -> Standing {
        let source = source.to_canonical();
        let is_open = self.trunks.is_empty() && !self.asks;
        if self.trunks.iter().any(|trunk| trunk.contains(&source))
            || (is_open && source.is_loopback())
        {
            Standing::Trusted
        } else if self.asks {
            Standing::Unproven
        } else {
            Standing::Unwelcome
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Standing};
    use crate::{Algorithms, Users};

    #[test]
    fn the_three_ways_to_be_let_in() {
        let standing = |access: Access, ip: &str| access.split().0.standing(ip.parse().unwrap());
        let users = || Some(Users::new("a", Algorithms::Md5, [("b", "c")]));
        let trunks = || vec!["192.0.2.0/24".parse().unwrap()];
        assert_eq!(standing(Access::default(), "127.0.0.1"), Standing::Trusted);
        assert_eq!(standing(Access::default(), "192.0.2.1"), Standing::Unwelcome);
        let closed = || Access { users: None, trunks: trunks() };
        assert_eq!(standing(closed(), "127.0.0.1"), Standing::Unwelcome);
        assert_eq!(standing(closed(), "::ffff:192.0.2.9"), Standing::Trusted);
        let both = || Access { users: users(), trunks: trunks() };
        assert_eq!(standing(both(), "127.0.0.1"), Standing::Unproven);
        assert_eq!(standing(both(), "192.0.2.9"), Standing::Trusted);
    }
}
