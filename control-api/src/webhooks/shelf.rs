//! Shelf: deliveries that wait and those that were given up, one file each, so that a restart
//! loses none.
//!
//! `pending/<id>.json` waits, `dead/<id>.json` was given up. A file is written beside its place
//! and renamed into it. Which delivery is when is kept in memory too; bodies are on disk alone.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::delivery::{Delivery, DeliveryId};
use crate::clock::Timestamp;

/// Most deliveries that wait: a day of a busy relay whose receivers are all down. Files have under
/// 1 kB.
pub const MAX_PENDING: usize = 10_000;
/// Most deliveries given up that are kept for a replay.
pub const MAX_DEAD: usize = 10_000;

/// Where a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shelved {
    /// It waits for its next attempt.
    Pending,
    /// It was given up, and may be sent again by hand.
    Dead,
}

/// What is known of a delivery without its file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Card {
    /// The delivery, without its body.
    pub delivery: Delivery,
    /// Where it stands.
    pub state: Shelved,
    /// An attempt is being made.
    in_flight: bool,
}

/// All deliveries.
pub struct Shelf {
    directory: PathBuf,
    max_pending: usize,
    cards: Mutex<BTreeMap<DeliveryId, Card>>,
}

impl Shelved {
    /// The word for it, which is also its folder.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Shelved::Pending => "pending",
            Shelved::Dead => "dead",
        }
    }
}

impl Shelf {
    /// Opens the shelf in `directory`, and finds what an earlier process left there.
    ///
    /// # Errors
    /// If the folders can't be made or read.
    pub fn open(directory: &Path, max_pending: usize) -> io::Result<Shelf> {
        let mut cards = BTreeMap::new();
        for state in [Shelved::Pending, Shelved::Dead] {
            let folder = directory.join(state.as_str());
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                match read_file(&path) {
                    Some((id, mut delivery)) => {
                        delivery.body = String::new();
                        cards.insert(id, Card { delivery, state, in_flight: false });
                    }
                    None => set_aside(&path),
                }
            }
        }
        Ok(Shelf { directory: directory.to_owned(), max_pending, cards: Mutex::new(cards) })
    }

    /// Puts a new delivery on the shelf. If too many wait, the oldest is given up.
    ///
    /// # Errors
    /// If its file can't be written.
    pub fn add(&self, id: DeliveryId, delivery: &Delivery) -> io::Result<()> {
        self.write(Shelved::Pending, id, delivery)?;
        let card = Card {
            delivery: Delivery { body: String::new(), ..delivery.clone() },
            state: Shelved::Pending,
            in_flight: false,
        };
        let mut cards = self.lock();
        cards.insert(id, card);
        let pending = cards.values().filter(|card| card.state == Shelved::Pending).count();
        let waits = |card: &Card| card.state == Shelved::Pending && !card.in_flight;
        let oldest = cards.iter().find(|(_, card)| waits(card)).map(|(id, _)| *id);
        drop(cards);
        if let Some(oldest) = oldest.filter(|_| pending > self.max_pending) {
            tracing::warn!(delivery = oldest.text(), "too many webhooks wait: one is given up");
            self.bury(oldest, "too-many-waiting")?;
        }
        Ok(())
    }

    /// The delivery to `webhook` that is due next, marked as in flight, with its body.
    #[must_use]
    pub fn claim(&self, webhook: &str, now: Timestamp) -> Option<(DeliveryId, Delivery)> {
        let mut cards = self.lock();
        let (id, card) = cards
            .iter_mut()
            .filter(|(_, card)| card.waits_for(webhook))
            .min_by_key(|(id, card)| (card.delivery.next_ms, **id))?;
        if card.delivery.next_ms > now.unix_ms() {
            return None;
        }
        card.in_flight = true;
        let id = *id;
        drop(cards);
        let found = read_file(&self.path(Shelved::Pending, id));
        if found.is_none() {
            tracing::error!(delivery = id.text(), "the file of a webhook is gone or damaged");
            self.lock().remove(&id);
        }
        found
    }

    /// When the next delivery to `webhook` is due.
    #[must_use]
    pub fn next_due(&self, webhook: &str) -> Option<Timestamp> {
        let cards = self.lock();
        let waiting = cards.values().filter(|card| card.waits_for(webhook));
        waiting.map(|card| Timestamp::from_unix_ms(card.delivery.next_ms)).min()
    }

    /// It was delivered: the file goes.
    pub fn delivered(&self, id: DeliveryId) {
        self.lock().remove(&id);
        if let Err(error) = fs::remove_file(self.path(Shelved::Pending, id)) {
            tracing::error!(delivery = id.text(), %error, "a delivered webhook stays on disk");
        }
    }

    /// An attempt failed; the next is due at `next`, or it is given up.
    ///
    /// # Errors
    /// If the file can't be written; the delivery is tried again all the same.
    pub fn failed(
        &self,
        id: DeliveryId,
        mut delivery: Delivery,
        failure: &str,
        next: Option<Timestamp>,
    ) -> io::Result<()> {
        let Some(next) = next else { return self.bury(id, failure) };
        (delivery.next_ms, delivery.failure) = (next.unix_ms(), Some(failure.to_owned()));
        delivery.attempts += 1;
        let written = self.write(Shelved::Pending, id, &delivery);
        if let Some(card) = self.lock().get_mut(&id) {
            card.in_flight = false;
            card.delivery = Delivery { body: String::new(), ..delivery };
        }
        written
    }

    /// Puts a delivery back to wait, due `now`, with all its attempts before it. Returns its card;
    /// `None` if there is none.
    ///
    /// # Errors
    /// If its file can't be moved.
    pub fn replay(&self, id: DeliveryId, now: Timestamp) -> io::Result<Option<Card>> {
        let Some(before) = self.card(id) else { return Ok(None) };
        let Some((_, mut delivery)) = read_file(&self.path(before.state, id)) else {
            return Ok(None);
        };
        (delivery.attempts, delivery.next_ms) = (0, now.unix_ms());
        self.write(Shelved::Pending, id, &delivery)?;
        if before.state == Shelved::Dead {
            fs::remove_file(self.path(Shelved::Dead, id))?;
        }
        let mut cards = self.lock();
        let Some(card) = cards.get_mut(&id) else { return Ok(None) };
        card.state = Shelved::Pending;
        card.delivery = Delivery { body: String::new(), ..delivery };
        Ok(Some(card.clone()))
    }

    /// Gives up what waits for webhooks that are no longer configured.
    ///
    /// # Errors
    /// If a file can't be moved.
    pub fn keep_only(&self, webhooks: &[&str]) -> io::Result<()> {
        let gone = |card: &Card| {
            card.state == Shelved::Pending && !webhooks.contains(&card.delivery.webhook.as_str())
        };
        let gone: Vec<DeliveryId> =
            self.lock().iter().filter(|(_, card)| gone(card)).map(|(id, _)| *id).collect();
        gone.into_iter().try_for_each(|id| self.bury(id, "webhook-removed"))
    }

    /// Up to `limit` deliveries of that state, or of any, older than `before`, newest first.
    #[must_use]
    pub fn page(
        &self,
        state: Option<Shelved>,
        before: Option<DeliveryId>,
        limit: usize,
    ) -> Vec<(DeliveryId, Card)> {
        let cards = self.lock();
        let newest_first = cards.iter().rev();
        let of_state = newest_first.filter(|(id, card)| {
            state.is_none_or(|state| card.state == state)
                && before.is_none_or(|before| **id < before)
        });
        of_state.take(limit).map(|(id, card)| (*id, card.clone())).collect()
    }

    /// How many wait, and how many were given up.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let cards = self.lock();
        let dead = cards.values().filter(|card| card.state == Shelved::Dead).count() as u64;
        (cards.len() as u64 - dead, dead)
    }

    /// Moves a delivery among those given up; the oldest of them goes for good if there are too
    /// many.
    fn bury(&self, id: DeliveryId, failure: &str) -> io::Result<()> {
        let pending = self.path(Shelved::Pending, id);
        let Some((_, mut delivery)) = read_file(&pending) else {
            self.lock().remove(&id);
            return Ok(());
        };
        delivery.failure = Some(failure.to_owned());
        self.write(Shelved::Dead, id, &delivery)?;
        fs::remove_file(&pending)?;
        let (webhook, attempts) = (&delivery.webhook, delivery.attempts);
        tracing::error!(delivery = id.text(), webhook, attempts, failure, "a webhook is given up");
        let mut cards = self.lock();
        let delivery = Delivery { body: String::new(), ..delivery };
        cards.insert(id, Card { delivery, state: Shelved::Dead, in_flight: false });
        let dead = |card: &Card| card.state == Shelved::Dead;
        let oldest = cards.iter().find(|(_, card)| dead(card)).map(|(id, _)| *id);
        let too_many = cards.values().filter(|card| dead(card)).count() > MAX_DEAD;
        if let Some(oldest) = oldest.filter(|_| too_many) {
            cards.remove(&oldest);
            drop(cards);
            fs::remove_file(self.path(Shelved::Dead, oldest))?;
        }
        Ok(())
    }

    fn card(&self, id: DeliveryId) -> Option<Card> {
        self.lock().get(&id).cloned()
    }

    fn write(&self, state: Shelved, id: DeliveryId, delivery: &Delivery) -> io::Result<()> {
        let path = self.path(state, id);
        let next = path.with_extension("new");
        let text = serde_json::to_vec(delivery)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&next)?;
        file.write_all(&text).and_then(|()| file.sync_data())?;
        fs::rename(&next, &path)
    }

    fn path(&self, state: Shelved, id: DeliveryId) -> PathBuf {
        self.directory.join(state.as_str()).join(id.text()).with_extension("json")
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeliveryId, Card>> {
        self.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Card {
    fn waits_for(&self, webhook: &str) -> bool {
        self.state == Shelved::Pending && !self.in_flight && self.delivery.webhook == webhook
    }
}

fn read_file(path: &Path) -> Option<(DeliveryId, Delivery)> {
    let name = path.file_name()?.to_str()?;
    let id = DeliveryId::parse(name.strip_suffix(".json")?)?;
    let text = fs::read(path).ok()?;
    serde_json::from_slice(&text).ok().map(|delivery| (id, delivery))
}

/// What a crash left half written goes; what is damaged stays, under another name.
fn set_aside(path: &Path) {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let done = match extension {
        Some("new") => fs::remove_file(path),
        Some("json") => {
            tracing::error!(file = %path.display(), "a webhook's file is damaged and set aside");
            fs::rename(path, path.with_extension("damaged"))
        }
        Some(_) | None => Ok(()),
    };
    if let Err(error) = done {
        tracing::error!(file = %path.display(), %error, "a webhook's file can't be set aside");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::{Shelf, Shelved};
    use crate::clock::Timestamp;
    use crate::webhooks::delivery::{Delivery, DeliveryId};

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sotto-shelf-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    fn delivery(webhook: &str, next_ms: u64) -> Delivery {
        let text = str::to_owned;
        Delivery {
            webhook: text(webhook),
            kind: text("call.closed"),
            call_id: text("call_1"),
            created_ms: 1,
            attempts: 0,
            next_ms,
            failure: None,
            body: text("{\"x\":1}"),
        }
    }

    #[test]
    fn a_delivery_is_claimed_when_due_and_survives_a_restart() {
        let folder = scratch("claim");
        let shelf = Shelf::open(&folder, 10).unwrap();
        let id = DeliveryId::new();
        shelf.add(id, &delivery("a", 50)).unwrap();
        assert!(shelf.claim("a", at(49)).is_none() && shelf.claim("b", at(99)).is_none());
        assert_eq!(shelf.next_due("a"), Some(at(50)));
        let (claimed, mut sent) = shelf.claim("a", at(50)).unwrap();
        assert_eq!((claimed, sent.body.as_str()), (id, "{\"x\":1}"));
        assert!(shelf.claim("a", at(99)).is_none(), "it is in flight");
        assert_eq!(shelf.next_due("a"), None);
        shelf.failed(id, sent.clone(), "status-500", Some(at(80))).unwrap();

        let path = folder.join("pending").join(format!("{}.json", id.text()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let shelf = Shelf::open(&folder, 10).unwrap();
        assert!(shelf.claim("a", at(79)).is_none());
        let again = shelf.claim("a", at(80)).unwrap().1;
        (sent.attempts, sent.next_ms, sent.failure) = (1, 80, Some("status-500".to_owned()));
        assert_eq!(again, sent);
        shelf.delivered(id);
        assert!(!path.exists() && shelf.counts() == (0, 0));
    }

    #[test]
    fn what_is_given_up_can_be_sent_again() {
        let folder = scratch("replay");
        let shelf = Shelf::open(&folder, 10).unwrap();
        let id = DeliveryId::new();
        shelf.add(id, &delivery("a", 0)).unwrap();
        let (_, sent) = shelf.claim("a", at(0)).unwrap();
        shelf.failed(id, sent, "status-410", None).unwrap();
        assert_eq!(shelf.counts(), (0, 1));
        let shelf = Shelf::open(&folder, 10).unwrap();
        assert_eq!(shelf.page(Some(Shelved::Dead), None, 9).len(), 1);
        assert!(shelf.claim("a", at(99)).is_none());
        assert!(shelf.replay(DeliveryId::new(), at(7)).unwrap().is_none());
        let card = shelf.replay(id, at(7)).unwrap().unwrap();
        assert_eq!((card.state, card.delivery.attempts), (Shelved::Pending, 0));
        assert_eq!(shelf.claim("a", at(7)).unwrap().1.body, "{\"x\":1}");
        assert_eq!(fs::read_dir(folder.join("dead")).unwrap().count(), 0);
    }

    #[test]
    fn when_too_many_wait_the_oldest_is_given_up() {
        let shelf = Shelf::open(&scratch("full"), 2).unwrap();
        let ids: Vec<_> = (0..3).map(|_| DeliveryId::new()).collect();
        for id in &ids {
            shelf.add(*id, &delivery("a", 0)).unwrap();
        }
        assert_eq!(shelf.counts(), (2, 1));
        assert_eq!(shelf.page(Some(Shelved::Dead), None, 9)[0].0, ids[0]);
        let pending = shelf.page(Some(Shelved::Pending), None, 1);
        assert_eq!(pending[0].0, ids[2], "newest first");
        assert_eq!(shelf.page(Some(Shelved::Pending), Some(ids[2]), 9)[0].0, ids[1]);
    }

    #[test]
    fn damaged_and_unfinished_files_are_set_aside() {
        let folder = scratch("damaged");
        drop(Shelf::open(&folder, 2).unwrap());
        let (bad, new) = (DeliveryId::new(), DeliveryId::new());
        fs::write(folder.join(format!("pending/{}.json", bad.text())), "{").unwrap();
        fs::write(folder.join(format!("pending/{}.new", new.text())), "{").unwrap();
        let shelf = Shelf::open(&folder, 2).unwrap();
        assert_eq!(shelf.counts(), (0, 0));
        let left: Vec<_> = fs::read_dir(folder.join("pending")).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
        assert!(left[0].path().to_str().unwrap().ends_with(".damaged"));
    }

    #[test]
    fn what_waits_for_a_webhook_that_is_gone_is_given_up() {
        let shelf = Shelf::open(&scratch("gone"), 9).unwrap();
        shelf.add(DeliveryId::new(), &delivery("a", 0)).unwrap();
        shelf.add(DeliveryId::new(), &delivery("b", 0)).unwrap();
        shelf.keep_only(&["b"]).unwrap();
        assert_eq!(shelf.counts(), (1, 1));
        let (_, dead) = &shelf.page(Some(Shelved::Dead), None, 9)[0];
        assert_eq!(dead.delivery.failure.as_deref(), Some("webhook-removed"));
    }
}
