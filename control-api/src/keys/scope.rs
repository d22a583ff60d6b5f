//! Scope: one thing that a key may be allowed to do, by a name that does not change.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One thing a key may be allowed to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// List and read calls and plans.
    CallsRead,
    /// Open and change calls, hand in keys, end calls.
    CallsWrite,
    /// Hang up, which does not end a secure session.
    CallsHangUp,
    /// Make and end the tokens of calls' models.
    ModelsGrant,
    /// Enter a secure session and learn how it ended.
    SecureEnter,
    /// Read which field is in progress, and why an attempt failed; drive a session field by field.
    SecureRead,
    /// End a secure session early; with `secure:read`, see what only operators see: quantised
    /// progress, and exact counts.
    SecureCancel,
    /// Hear recordings.
    RecordingsRead,
    /// Erase recordings.
    RecordingsErase,
    /// Fetch sealed data, once. The operator's role has it not: whoever may run the relay need not
    /// hold what it sealed, and a copy fetched by the wrong hands is noticed because the right ones
    /// find it gone.
    SealedFetch,
    /// See which webhooks wait or were given up.
    WebhooksRead,
    /// Send webhooks again.
    WebhooksReplay,
    /// See what was done by which key.
    ActivityRead,
    /// Read the audit log.
    AuditRead,
    /// List, make, rotate and revoke keys.
    KeysManage,
    /// Whatever SIP proxies ask by rtpengine's control protocol, secure sessions included.
    NgControl,
}

impl Scope {
    /// All scopes, in the order in which they are told.
    pub const ALL: [Scope; 16] = [
        Scope::CallsRead,
        Scope::CallsWrite,
        Scope::CallsHangUp,
        Scope::ModelsGrant,
        Scope::SecureEnter,
        Scope::SecureRead,
        Scope::SecureCancel,
        Scope::RecordingsRead,
        Scope::RecordingsErase,
        Scope::SealedFetch,
        Scope::WebhooksRead,
        Scope::WebhooksReplay,
        Scope::ActivityRead,
        Scope::AuditRead,
        Scope::KeysManage,
        Scope::NgControl,
    ];

    /// The name in files, the API and its contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::CallsRead => "calls:read",
            Scope::CallsWrite => "calls:write",
            Scope::CallsHangUp => "calls:hang_up",
            Scope::ModelsGrant => "models:grant",
            Scope::SecureEnter => "secure:enter",
            Scope::SecureRead => "secure:read",
            Scope::SecureCancel => "secure:cancel",
            Scope::RecordingsRead => "recordings:read",
            Scope::RecordingsErase => "recordings:erase",
            Scope::SealedFetch => "sealed:fetch",
            Scope::WebhooksRead => "webhooks:read",
            Scope::WebhooksReplay => "webhooks:replay",
            Scope::ActivityRead => "activity:read",
            Scope::AuditRead => "audit:read",
            Scope::KeysManage => "keys:manage",
            Scope::NgControl => "ng:control",
        }
    }

    /// The scope of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    /// All names, for messages.
    #[must_use]
    pub fn names() -> String {
        Scope::ALL.map(Scope::as_str).join(", ")
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scope, D::Error> {
        let name = String::deserialize(deserializer)?;
        // The name is not repeated: it may be anything.
        let unknown = || serde::de::Error::custom(format!("must be one of {}", Scope::names()));
        Scope::parse(&name).ok_or_else(unknown)
    }
}

/// A set of scopes; none by default.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Scopes(u32);

impl Scopes {
    /// The set of these.
    #[must_use]
    pub const fn of(scopes: &[Scope]) -> Scopes {
        let (mut bits, mut at) = (0, 0);
        while at < scopes.len() {
            bits |= 1 << scopes[at] as u32;
            at += 1;
        }
        Scopes(bits)
    }

    /// Whether the scope is among them.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u32) != 0
    }

    /// Whether one of the scopes is among them.
    #[must_use]
    pub fn has_any(self, scopes: &[Scope]) -> bool {
        scopes.iter().any(|scope| self.has(*scope))
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Scopes) -> Scopes {
        Scopes(self.0 | others.0)
    }

    /// Those of these that are not among `others`.
    #[must_use]
    pub const fn without(self, others: Scopes) -> Scopes {
        Scopes(self.0 & !others.0)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Scopes {
        scopes.into_iter().fold(Scopes::default(), |all, scope| all.and(Scopes::of(&[scope])))
    }
}

#[cfg(test)]
mod tests {
    use super::{Scope, Scopes};

    #[test]
    fn each_scope_has_a_name_and_a_place_of_its_own() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
            assert_eq!(Scopes::of(&[scope]).iter().collect::<Vec<_>>(), [scope]);
        }
        assert_eq!(Scopes::of(&Scope::ALL).iter().count(), Scope::ALL.len());
        assert_eq!((Scope::parse(""), Scope::parse("calls:*")), (None, None));
    }

    #[test]
    fn sets_are_sets() {
        let (few, more) = (Scopes::of(&[Scope::CallsRead]), Scopes::of(&Scope::ALL));
        assert!(few.without(more).is_empty() && !more.without(few).is_empty());
        assert!(!few.has(Scope::CallsWrite) && !few.has_any(&[]) && Scopes::default().is_empty());
        assert_eq!(few.and(few), few);
    }
}
