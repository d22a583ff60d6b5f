//! Blocked: what is kept back of what a party sends, whatever the routing says.

use std::time::Instant;

use super::Call;
use crate::switchboard::command::Part;
use crate::switchboard::id::Side;
use crate::switchboard::routing::{EngineAudio, Media, Phase};

/// What is kept back of what a party sends, whatever the routing says.
#[derive(Clone, Copy, Default)]
pub(super) struct Blocked {
    pub(super) key_events: bool,
    pub(super) silenced: bool,
    pub(super) media: bool,
}

impl Blocked {
    /// Whether this goes no further.
    pub(super) fn holds(self, media: Media) -> bool {
        match media {
            Media::TelephoneEvent | Media::Redundancy => {
                self.key_events || self.silenced || self.media
            }
            Media::Audio => self.silenced || self.media,
            Media::Rtcp | Media::Unknown => false,
        }
    }
}

impl Call {
    /// Keeps a part of what a party sends back, or no longer. It adds to what the routing says, and
    /// takes nothing from it: a cut call stays cut.
    pub(in crate::switchboard) fn block(
        &mut self,
        now: Instant,
        side: Side,
        part: Part,
        blocked: bool,
    ) {
        let was_ours = self.is_hushed(side);
        let it = &mut self.blocked[side.index()];
        match part {
            Part::KeyEvents => it.key_events = blocked,
            Part::Media => it.media = blocked,
            Part::Silence => {
                it.silenced = blocked;
                self.hand_over(now, side, was_ours);
            }
        }
    }

    /// Whether the stream that a party's voice fills is ours.
    pub(super) fn is_hushed(&self, side: Side) -> bool {
        self.blocked[side.index()].silenced || self.is_covered(side)
    }

    /// Makes the stream that a party's voice fills ours, or no longer, if that has changed.
    pub(super) fn hand_over(&mut self, now: Instant, side: Side, was_ours: bool) {
        let is_ours = self.is_hushed(side);
        if is_ours == was_ours {
            return;
        }
        let to = side.other();
        match (self.phase(), to) {
            // A cut that lets the engine talk leaves the caller's stream as it is in the open.
            (Phase::Open, _)
            | (
                Phase::Armed
                | Phase::Secure(EngineAudio::Pass)
                | Phase::Draining(EngineAudio::Pass)
                | Phase::Held(EngineAudio::Pass),
                Side::Caller,
            ) => match is_ours {
                true => self.egress(to).silence(now),
                false => self.egress(to).resume(),
            },
            // Its stream is ours already, and is looked at again when it is not any more.
            (Phase::Armed, Side::Engine)
            | (Phase::Secure(_) | Phase::Draining(_) | Phase::Held(_) | Phase::Closed, _) => {}
        }
    }

    /// Puts silence of ours in place of the parties whose voice is kept back.
    pub(super) fn hush(&mut self, now: Instant) {
        for side in Side::ALL {
            let is_hushed = self.is_hushed(side);
            let egress = self.egress(side.other());
            // One that is ours already goes on as it is.
            if is_hushed && !egress.is_silent() {
                egress.silence(now);
            }
        }
    }
}
