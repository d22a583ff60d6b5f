//! Handshake: what the request that opens a WebSocket says besides its address.

use crate::Secret;

/// What a WebSocket's request says. It can't be printed: headers hold keys.
#[derive(Default)]
pub struct Handshake {
    /// Offered in this order. An engine may choose one, or none.
    pub subprotocols: &'static [&'static str],
    /// Names, in lower case, and their values.
    pub headers: Vec<(&'static str, Secret)>,
}
