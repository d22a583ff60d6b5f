//! Reoffered: what a new agreement changes in a call, and who may make one in a cut.

use std::time::Instant;

use rand::Rng;

use super::Call;
use super::state::Routing;
use crate::switchboard::command::Refusal;
use crate::switchboard::id::Side;
use crate::switchboard::media::LegMedia;

impl Call {
    /// Takes over what was agreed anew for one leg. The routing stays what it is.
    pub(in crate::switchboard) fn reoffer(
        &mut self,
        now: Instant,
        side: Side,
        media: LegMedia,
        random: &mut impl Rng,
    ) {
        self.legs[side.index()].reagree(now, media, random);
        for side in Side::ALL {
            let heard = self.legs[side.other().index()].media().codec;
            self.legs[side.index()].reformat(now, heard);
        }
        self.reformat_copies(now);
        let clock = self.legs[Side::Caller.index()].media().codec.clock();
        self.keys_before.set_clock(clock);
        if let Some(session) = self.routing.session() {
            session.set_event_clock(clock);
        }
    }

    /// Refuses a re-offer that may be the other party's and moves the caller in a cut: the engine
    /// would be where the caller's keys are looked for, and hear what the caller is told.
    pub(in crate::switchboard) fn check_claim(
        &self,
        side: Side,
        media: &LegMedia,
    ) -> Result<(), Refusal> {
        let may_move = match (side, &self.routing) {
            (Side::Engine, _) => true,
            (Side::Caller, Routing::Open | Routing::Armed | Routing::Closed) => true,
            (
                Side::Caller,
                Routing::Secure(_) | Routing::Draining { .. } | Routing::Held { .. },
            ) => false,
        };
        match may_move || self.legs[side.index()].is_untouched_by(media) {
            true => Ok(()),
            false => Err(Refusal::CallerStays),
        }
    }
}
