//! ExternalId: what an integrator calls a call: a SIP Call-ID, or any key of its own.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dto::id;
use crate::twilio;

/// Longest external id, in octets: Call-IDs have half of that, and it stands in every event.
pub const MAX_LEN: usize = 128;
/// What begins a path's segment that names a call by its external id.
pub const PATH_PREFIX: &str = "ext:";
/// What an external id has to be.
pub const RULE: &str = "must be 1 to 128 visible ASCII characters, without spaces, and not of the \
                        form of Sotto's own ids (call_..., CA...)";

/// A call's name that its integrator chose. It is no secret, but it is the client's word: it can't
/// be printed by accident, and stands in no log line above `debug`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 128,
    example = "a84b4c76e66710@192.0.2.4")]
pub struct ExternalId(Box<str>);

impl ExternalId {
    /// Reads an external id; `None` if it is none. What reads as an id of ours is none: a call would
    /// go by the name of another one.
    #[must_use]
    pub fn parse(text: &str) -> Option<ExternalId> {
        let fits = (1..=MAX_LEN).contains(&text.len());
        let is_ours = id::parse_call(text).is_some() || twilio::parse_call_sid(text).is_some();
        let is_visible = text.bytes().all(|b| b.is_ascii_graphic());
        (fits && is_visible && !is_ours).then(|| ExternalId(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ExternalId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<ExternalId, &'static str> {
        ExternalId::parse(&text).ok_or(RULE)
    }
}

#[cfg(test)]
mod tests {
    use super::{ExternalId, MAX_LEN, RULE};

    #[test]
    fn visible_characters_are_an_id() {
        let longest = "x".repeat(MAX_LEN);
        for good in ["1", "a84b4c76e66710@192.0.2.4", "a/b%c?d#e:f", &longest] {
            assert_eq!(ExternalId::parse(good).unwrap().as_str(), good);
        }
        let longer = "x".repeat(MAX_LEN + 1);
        let ours = ["call_", "CA"].map(|prefix| format!("{prefix}{:032x}", 7));
        for ours in &ours {
            assert!(ExternalId::parse(ours).is_none(), "an id of ours");
            assert!(ExternalId::parse(&ours[1..]).is_some(), "which this is not");
        }
        for bad in ["", " ", "a b", "a\n", "a\0", "\u{e9}", &longer] {
            assert!(ExternalId::parse(bad).is_none(), "{bad:?}");
        }
        assert!(RULE.contains(&MAX_LEN.to_string()));
    }
}
