//! Outbound: HTTPS requests that Sotto makes itself, to nowhere but where it may.
//!
//! URLs come from the configuration alone. A host is resolved once, every address found is
//! checked by [`address::AddressRules`], and the connection is made to an address that was
//! checked. TLS certificates are always verified; no redirect is ever followed; no proxy is
//! asked for.

pub mod address;
pub mod endpoint;
pub mod post;
pub mod resolve;
pub mod secret_file;
pub mod tls;

pub use address::AddressRules;
pub use endpoint::Endpoint;
pub use post::{Answer, ConnectError, Connection, Outbound, SendError, Stream};
pub use resolve::{Resolve, SystemResolver};
pub use secret_file::FileSecret;
