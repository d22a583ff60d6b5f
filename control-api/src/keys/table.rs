//! KeyTable: the keys in memory: whose a token is, and whether that still holds.

use std::collections::HashMap;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::error::KeyError;
use super::pepper::{MAC_OCTETS, Pepper};
use super::record::KeyRecord;
use super::role::Role;
use super::scope::{Scope, Scopes};
use super::token::{self, KeyId, NoToken, Region, Token};
use crate::chance;
use crate::clock::Timestamp;

/// What a key without a role is told as.
const NO_ROLE: &str = "scopes";

/// Who makes a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// The key used; for a token of an identity provider, a name made of its issuer and subject.
    pub key: KeyId,
    /// As which of the standing roles it is told things.
    pub role: Role,
    /// The names of its roles, for people.
    pub roles: Arc<str>,
    /// What it may do.
    pub scopes: Scopes,
    /// Where it is taken.
    pub region: Region,
    /// By what it came in.
    pub proof: Proof,
}

/// By what a principal came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// A key of this server. How long it is valid is in the table, since that may change.
    Key,
    /// A token of an identity provider, until it expires.
    Token(Timestamp),
}

impl Principal {
    /// One with a role, for tests.
    #[cfg(test)]
    pub(crate) fn of_role(role: Role) -> Principal {
        let (key, roles) = (KeyId::new("tester"), role.as_str().into());
        let (scopes, region) = (role.scopes(), Region::default());
        Principal { key, role, roles, scopes, region, proof: Proof::Key }
    }

    /// Whether it may do this.
    #[must_use]
    pub const fn allows(&self, scope: Scope) -> bool {
        self.scopes.has(scope)
    }
}

/// Why a token is not taken. The client is told the same of each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Denied {
    /// There is none, or more than one.
    Missing,
    /// It is in the URL, where it would get into logs.
    InUrl,
    /// It is none of ours.
    Malformed,
    /// It has a typing mistake.
    Checksum,
    /// It was made for another region.
    ForeignRegion,
    /// It was made on another server, whose key file was brought here.
    ForeignServer,
    /// There is no such key, or the secret is wrong.
    Wrong,
    /// It is not valid yet.
    Pending,
    /// It is not valid any more.
    Expired,
    /// It was ended.
    Revoked,
    /// A token of an identity provider, which is not good for this.
    BadJwt,
    /// The keys of the identity provider are not to be had.
    NoJwks,
    /// A ticket that is used, too old, or for something else.
    Ticket,
    /// A model's token that is not one of the call's.
    ModelToken,
}

impl Denied {
    /// All of them, for figures.
    pub const ALL: [Denied; 14] = [
        Denied::Missing,
        Denied::InUrl,
        Denied::Malformed,
        Denied::Checksum,
        Denied::ForeignRegion,
        Denied::ForeignServer,
        Denied::Wrong,
        Denied::Pending,
        Denied::Expired,
        Denied::Revoked,
        Denied::BadJwt,
        Denied::NoJwks,
        Denied::Ticket,
        Denied::ModelToken,
    ];

    /// The word in figures and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Denied::Missing => "missing",
            Denied::InUrl => "in_url",
            Denied::Malformed => "malformed",
            Denied::Checksum => "checksum",
            Denied::ForeignRegion => "foreign_region",
            Denied::ForeignServer => "foreign_server",
            Denied::Wrong => "wrong",
            Denied::Pending => "pending",
            Denied::Expired => "expired",
            Denied::Revoked => "revoked",
            Denied::BadJwt => "bad_jwt",
            Denied::NoJwks => "no_jwks",
            Denied::Ticket => "ticket",
            Denied::ModelToken => "model_token",
        }
    }
}

/// Verifies tokens.
pub struct KeyTable {
    region: Region,
    pepper: Option<Arc<Pepper>>,
    keys: HashMap<KeyId, Kept>,
    nobody: [u8; MAC_OCTETS],
}

struct Kept {
    hash: [u8; MAC_OCTETS],
    principal: Principal,
    /// Of another server, another region.
    foreign: Option<Denied>,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    is_revoked: bool,
}

impl Kept {
    /// Whether it is valid, and why not.
    fn standing(&self, now: Timestamp) -> Result<(), Denied> {
        if let Some(foreign) = self.foreign {
            Err(foreign)
        } else if self.is_revoked {
            Err(Denied::Revoked)
        } else if self.expires_at.is_some_and(|end| end <= now) {
            Err(Denied::Expired)
        } else if self.not_before.is_some_and(|begin| now < begin) {
            Err(Denied::Pending)
        } else {
            Ok(())
        }
    }
}

impl KeyTable {
    /// A table without keys.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub(super) fn new(region: Region, pepper: Option<Arc<Pepper>>) -> Result<KeyTable, KeyError> {
        Ok(KeyTable { region, pepper, keys: HashMap::new(), nobody: chance::octets()? })
    }

    /// Takes in a key, which may do what `scopes` say.
    pub(super) fn keep(&mut self, record: &KeyRecord, scopes: Scopes, hash: [u8; MAC_OCTETS]) {
        let is_ours = self.pepper.as_ref().is_some_and(|pepper| pepper.mark() == record.server);
        let foreign = match (is_ours, record.region == self.region) {
            (true, true) => None,
            (true, false) => Some(Denied::ForeignRegion),
            (false, true | false) => Some(Denied::ForeignServer),
        };
        let roles = match record.roles.is_empty() {
            true => NO_ROLE.into(),
            false => record.roles.join("+").into(),
        };
        let principal = Principal {
            key: record.id.clone(),
            role: Role::told_as(scopes),
            roles,
            scopes,
            region: record.region.clone(),
            proof: Proof::Key,
        };
        let KeyRecord { not_before, expires_at, revoked_at, .. } = *record;
        let is_revoked = revoked_at.is_some();
        let kept = Kept { hash, principal, foreign, not_before, expires_at, is_revoked };
        self.keys.insert(record.id.clone(), kept);
    }

    /// Whether no request can ever be let in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a principal that was verified is still one, with the same rights: `None` if not, and
    /// otherwise until when, as far as is known now.
    #[must_use]
    pub fn standing(&self, principal: &Principal, now: Timestamp) -> Option<Option<Timestamp>> {
        match principal.proof {
            Proof::Token(expires) => (now < expires).then_some(Some(expires)),
            Proof::Key => {
                let kept = self.keys.get(&principal.key)?;
                let stands = kept.standing(now).is_ok() && kept.principal == *principal;
                stands.then_some(kept.expires_at)
            }
        }
    }

    /// The keys that were not ended, in no order.
    pub fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.keys.values().filter(|kept| !kept.is_revoked).map(|kept| &kept.principal)
    }

    /// The key that a token names, whether it is that key's or not: for the audit log, so that
    /// guesses at a key's secret are told.
    #[must_use]
    pub fn named(&self, token: &str) -> Option<KeyId> {
        let claimed = token::read(token).ok()?;
        self.keys.get_key_value(&KeyId::new(claimed.id)).map(|(known, _)| known.clone())
    }

    /// Whose token it is, if it is a valid one.
    ///
    /// The id is public; the secret is hashed and compared in constant time, and against a hash
    /// of nothing for an unknown id, so that the time taken tells neither. Where a key stands is
    /// looked at last: only who holds it takes longer by it.
    ///
    /// # Errors
    /// Why it is not.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Principal, Denied> {
        let claimed = token::read(token).map_err(|no| match no {
            NoToken::Form => Denied::Malformed,
            NoToken::Checksum => Denied::Checksum,
        })?;
        let kept = self.keys.get(&KeyId::new(claimed.id));
        let expected = kept.map_or(&self.nobody, |kept| &kept.hash);
        let hash = self.pepper.as_ref().map_or(self.nobody, |pepper| pepper.hash(claimed.secret));
        let same: bool = hash.ct_eq(expected).into();
        if claimed.region != self.region.as_str() {
            return Err(Denied::ForeignRegion);
        }
        match kept {
            Some(kept) if same => kept.standing(now).map(|()| kept.principal.clone()),
            // Its hash was made with another pepper: the secret can be neither right nor wrong.
            Some(kept) if kept.foreign == Some(Denied::ForeignServer) => Err(Denied::ForeignServer),
            Some(_) | None => Err(Denied::Wrong),
        }
    }
}

/// The part of a new token that is hashed.
pub(super) fn secret_of(token: &Token) -> &str {
    token::read(token.reveal()).map_or("", |claimed| claimed.secret)
}
