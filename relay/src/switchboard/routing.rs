//! Routing: the one total function that decides who hears whom.

use super::id::Side;

/// Whether the engine may be heard by the caller while the call is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EngineAudio {
    /// The engine's audio is dropped; the caller hears the relay alone.
    Drop,
    /// The plan lets the engine talk to the caller. It still hears nothing.
    Pass,
}

/// The state of a call's routing, without what is known in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Both parties hear each other.
    Open,
    /// As open, but the engine hears the caller later by the look-ahead.
    Armed,
    /// A collector listens to the caller; nobody else does.
    Secure(EngineAudio),
    /// A verdict stands, but keys may still sound.
    Draining(EngineAudio),
    /// Draining found no quiet; only an operator can go on.
    Held(EngineAudio),
    /// The call is over.
    Closed,
}

/// What a packet carries, as far as routing cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Media {
    /// Voice in the agreed codec.
    Audio,
    /// RFC 4733 named events.
    TelephoneEvent,
    /// Reports (RFC 3550 section 6).
    Rtcp,
    /// Key events with copies of those before (RFC 2198).
    Redundancy,
    /// A payload type nobody agreed to, comfort noise and redundant audio among them.
    Unknown,
}

impl Media {
    /// Whether its packets carry the time at which a key went down, not their own.
    pub(super) const fn is_of_keys(self) -> bool {
        match self {
            Media::TelephoneEvent | Media::Redundancy => true,
            Media::Audio | Media::Rtcp | Media::Unknown => false,
        }
    }
}

/// Why a packet went nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// Not RTP or RTCP as the RFCs have it.
    Malformed,
    /// From an address that was neither signalled nor proven.
    UnknownPeer,
    /// SRTP authentication failed, or a replay.
    Unauthenticated,
    /// A payload type that was not agreed.
    UnknownPayload,
    /// The call is cut.
    Cut,
    /// Sent during a cut, arrived after it.
    Straggler,
    /// Key events are withheld while armed, since they cannot be delayed and taken back.
    Armed,
    /// The other leg did not agree to receive this.
    NotAgreed,
    /// The call is over.
    Closed,
    /// The socket would not take it.
    Unsent,
}

impl DropReason {
    /// All reasons, in the order of [`DropReason::index`].
    pub const ALL: [DropReason; 10] = [
        DropReason::Malformed,
        DropReason::UnknownPeer,
        DropReason::Unauthenticated,
        DropReason::UnknownPayload,
        DropReason::Cut,
        DropReason::Straggler,
        DropReason::Armed,
        DropReason::NotAgreed,
        DropReason::Closed,
        DropReason::Unsent,
    ];

    /// Position of the reason's counter.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            DropReason::Malformed => "malformed",
            DropReason::UnknownPeer => "unknown_peer",
            DropReason::Unauthenticated => "unauthenticated",
            DropReason::UnknownPayload => "unknown_payload",
            DropReason::Cut => "cut",
            DropReason::Straggler => "straggler",
            DropReason::Armed => "armed",
            DropReason::NotAgreed => "not_agreed",
            DropReason::Closed => "closed",
            DropReason::Unsent => "unsent",
        }
    }
}

/// Where a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// To the other side, and onto the tape. The only way out for media.
    Forward,
    /// To the secure session's detector, and nowhere else.
    Collect,
    /// Ends here: statistics only.
    Terminate,
    /// The newest of its key events goes where a key event goes, the copies and the packet nowhere.
    Unpack,
    /// Nowhere.
    Drop(DropReason),
}

/// Decides where `media` from `side` goes while a call is in `phase`.
///
/// Total and without wildcard: a new phase, side or medium does not compile until every cell is
/// decided. Every sink other than the collector is cut by default.
pub const fn route(phase: Phase, side: Side, media: Media) -> Route {
    match (phase, side, media) {
        (
            Phase::Closed,
            Side::Caller | Side::Engine,
            Media::Audio | Media::TelephoneEvent | Media::Redundancy | Media::Rtcp | Media::Unknown,
        ) => Route::Drop(DropReason::Closed),
        (
            Phase::Open
            | Phase::Armed
            | Phase::Secure(EngineAudio::Drop | EngineAudio::Pass)
            | Phase::Draining(EngineAudio::Drop | EngineAudio::Pass)
            | Phase::Held(EngineAudio::Drop | EngineAudio::Pass),
            Side::Caller | Side::Engine,
            Media::Unknown,
        )
        // No engine is offered redundancy.
        | (Phase::Open | Phase::Armed, Side::Engine, Media::Redundancy) => {
            Route::Drop(DropReason::UnknownPayload)
        }
        (
            Phase::Open
            | Phase::Armed
            | Phase::Secure(EngineAudio::Drop | EngineAudio::Pass)
            | Phase::Draining(EngineAudio::Drop | EngineAudio::Pass)
            | Phase::Held(EngineAudio::Drop | EngineAudio::Pass),
            Side::Caller | Side::Engine,
            Media::Rtcp,
        ) => Route::Terminate,
        (Phase::Open | Phase::Armed, Side::Caller | Side::Engine, Media::Audio)
        | (Phase::Open, Side::Caller | Side::Engine, Media::TelephoneEvent)
        | (Phase::Armed, Side::Engine, Media::TelephoneEvent) => Route::Forward,
        (Phase::Open, Side::Caller, Media::Redundancy) => Route::Unpack,
        (Phase::Armed, Side::Caller, Media::TelephoneEvent | Media::Redundancy) => {
            Route::Drop(DropReason::Armed)
        }
        (
            Phase::Secure(EngineAudio::Drop | EngineAudio::Pass)
            | Phase::Draining(EngineAudio::Drop | EngineAudio::Pass)
            | Phase::Held(EngineAudio::Drop | EngineAudio::Pass),
            Side::Caller,
            Media::Audio | Media::TelephoneEvent | Media::Redundancy,
        ) => Route::Collect,
        (
            Phase::Secure(EngineAudio::Pass)
            | Phase::Draining(EngineAudio::Pass)
            | Phase::Held(EngineAudio::Pass),
            Side::Engine,
            Media::Audio,
        ) => Route::Forward,
        (
            Phase::Secure(EngineAudio::Drop)
            | Phase::Draining(EngineAudio::Drop)
            | Phase::Held(EngineAudio::Drop),
            Side::Engine,
            Media::Audio,
        )
        | (
            Phase::Secure(EngineAudio::Drop | EngineAudio::Pass)
            | Phase::Draining(EngineAudio::Drop | EngineAudio::Pass)
            | Phase::Held(EngineAudio::Drop | EngineAudio::Pass),
            Side::Engine,
            Media::TelephoneEvent | Media::Redundancy,
        ) => Route::Drop(DropReason::Cut),
    }
}

/// Whether what is forwarded in `phase` goes to the call's subscribers as well.
///
/// A subscriber is one more sink, and cut by default: of either party, since what is told to a
/// caller in a cut tells what was keyed. Key events are copied in no phase: they could not be taken
/// back in part. Total and without wildcard, as [`route`] is.
pub const fn is_copied(phase: Phase, media: Media) -> bool {
    match (phase, media) {
        (Phase::Open | Phase::Armed, Media::Audio) => true,
        (
            Phase::Open | Phase::Armed,
            Media::TelephoneEvent | Media::Redundancy | Media::Rtcp | Media::Unknown,
        )
        | (
            Phase::Secure(EngineAudio::Drop | EngineAudio::Pass)
            | Phase::Draining(EngineAudio::Drop | EngineAudio::Pass)
            | Phase::Held(EngineAudio::Drop | EngineAudio::Pass)
            | Phase::Closed,
            Media::Audio | Media::TelephoneEvent | Media::Redundancy | Media::Rtcp | Media::Unknown,
        ) => false,
    }
}

impl Phase {
    /// Whether caller media is withheld from everyone but the collector.
    pub const fn is_cut(self) -> bool {
        match self {
            Phase::Secure(_) | Phase::Draining(_) | Phase::Held(_) | Phase::Closed => true,
            Phase::Open | Phase::Armed => false,
        }
    }

    /// The word used in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Armed => "armed",
            Phase::Secure(_) => "secure",
            Phase::Draining(_) => "draining",
            Phase::Held(_) => "held",
            Phase::Closed => "closed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 9] = [
        Phase::Open,
        Phase::Armed,
        Phase::Secure(EngineAudio::Drop),
        Phase::Secure(EngineAudio::Pass),
        Phase::Draining(EngineAudio::Drop),
        Phase::Draining(EngineAudio::Pass),
        Phase::Held(EngineAudio::Drop),
        Phase::Held(EngineAudio::Pass),
        Phase::Closed,
    ];
    const MEDIA: [Media; 5] =
        [Media::Audio, Media::TelephoneEvent, Media::Redundancy, Media::Rtcp, Media::Unknown];

    #[test]
    fn the_table() {
        for side in Side::ALL {
            for media in MEDIA {
                print!("{:>6} {:<15}", side.as_str(), format!("{media:?}"));
                for phase in PHASES {
                    print!(" | {:<22}", format!("{:?}", route(phase, side, media)));
                }
                println!();
            }
        }
        for media in MEDIA {
            print!("copied {:<15}", format!("{media:?}"));
            for phase in PHASES {
                print!(" | {:<22}", is_copied(phase, media));
            }
            println!();
        }
    }

    #[test]
    fn nothing_of_the_caller_is_forwarded_while_cut() {
        for phase in PHASES.into_iter().filter(|phase| phase.is_cut()) {
            for media in MEDIA {
                let route = route(phase, Side::Caller, media);
                assert!(
                    !matches!(route, Route::Forward | Route::Unpack),
                    "{phase:?} {media:?} {route:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_copied_while_cut_and_never_a_key_event() {
        for phase in PHASES {
            for media in MEDIA {
                let may_be = !phase.is_cut() && media == Media::Audio;
                assert_eq!(is_copied(phase, media), may_be, "{phase:?} {media:?}");
            }
        }
    }

    #[test]
    fn the_check_above_can_fail() {
        assert_eq!(route(Phase::Open, Side::Caller, Media::Audio), Route::Forward);
        assert_eq!(route(Phase::Armed, Side::Caller, Media::Audio), Route::Forward);
        assert_eq!(route(Phase::Open, Side::Caller, Media::Redundancy), Route::Unpack);
    }

    #[test]
    fn redundancy_is_never_forwarded() {
        for phase in PHASES {
            for side in Side::ALL {
                assert_ne!(route(phase, side, Media::Redundancy), Route::Forward);
            }
        }
    }

    #[test]
    fn rtcp_is_never_forwarded() {
        for phase in PHASES {
            for side in Side::ALL {
                assert_ne!(route(phase, side, Media::Rtcp), Route::Forward);
            }
        }
    }

    #[test]
    fn reasons_are_indexed_in_order() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
