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

impl Handshake {
    /// One header: a scheme's name and a secret behind it.
    pub(crate) fn authorized(scheme: &str, secret: &Secret) -> Handshake {
        let value = [scheme.as_bytes(), b" ", secret.reveal()].concat();
        Handshake { headers: vec![("authorization", value.into())], ..Handshake::default() }
    }

    /// One header that is no secret.
    pub(crate) fn with(name: &'static str, value: &str) -> Handshake {
        let value = Secret::new(value.as_bytes());
        Handshake { headers: vec![(name, value)], ..Handshake::default() }
    }
}
