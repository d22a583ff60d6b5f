//! Dialogs: the calls of proxies, by Call-ID.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard};

use super::dialog::Dialog;
use super::refused::Refused;
use crate::{Control, clock};

/// Most calls that are known at a time, those that are just over included: more than media ports
/// allow.
const MAX_DIALOGS: usize = 65_536;
/// Longest Call-ID that is taken, in octets; those in use have 30 to 80.
const MAX_CALL_ID: usize = 255;
/// How often calls that are over are forgotten, and those that nobody answers are ended.
const TEND_INTERVAL: Duration = Duration::from_secs(10);

/// A call's place, empty until it is open.
type Slot = Arc<Mutex<Option<Dialog>>>;
/// A call that lives, for one request alone.
pub(super) type Live = OwnedMappedMutexGuard<Option<Dialog>, Dialog>;

/// The calls of proxies.
#[derive(Default)]
pub(super) struct Dialogs(DashMap<Box<str>, Slot>);

impl Dialogs {
    /// The place of a call that may be new, for this request alone: those for one call are worked
    /// on one after the other.
    pub(super) async fn enter(
        &self,
        call_id: &str,
    ) -> Result<OwnedMutexGuard<Option<Dialog>>, Refused> {
        if call_id.is_empty() || call_id.len() > MAX_CALL_ID {
            return Err(Refused::because(format!("call-id must have 1 to {MAX_CALL_ID} octets")));
        }
        if self.0.len() >= MAX_DIALOGS && !self.0.contains_key(call_id) {
            return Err(Refused::because("the relay holds as many calls as it may"));
        }
        // Cloned under the map's lock, so that it is not forgotten meanwhile.
        let slot = Arc::clone(&*self.0.entry(call_id.into()).or_default());
        let mut guard = slot.lock_owned().await;
        if guard.as_ref().is_some_and(Dialog::is_over) {
            *guard = None;
        }
        Ok(guard)
    }

    /// The place of a call that lives; `None` if there is none.
    pub(super) async fn find(&self, call_id: &str) -> Option<Live> {
        let slot = self.0.get(call_id).map(|slot| Arc::clone(&slot))?;
        let place = slot.lock_owned().await;
        OwnedMutexGuard::try_map(place, |it| it.as_mut().filter(|it| !it.is_over())).ok()
    }

    /// Call-IDs of calls that live, `limit` at most.
    pub(super) fn list(&self, limit: usize) -> Vec<String> {
        let lives = |slot: &Slot| match slot.try_lock() {
            Ok(dialog) => dialog.as_ref().is_some_and(|dialog| !dialog.is_over()),
            // Somebody is at it.
            Err(_) => true,
        };
        let living = self.0.iter().filter(|entry| lives(entry.value()));
        living.take(limit).map(|entry| entry.key().to_string()).collect()
    }

    /// Forgets calls that are over.
    fn forget(&self) {
        self.0.retain(|_, slot| {
            let is_free = Arc::strong_count(slot) == 1;
            let is_over =
                slot.try_lock().is_ok_and(|dialog| dialog.as_ref().is_none_or(Dialog::is_over));
            !(is_free && is_over)
        });
    }

    /// Calls that nobody has answered for too long.
    fn unanswered(&self) -> Vec<Slot> {
        let now = clock::monotonic();
        let is_due = |slot: &Slot| {
            slot.try_lock().is_ok_and(|it| it.as_ref().is_some_and(|it| it.is_forgotten(now)))
        };
        let slots = self.0.iter().filter(|entry| is_due(entry.value()));
        slots.map(|entry| Arc::clone(entry.value())).collect()
    }
}

/// Ends calls that nobody answers, and forgets those that are over, until the process stops.
pub async fn tend(control: Arc<Control>) {
    let mut stopping = control.stopping();
    while tokio::time::timeout(TEND_INTERVAL, stopping.wait_for(|it| *it)).await.is_err() {
        for slot in control.ng.dialogs.unanswered() {
            if let Some(dialog) = slot.lock().await.as_mut() {
                dialog.give_up(&control).await;
            }
        }
        control.ng.dialogs.forget();
    }
}
