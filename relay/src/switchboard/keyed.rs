//! Keyed: a key of SRTP and what has been done with it.

use crate::wire::srtp::MasterKey;

/// A key and what has been done with it: indices, rollover counter, replay window.
pub(super) struct Keyed<Context> {
    pub(super) key: MasterKey,
    pub(super) context: Context,
}

impl<Context> Keyed<Context> {
    /// What holds after a re-offer: the same key goes on where it was. An index used twice would
    /// give both packets away (RFC 3711 section 9.1), and a window begun anew would let replays in.
    pub(super) fn renewed(old: Option<Box<Self>>, new: Option<Box<Self>>) -> Option<Box<Self>> {
        match (old, new) {
            (Some(old), Some(new)) if old.key.same_as(&new.key) => Some(old),
            (Some(_) | None, new) => new,
        }
    }
}
