//! Blocked: what is kept back of what a party sends, whatever the routing says.

use crate::switchboard::routing::Media;

/// What is kept back of what a party sends, whatever the routing says.
#[derive(Clone, Copy, Default)]
pub(super) struct Blocked {
    pub(super) key_events: bool,
    pub(super) silenced: bool,
    /// The other party hears us in its place.
    pub(super) covered: bool,
    pub(super) media: bool,
}

impl Blocked {
    /// Whether the stream that its voice fills is ours.
    pub(super) fn is_hushed(self) -> bool {
        self.silenced || self.covered
    }

    /// Whether this goes no further.
    pub(super) fn holds(self, media: Media) -> bool {
        match media {
            Media::TelephoneEvent | Media::Redundancy => {
                self.key_events || self.is_hushed() || self.media
            }
            Media::Audio => self.is_hushed() || self.media,
            Media::Rtcp | Media::Unknown => false,
        }
    }
}
