//! Blocked: what is kept back of what a party sends, whatever the routing says.

use crate::switchboard::routing::Media;

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
