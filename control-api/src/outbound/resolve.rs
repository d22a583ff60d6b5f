//! Resolve: names to addresses, once a request.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;

/// Most addresses of a name that are looked at; more are not tried.
pub const MAX_ADDRESSES: usize = 16;

/// The addresses of a name, when they are known.
pub type Addresses<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Finds the addresses of a name. A trait, so that tests can say what a name leads to.
pub trait Resolve: Send + Sync {
    /// The addresses of `name`.
    fn resolve<'a>(&'a self, name: &'a str) -> Addresses<'a>;
}

/// The system's resolver.
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Addresses<'a> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).take(MAX_ADDRESSES).collect())
        })
    }
}
