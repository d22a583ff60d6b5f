//! KeyRecord: one key as it is kept: what it may do, from when to when, and a keyed hash.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::KeyError;
use super::role::Roles;
use super::scope::{Scope, Scopes};
use super::token::{KeyId, Region};
use crate::clock::Timestamp;

/// Longest name of a key.
const MAX_NAME: usize = 64;
/// Roles of one key, and scopes besides: more than there is sense in.
pub const MAX_GRANTS: usize = 32;
/// A key whose end is so near is told as expiring, so that it is replaced in time.
const EXPIRES_SOON: Duration = Duration::from_hours(7 * 24);

/// One key as it is kept. When it was last used is not: that would be a record of who worked when.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Its public name.
    pub id: KeyId,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its roles, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What it may do besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
    /// Where it is taken.
    pub region: Region,
    /// The mark of the server that it was made on.
    pub server: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it begins to be valid, if that is not at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The key in whose place it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<KeyId>,
    /// When it was ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// HMAC-SHA-256 of its secret under the server's pepper, in base64.
    pub(super) secret_hmac: String,
}

/// Where a key stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// It is not yet valid.
    Pending,
    /// It is valid.
    Active,
    /// It is valid, and its end is near.
    Expiring,
    /// Its time is over.
    Expired,
    /// It was ended.
    Revoked,
}

impl KeyState {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyState::Pending => "pending",
            KeyState::Active => "active",
            KeyState::Expiring => "expiring",
            KeyState::Expired => "expired",
            KeyState::Revoked => "revoked",
        }
    }

    /// Whether it will never be valid again.
    #[must_use]
    pub const fn is_over(self) -> bool {
        match self {
            KeyState::Expired | KeyState::Revoked => true,
            KeyState::Pending | KeyState::Active | KeyState::Expiring => false,
        }
    }
}

impl KeyRecord {
    /// Where it stands at a time. It is valid from the first moment to before the last.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> KeyState {
        match (self.revoked_at, self.not_before, self.expires_at) {
            (Some(_), _, _) => KeyState::Revoked,
            (None, _, Some(end)) if end <= now => KeyState::Expired,
            (None, Some(begin), _) if now < begin => KeyState::Pending,
            (None, _, Some(end)) if end <= now.after(EXPIRES_SOON) => KeyState::Expiring,
            (None, _, _) => KeyState::Active,
        }
    }

    /// What it may do.
    #[must_use]
    pub fn rights(&self, roles: &Roles) -> Scopes {
        roles.resolve(&self.roles, &self.scopes)
    }
}

/// What a new key is to be.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct NewKey {
    /// What people call it.
    pub name: Option<String>,
    /// Its roles, by name.
    pub roles: Vec<String>,
    /// What it may do besides.
    pub scopes: Vec<Scope>,
    /// When it begins, if that is not at once.
    pub not_before: Option<Timestamp>,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
}

impl NewKey {
    /// A key of one role, without an end.
    #[must_use]
    pub fn of(role: super::role::Role) -> NewKey {
        NewKey { roles: vec![role.as_str().to_owned()], ..NewKey::default() }
    }

    /// A key of these scopes alone, without an end.
    #[must_use]
    pub fn with(scopes: &[Scope]) -> NewKey {
        NewKey { scopes: scopes.to_vec(), ..NewKey::default() }
    }

    /// What it may do; or why it can't be made.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, roles: &Roles, now: Timestamp) -> Result<Scopes, KeyError> {
        if self.name.as_deref().is_some_and(|name| !is_name(name)) {
            return Err(KeyError::BadName);
        }
        if self.roles.iter().any(|role| roles.find(role).is_none()) {
            return Err(KeyError::UnknownRole(roles.names()));
        }
        let begin = self.not_before.map_or(now, |begin| begin.max(now));
        if self.expires_at.is_some_and(|end| end <= begin) {
            return Err(KeyError::BadTimes);
        }
        let rights = roles.resolve(&self.roles, &self.scopes);
        let too_many = self.roles.len() > MAX_GRANTS || self.scopes.len() > MAX_GRANTS;
        if rights.is_empty() || too_many { Err(KeyError::NoScope) } else { Ok(rights) }
    }
}

/// No letters that a log or a terminal takes for something else.
fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_alphanumeric() || " .:@/+_-".contains(c);
    (1..=MAX_NAME).contains(&name.chars().count()) && name.chars().all(good)
}
