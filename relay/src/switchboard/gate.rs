//! Gate: which source address a leg listens to, and talks to.

use std::net::SocketAddr;

use super::limits::LATCH_PACKETS;

/// What a gate says of a packet's source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// The peer.
    Peer,
    /// May turn out to be the peer; the packet itself is not used unless it proves so.
    Candidate,
    /// Somebody else.
    Stranger,
}

/// Which sources signalling wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GateRule {
    /// Only the address it has told.
    Signalled,
    /// Another one that proves itself, too.
    Latch,
}

/// The source rule of one leg and what it has found.
pub(super) struct Gate {
    signalled: SocketAddr,
    rule: GateRule,
    state: State,
}

enum State {
    /// Only one address, for good.
    Closed(SocketAddr),
    /// Behind NAT the signalled address may be wrong: looking for one that proves itself.
    Latching(Option<Suspect>),
}

#[derive(Clone, Copy)]
struct Suspect {
    address: SocketAddr,
    ssrc: u32,
    sequence: u16,
    seen: u8,
}

impl Gate {
    /// A gate as signalling wants it.
    pub(super) fn new(signalled: SocketAddr, rule: GateRule) -> Gate {
        let state = match rule {
            GateRule::Signalled => State::Closed(signalled),
            GateRule::Latch => State::Latching(None),
        };
        Gate { signalled, rule, state }
    }

    /// Whether signalling wants the same as it did.
    pub(super) fn is_still(&self, signalled: SocketAddr, rule: GateRule) -> bool {
        (self.signalled, self.rule) == (signalled, rule)
    }

    /// Judges a packet's source. `may_latch` is false while the call is cut: no new source then.
    pub(super) fn judge(&self, from: SocketAddr, may_latch: bool) -> Admission {
        match &self.state {
            State::Closed(peer) if *peer == from => Admission::Peer,
            State::Closed(_) => Admission::Stranger,
            State::Latching(_) if from == self.signalled => Admission::Peer,
            State::Latching(_) if may_latch => Admission::Candidate,
            State::Latching(_) => Admission::Stranger,
        }
    }

    /// A packet from `from` was authenticated, or came from the signalled address: that is the peer.
    pub(super) fn prove(&mut self, from: SocketAddr) {
        self.state = State::Closed(from);
    }

    /// A plain RTP packet from a candidate. True once enough consistent ones have come.
    pub(super) fn suspect(&mut self, from: SocketAddr, ssrc: u32, sequence: u16) -> bool {
        let State::Latching(suspect) = &mut self.state else { return false };
        let seen = match *suspect {
            Some(last)
                if last.address == from
                    && last.ssrc == ssrc
                    && last.sequence.wrapping_add(1) == sequence =>
            {
                last.seen + 1
            }
            // A competing stream starts its own count and ends the other's: neither gets in while
            // both talk.
            Some(_) | None => 1,
        };
        *suspect = Some(Suspect { address: from, ssrc, sequence, seen });
        if seen < LATCH_PACKETS {
            return false;
        }
        self.prove(from);
        true
    }

    /// Where to send: the proven address, else the signalled one.
    pub(super) fn target(&self) -> SocketAddr {
        match &self.state {
            State::Closed(peer) => *peer,
            State::Latching(_) => self.signalled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn without_latching_only_the_signalled_address_is_heard() {
        let mut gate = Gate::new(address(1), GateRule::Signalled);
        assert_eq!(gate.judge(address(1), true), Admission::Peer);
        assert_eq!(gate.judge(address(2), true), Admission::Stranger);
        for sequence in 0..100 {
            assert!(!gate.suspect(address(2), 9, sequence));
        }
        assert_eq!(gate.target(), address(1));
    }

    #[test]
    fn a_latch_closes_after_consistent_packets_and_stays_closed() {
        let mut gate = Gate::new(address(1), GateRule::Latch);
        assert_eq!(gate.judge(address(2), false), Admission::Stranger);
        assert_eq!(gate.judge(address(2), true), Admission::Candidate);
        let found: Vec<bool> = (10..14).map(|n| gate.suspect(address(2), 9, n)).collect();
        assert_eq!(found, [false, false, false, true]);
        assert_eq!(gate.target(), address(2));
        assert_eq!(gate.judge(address(1), true), Admission::Stranger);
    }

    #[test]
    fn two_competing_sources_keep_each_other_out() {
        let mut gate = Gate::new(address(1), GateRule::Latch);
        for sequence in 0..100 {
            assert!(!gate.suspect(address(2), 9, sequence));
            assert!(!gate.suspect(address(3), 9, sequence));
        }
        assert_eq!(gate.target(), address(1));
    }
}
