//! Keys: who may call the API.
//!
//! ```text
//! sotto keys, REST ──► KeyFile ──► keys.json   (keyed hashes)
//!                         │        keys.pepper (this server's alone)
//!                         ▼
//!      token ──► KeyTable::verify ──► Principal ──► Permit ──► Lease, for what stays open
//! ```

pub mod api;
pub mod command;
mod error;
mod file;
mod lease;
mod pepper;
mod record;
mod role;
mod scope;
mod table;
mod token;
mod watch;

pub use error::KeyError;
pub use file::{DEFAULT_OVERLAP, KeyFile, KeyStore};
pub use lease::Lease;
pub use record::{KeyRecord, KeyState, MAX_GRANTS, NewKey};
pub use role::{RawRole, Role, Roles};
pub use scope::{Scope, Scopes};
pub use table::{Denied, KeyTable, Principal, Proof};
pub(crate) use token::hex;
pub use token::{KeyId, Region, TOKEN_PREFIX, Token};
pub use watch::watch;
