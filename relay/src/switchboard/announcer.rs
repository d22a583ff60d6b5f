//! Announcer: how the relay speaks to the caller of a secure session.

use std::sync::Arc;

use crate::prompts::Voice;

/// Who asks the caller for each field, in which language, and with how many words.
///
/// It holds nothing that was keyed: what is being said at the moment lies in the session's locked
/// page, since a read-back of digits is a secret too.
#[derive(Clone)]
pub struct Announcer {
    /// The clips of one language.
    pub voice: Arc<Voice>,
    /// Say the last four digits of an accepted card number.
    pub read_back: bool,
    /// Confirm each key with a beep, the same for every key.
    pub key_beep: bool,
}
