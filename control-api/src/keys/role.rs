//! Role: a set of scopes with a name: those that there always are, and those of the configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::scope::{Scope, Scopes};

/// Longest name of a role.
const MAX_ROLE_NAME: usize = 32;
/// Roles of a configuration: more than an organisation tells apart.
const MAX_ROLES: usize = 64;

/// A role that there always is. Whoever makes a request is told things as one of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// People: every scope but that of fetching sealed data.
    Operator,
    /// The program that runs the dialogue: calls, and secure sessions with their details.
    Script,
    /// The AI engine: it may enter a secure session, and learns pass or fail.
    Engine,
    /// The merchant's payment system: it may fetch sealed data, and nothing else.
    Payment,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 4] = [Role::Operator, Role::Script, Role::Engine, Role::Payment];

    /// What the role may do; all else is denied.
    #[must_use]
    pub const fn scopes(self) -> Scopes {
        match self {
            Role::Operator => Scopes::of(&Scope::ALL).without(Scopes::of(&[Scope::SealedFetch])),
            Role::Script => Scopes::of(&[
                Scope::CallsRead,
                Scope::CallsWrite,
                Scope::CallsHangUp,
                Scope::ModelsGrant,
                Scope::SecureEnter,
                Scope::SecureRead,
                Scope::NgControl,
            ]),
            Role::Engine => Scopes::of(&[Scope::CallsHangUp, Scope::SecureEnter]),
            Role::Payment => Scopes::of(&[Scope::SealedFetch]),
        }
    }

    /// Whether the role has `scope`.
    #[must_use]
    pub const fn allows(self, scope: Scope) -> bool {
        self.scopes().has(scope)
    }

    /// As which of the roles somebody with these scopes is told things. Whoever is not sure to be
    /// one who may know more is told what an engine is told, which is the least.
    #[must_use]
    pub const fn told_as(scopes: Scopes) -> Role {
        match (scopes.has(Scope::SecureRead), scopes.has(Scope::SecureCancel)) {
            (true, true) => Role::Operator,
            (true, false) => Role::Script,
            (false, true | false) => Role::Engine,
        }
    }

    /// The word used in files and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Operator => "operator",
            Role::Script => "script",
            Role::Engine => "engine",
            Role::Payment => "payment",
        }
    }
}

/// A role of the configuration, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawRole {
    /// What keys of this role may do.
    pub scopes: Vec<Scope>,
}

/// All roles that there are here, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roles(BTreeMap<String, Scopes>);

impl Default for Roles {
    fn default() -> Roles {
        Roles(Role::ALL.map(|role| (role.as_str().to_owned(), role.scopes())).into())
    }
}

impl Roles {
    /// Those that there always are, and these.
    ///
    /// # Errors
    /// What is wrong with one of these.
    pub fn with(typed: BTreeMap<String, RawRole>) -> Result<Roles, &'static str> {
        let mut roles = Roles::default();
        if typed.len() > MAX_ROLES {
            return Err("must be 64 at most");
        }
        for (name, RawRole { scopes }) in typed {
            if !is_name(&name) {
                return Err("must have names of 1 to 32 of a-z, 0-9, - and _");
            }
            if scopes.is_empty() {
                return Err("must have scopes, one at least");
            }
            if roles.0.insert(name, scopes.into_iter().collect()).is_some() {
                return Err("must not have the name of a role that there always is: operator, \
                            script, engine, payment");
            }
        }
        Ok(roles)
    }

    /// What a role may do; nothing if there is no such role.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Scopes> {
        self.0.get(name).copied()
    }

    /// What keys of these roles, with these scopes besides, may do. A role that there is not (any
    /// more) allows nothing.
    #[must_use]
    pub fn resolve(&self, roles: &[String], scopes: &[Scope]) -> Scopes {
        let of_roles = roles.iter().filter_map(|role| self.find(role));
        of_roles.fold(scopes.iter().copied().collect(), Scopes::and)
    }

    /// All names, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=MAX_ROLE_NAME).contains(&name.len()) && name.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{RawRole, Role, Roles};
    use crate::keys::{Scope, Scopes};

    fn typed(name: &str, scopes: &[Scope]) -> BTreeMap<String, RawRole> {
        BTreeMap::from([(name.to_owned(), RawRole { scopes: scopes.to_vec() })])
    }

    #[test]
    fn roles_add_up_and_what_is_not_said_is_denied() {
        let roles = Roles::with(typed("cashier", &[Scope::SecureEnter])).unwrap();
        let resolve = |names: &[&str], scopes: &[Scope]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            roles.resolve(&names, scopes)
        };
        assert_eq!(resolve(&["cashier"], &[]), Scopes::of(&[Scope::SecureEnter]));
        assert_eq!(resolve(&["engine", "cashier"], &[]), Role::Engine.scopes());
        let both = resolve(&["cashier"], &[Scope::CallsRead]);
        assert_eq!(both, Scopes::of(&[Scope::SecureEnter, Scope::CallsRead]));
        assert!(resolve(&["nobody"], &[]).is_empty() && resolve(&[], &[]).is_empty());
    }

    #[test]
    fn no_role_of_a_configuration_is_another_than_it_seems() {
        let one = &[Scope::CallsRead];
        let bad = [("operator", &one[..]), ("Cashier", one), ("", one), ("a b", one), ("x", &[])];
        for (name, scopes) in bad {
            assert!(Roles::with(typed(name, scopes)).is_err(), "{name}");
        }
    }

    #[test]
    fn nobody_is_told_more_than_its_scopes_say() {
        for role in [Role::Operator, Role::Script, Role::Engine] {
            assert_eq!(Role::told_as(role.scopes()), role);
        }
        assert_eq!(Role::told_as(Role::Payment.scopes()), Role::Engine);
        assert_eq!(Role::told_as(Scopes::of(&[Scope::SecureCancel])), Role::Engine);
        let all_but_reading = Scopes::of(&Scope::ALL).without(Scopes::of(&[Scope::SecureRead]));
        assert_eq!(Role::told_as(all_but_reading), Role::Engine);
    }
}
