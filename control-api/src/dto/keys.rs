//! KeysRequest: what the star and the pound key do, as REST and the configuration write it.

use dtmf::keys::{Keys, PoundKey, StarKey};
use serde::Deserialize;
use utoipa::ToSchema;

/// What the keys that are no numerals do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeysRequest {
    /// What `#` does; `submit` unless said otherwise.
    #[serde(default)]
    pub pound: PoundRequest,
    /// What `*` does; `clear_then_cancel` unless said otherwise.
    #[serde(default)]
    pub star: StarRequest,
}

/// What `#` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoundRequest {
    /// It finishes the entry.
    #[default]
    Submit,
    /// Nothing.
    Ignore,
}

/// What `*` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StarRequest {
    /// One clears the entry; a second one at once cancels the session.
    #[default]
    ClearThenCancel,
    /// It clears the entry.
    Clear,
    /// It cancels the session.
    Cancel,
    /// It is the decimal point of an amount.
    DecimalPoint,
    /// Nothing.
    Ignore,
}

impl KeysRequest {
    pub(super) fn to_keys(self) -> Keys {
        Keys {
            pound: match self.pound {
                PoundRequest::Submit => PoundKey::Submit,
                PoundRequest::Ignore => PoundKey::Ignore,
            },
            star: match self.star {
                StarRequest::ClearThenCancel => StarKey::ClearThenCancel,
                StarRequest::Clear => StarKey::Clear,
                StarRequest::Cancel => StarKey::Cancel,
                StarRequest::DecimalPoint => StarKey::DecimalPoint,
                StarRequest::Ignore => StarKey::Ignore,
            },
        }
    }
}
