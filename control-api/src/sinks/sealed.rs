//! SealedStore: sealed data on its way to the merchant, in memory only, fetched once.
//!
//! It never goes to disk: a security code may be inside, which must not be stored even encrypted
//! (PCI DSS 3.3.1).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use relay::switchboard::{CallId, SessionId};

/// Most calls whose sealed data waits or is remembered to have been fetched; at 2 kB each they
/// take 8 MB.
pub const MAX_SEALED: usize = 4096;
/// How long it is remembered that data was fetched or has expired.
pub const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// Sealed data, to be fetched.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The session it is of.
    pub session: SessionId,
    /// The key it is sealed to.
    pub key_id: String,
    /// The data (RFC 7516, compact serialization).
    pub jwe: String,
}

/// Why there is nothing to fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// Nothing was sealed for this call, or too long ago.
    Never,
    /// It has been fetched.
    Fetched,
    /// Nobody came in time.
    Expired,
}

/// There is no room for more sealed data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too much sealed data waits to be fetched")]
pub struct Full;

enum Entry {
    Waiting { sealed: Sealed, until: Instant },
    Fetched { until: Instant },
    Expired { until: Instant },
}

/// What waits to be fetched: of each call the last session's.
#[derive(Default)]
pub struct SealedStore {
    entries: Mutex<HashMap<CallId, Entry>>,
    fetched: AtomicU64,
    expired: AtomicU64,
}

impl SealedStore {
    /// Keeps sealed data for `kept`. An earlier session's of the same call makes room for it.
    ///
    /// # Errors
    /// [`Full`]: what waits is never pushed out by what comes.
    pub fn put(
        &self,
        now: Instant,
        call: CallId,
        sealed: Sealed,
        kept: Duration,
    ) -> Result<(), Full> {
        let mut entries = self.lock();
        self.forget(&mut entries, now);
        if entries.len() >= MAX_SEALED && !entries.contains_key(&call) {
            let past = entries.iter().find(|(_, entry)| !matches!(entry, Entry::Waiting { .. }));
            let past = past.map(|(call, _)| *call).ok_or(Full)?;
            entries.remove(&past);
        }
        entries.insert(call, Entry::Waiting { sealed, until: now + kept });
        Ok(())
    }

    /// Takes a call's sealed data: whoever comes first has it, and nobody after.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn take(&self, now: Instant, call: CallId) -> Result<Sealed, Gone> {
        let mut entries = self.lock();
        self.forget(&mut entries, now);
        let entry = entries.get_mut(&call).ok_or(Gone::Never)?;
        match std::mem::replace(entry, Entry::Fetched { until: now + REMEMBERED }) {
            Entry::Waiting { sealed, .. } => {
                self.fetched.fetch_add(1, Ordering::Relaxed);
                Ok(sealed)
            }
            Entry::Fetched { until } => {
                *entry = Entry::Fetched { until };
                Err(Gone::Fetched)
            }
            Entry::Expired { until } => {
                *entry = Entry::Expired { until };
                Err(Gone::Expired)
            }
        }
    }

    /// Forgets what has expired.
    pub fn expire(&self, now: Instant) {
        self.forget(&mut self.lock(), now);
    }

    /// How much sealed data waits.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.lock().values().filter(|entry| matches!(entry, Entry::Waiting { .. })).count() as u64
    }

    /// How much was fetched, and how much nobody came for in time.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        (self.fetched.load(Ordering::Relaxed), self.expired.load(Ordering::Relaxed))
    }

    fn forget(&self, entries: &mut HashMap<CallId, Entry>, now: Instant) {
        entries.retain(|_, entry| match entry {
            Entry::Waiting { until, .. } if *until <= now => {
                self.expired.fetch_add(1, Ordering::Relaxed);
                *entry = Entry::Expired { until: now + REMEMBERED };
                true
            }
            Entry::Waiting { .. } => true,
            Entry::Fetched { until } | Entry::Expired { until } => *until > now,
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use relay::switchboard::{CallId, SessionId};

    use super::{Full, Gone, MAX_SEALED, REMEMBERED, Sealed, SealedStore};
    use crate::clock;

    const CALL: CallId = CallId(1);
    const KEPT: Duration = Duration::from_secs(600);

    fn sealed(session: u128) -> Sealed {
        Sealed { session: SessionId(session), key_id: "k".to_owned(), jwe: "a.b.c".to_owned() }
    }

    #[test]
    fn data_is_fetched_once() {
        let (store, now) = (SealedStore::default(), clock::monotonic());
        assert_eq!(store.take(now, CALL).err(), Some(Gone::Never));
        store.put(now, CALL, sealed(7), KEPT).unwrap();
        assert!(store.take(now, CALL).is_ok_and(|it| it == sealed(7)));
        assert_eq!(store.take(now, CALL).err(), Some(Gone::Fetched));
        assert_eq!(store.take(now + REMEMBERED, CALL).err(), Some(Gone::Never));
    }

    #[test]
    fn data_that_nobody_fetches_expires() {
        let (store, now) = (SealedStore::default(), clock::monotonic());
        store.put(now, CALL, sealed(7), KEPT).unwrap();
        store.expire(now + KEPT - Duration::from_millis(1));
        assert_eq!((store.totals(), store.waiting()), ((0, 0), 1));
        store.expire(now + KEPT);
        assert_eq!((store.totals(), store.waiting()), ((0, 1), 0));
        assert_eq!(store.take(now + KEPT, CALL).err(), Some(Gone::Expired));
        assert_eq!(store.take(now + KEPT + REMEMBERED, CALL).err(), Some(Gone::Never));
    }

    #[test]
    fn a_later_session_takes_the_place_of_an_earlier_one() {
        let (store, now) = (SealedStore::default(), clock::monotonic());
        store.put(now, CALL, sealed(7), KEPT).unwrap();
        store.put(now, CALL, sealed(8), KEPT).unwrap();
        assert!(store.take(now, CALL).is_ok_and(|it| it == sealed(8)));
    }

    #[test]
    fn what_waits_is_not_pushed_out() {
        let (store, now) = (SealedStore::default(), clock::monotonic());
        for call in 0..MAX_SEALED as u128 {
            store.put(now, CallId(call), sealed(call), KEPT).unwrap();
        }
        assert_eq!(store.put(now, CallId(u128::MAX), sealed(0), KEPT), Err(Full));
        assert!(store.take(now, CallId(3)).is_ok());
        store.put(now, CallId(u128::MAX), sealed(0), KEPT).unwrap();
        assert_eq!(store.waiting(), MAX_SEALED as u64);
    }
}
