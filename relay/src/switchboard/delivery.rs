//! Delivery: what a secure session has accepted, on its way to whoever may have it.

use dtmf::Accepted;
use locked_page::Locked;

use super::id::{CallId, SessionId};

/// The accepted entries of one session, in a locked page of their own that is wiped with it.
///
/// The call stays cut until [`super::Command::Delivered`] says how it went, or it takes too long.
pub struct Delivery {
    /// The call.
    pub call: CallId,
    /// The session.
    pub session: SessionId,
    /// What was keyed.
    pub accepted: Locked<Accepted>,
}
