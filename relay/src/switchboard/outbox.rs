//! Outbox: what a switchboard has to tell and to hand over, in order.

use std::collections::VecDeque;

use super::delivery::Delivery;
use super::event::{Event, EventKind};
use super::id::CallId;

/// What came of the inputs so far. The worker empties it after every turn, and a turn is bounded.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) events: VecDeque<Event>,
    pub(super) deliveries: VecDeque<Delivery>,
}

impl Outbox {
    /// Something happened on a call.
    pub(super) fn tell(&mut self, call: CallId, kind: EventKind) {
        self.events.push_back(Event { call, kind });
    }
}
