//! Lease: how long what a principal has opened may stay open.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::table::{KeyTable, Principal};
use crate::clock;

/// Longest time between two looks at the clock, where there is an end: the wall clock may be set
/// meanwhile, and a stream ends within a second all the same.
const LOOK: Duration = Duration::from_millis(500);

/// A principal's right to go on: over when its key is revoked, expires, or may do something else.
pub struct Lease {
    table: watch::Receiver<Arc<KeyTable>>,
    principal: Principal,
}

impl Lease {
    pub(crate) fn new(table: watch::Receiver<Arc<KeyTable>>, principal: Principal) -> Lease {
        Lease { table, principal }
    }

    /// Whether it still holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.table.borrow().standing(&self.principal, clock::now()).is_some()
    }

    /// Returns when it is over. Nothing is lost if this is dropped and asked for again.
    pub async fn over(&mut self) {
        loop {
            let now = clock::now();
            let standing = self.table.borrow_and_update().standing(&self.principal, now);
            let Some(end) = standing else { return };
            let look = async {
                match end {
                    Some(end) => tokio::time::sleep(now.until(end).min(LOOK)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Without a control plane there is nobody to open anything for.
                changed = self.table.changed() => if changed.is_err() { return },
                () = look => {}
            }
        }
    }
}
