//! Bodies about API keys.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::keys::{KeyFile, KeyRecord, NewKey, Roles, Scope, Token};
use crate::problem::Problem;

/// Longest overlap of two keys, in seconds: 90 days.
const MAX_OVERLAP_S: u64 = 90 * 86_400;

/// Makes a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyCreation {
    /// What people call it: 1 to 64 letters, digits, spaces and `.:@/+_-`.
    #[serde(default)]
    name: Option<String>,
    /// Its roles: `operator`, `script`, `engine`, `payment`, or those of the configuration.
    #[serde(default)]
    #[schema(example = json!(["script"]))]
    roles: Vec<String>,
    /// What it may do besides.
    #[serde(default)]
    #[schema(example = json!(["recordings:read"]))]
    scopes: Vec<String>,
    /// When it begins to be valid, UTC: a time, or a day. At once unless said otherwise.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Timestamp>,
    /// When it ends, UTC: a time, or a day. Never unless said otherwise.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl KeyCreation {
    /// The key that is meant.
    ///
    /// # Errors
    /// A problem if there is no scope of a name.
    pub fn into_new(self) -> Result<NewKey, Problem> {
        let KeyCreation { name, roles, scopes, not_before, expires_at } = self;
        let scope = |(place, name): (usize, &String)| {
            let unknown = || {
                let detail = format!("must be one of {}", Scope::names());
                Problem::invalid(format!("/scopes/{place}"), detail)
            };
            Scope::parse(name).ok_or_else(unknown)
        };
        let scopes = scopes.iter().enumerate().map(scope).collect::<Result<_, _>>()?;
        Ok(NewKey { name, roles, scopes, not_before, expires_at })
    }
}

/// Replaces a key.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRotation {
    /// For how many seconds the old key stays valid, 0 to 7776000; a day unless said otherwise.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 7_776_000)]
    overlap_s: Option<u64>,
}

impl KeyRotation {
    /// How long the old key stays valid.
    ///
    /// # Errors
    /// A problem if that is too long.
    pub fn overlap(&self, default: Duration) -> Result<Duration, Problem> {
        match self.overlap_s {
            None => Ok(default),
            Some(seconds) if seconds <= MAX_OVERLAP_S => Ok(Duration::from_secs(seconds)),
            Some(_) => {
                let detail = format!("must be {MAX_OVERLAP_S} seconds at most");
                Err(Problem::invalid("/overlap_s", detail))
            }
        }
    }
}

/// The keys.
#[derive(Serialize, ToSchema)]
pub struct KeyPage {
    /// The keys, oldest first.
    pub data: Vec<KeyView>,
}

/// A key, but for its secret, which nobody knows but who was told it.
#[derive(Serialize, ToSchema)]
pub struct KeyView {
    /// Its public name, the third part of the key itself.
    id: String,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Its roles.
    roles: Vec<String>,
    /// All that it may do, by its roles and besides.
    scopes: Vec<&'static str>,
    /// Where it is taken.
    region: String,
    /// Whether it was made on this server and for its region; no other is taken.
    is_taken_here: bool,
    /// `pending`, `active`, `expiring` (within a week), `expired` or `revoked`.
    state: &'static str,
    /// When it was made, UTC.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it begins to be valid, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Timestamp>,
    /// When it ends, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// The key in whose place it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    /// When it was ended, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
}

impl KeyView {
    /// What is told of a key.
    #[must_use]
    pub fn of(file: &KeyFile, record: &KeyRecord, roles: &Roles, now: Timestamp) -> KeyView {
        KeyView {
            id: record.id.as_str().to_owned(),
            name: record.name.clone(),
            roles: record.roles.clone(),
            scopes: record.rights(roles).iter().map(Scope::as_str).collect(),
            region: record.region.as_str().to_owned(),
            is_taken_here: file.is_taken_here(record),
            state: record.state(now).as_str(),
            created_at: record.created_at,
            not_before: record.not_before,
            expires_at: record.expires_at,
            replaces: record.replaces.as_ref().map(|id| id.as_str().to_owned()),
            revoked_at: record.revoked_at,
        }
    }
}

/// A new key.
#[derive(Serialize, ToSchema)]
pub struct KeyIssued {
    /// The key itself, to be sent as `Authorization: Bearer`. It is told here and never again: not
    /// even to who sends the same request once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "sto_eu-1_0a1b2c3d4e5f_...")]
    token: Option<Shown>,
    #[serde(flatten)]
    key: KeyView,
}

/// A token on its way into an answer; the one place where one is written.
struct Shown(Token);

impl Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.reveal())
    }
}

impl KeyIssued {
    /// What is told of a new key; without its token where it was told already.
    #[must_use]
    pub fn of(key: KeyView, token: Option<Token>) -> KeyIssued {
        KeyIssued { token: token.map(Shown), key }
    }

    /// The same with the token, which is told this once.
    #[must_use]
    pub fn with(self, token: Token) -> KeyIssued {
        KeyIssued { token: Some(Shown(token)), ..self }
    }
}
