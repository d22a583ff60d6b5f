//! Introduction: what an engine is told of a call before it hears anything.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::Encoding;

/// What an engine is told of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Introduction {
    /// The call's id, its 16 octets.
    pub call: [u8; 16],
    /// An id of this connection, 16 random octets.
    pub stream: [u8; 16],
    /// The account that the engine expects, as it writes it; empty is one of zeros.
    pub account: String,
    /// Who calls, as signalling has it; may be empty.
    pub from: String,
    /// Who is called; may be empty.
    pub to: String,
    /// What the script has for this engine.
    pub parameters: BTreeMap<String, String>,
    /// How sound is encoded.
    pub encoding: Encoding,
    /// Whether the engine is told of secure sessions by a message of its own.
    pub tells_secure: bool,
}

impl Introduction {
    /// What the script has, and who calls whom where it is known.
    pub(crate) fn parameters_and_numbers(&self) -> BTreeMap<String, String> {
        let mut parameters = self.parameters.clone();
        for (name, value) in [("from_number", &self.from), ("to_number", &self.to)] {
            if !value.is_empty() {
                parameters.entry(name.to_owned()).or_insert_with(|| value.clone());
            }
        }
        parameters
    }
}

/// An object with parameters beside what it has. A parameter never takes the place of that.
pub(crate) fn flatten(mut object: Value, parameters: &BTreeMap<String, String>) -> Value {
    for (name, value) in parameters {
        if object.get(name).is_none() {
            object[name.as_str()] = json!(value);
        }
    }
    object
}

/// A secret that signs what is sent to an engine. It can't be printed.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A copy of a secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Secret {
        Secret(secret.to_owned().into())
    }

    /// The secret, for what signs with it.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(secret: Vec<u8>) -> Secret {
        Secret(secret.into())
    }
}

/// An id as a UUID is written (RFC 9562 section 4): lower case, four hyphens.
pub(crate) fn uuid(id: [u8; 16]) -> String {
    let parts = [&id[..4], &id[4..6], &id[6..8], &id[8..10], &id[10..]];
    parts.map(hex).join("-")
}

/// Lower-case hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    octets.iter().flat_map(|&octet| [digit(octet >> 4), digit(octet & 15)]).collect()
}
