//! Replays: a request that comes again has no second effect, and gets the same octets.
//!
//! Proxies repeat a request, cookie and all, when its reply is late. The first copy does the work,
//! and those that come while it is at it wait for its reply.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::Peer;

/// How long a reply is kept: proxies give up after some seconds.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Replies kept: a minute of 250 requests a second.
const MAX_KEPT: usize = 16_384;
/// Octets of replies kept; most have one kilobyte.
const MAX_OCTETS: usize = 16 * 1024 * 1024;

/// A request and who sent it. The digest is over its cookie and its body: a cookie that comes with
/// another body is another request.
type Key = (Peer, [u8; 32]);
/// Where a reply will be, once it is made.
pub(super) type Place = Arc<OnceCell<Arc<Zeroizing<Vec<u8>>>>>;

/// The replies of the last minute.
#[derive(Default)]
pub(super) struct Replays {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    places: HashMap<Key, Place>,
    /// In the order in which they came.
    order: VecDeque<(Instant, Key)>,
    octets: usize,
}

impl Replays {
    /// The place of a request's reply: the same for each copy of the request.
    pub(super) fn place(&self, now: Instant, peer: &Peer, message: &[u8]) -> Place {
        let mut sum = [0; 32];
        sum.copy_from_slice(digest(&SHA256, message).as_ref());
        let key = (peer.clone(), sum);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.forget(now);
        if let Some(place) = table.places.get(&key) {
            return Arc::clone(place);
        }
        let place = Place::default();
        table.places.insert(key.clone(), Arc::clone(&place));
        table.order.push_back((now, key));
        place
    }

    /// A reply of so many octets was made.
    pub(super) fn keep(&self, octets: usize) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).octets += octets;
    }
}

impl Table {
    /// Makes room: old ones go, and the oldest where there are too many.
    fn forget(&mut self, now: Instant) {
        while let Some((since, key)) = self.order.front() {
            let is_old = now.saturating_duration_since(*since) >= KEPT_FOR;
            if !is_old && self.order.len() < MAX_KEPT && self.octets < MAX_OCTETS {
                break;
            }
            let place = self.places.remove(key);
            let octets = place.and_then(|place| place.get().map(|written| written.len()));
            // One that is being made still is counted when nobody can find it any more: too much
            // is counted then, until all is forgotten.
            self.octets = self.octets.saturating_sub(octets.unwrap_or_default());
            self.order.pop_front();
        }
        if self.order.is_empty() {
            self.octets = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{KEPT_FOR, MAX_KEPT, MAX_OCTETS, Peer, Replays};
    use crate::clock;

    fn peer(port: u16) -> Peer {
        Peer::at(([127, 0, 0, 1], port).into())
    }

    #[test]
    fn a_copy_finds_the_place_of_the_first() {
        let (replays, now) = (Replays::default(), clock::monotonic());
        let ping = b"1 d7:command4:pinge";
        let first = replays.place(now, &peer(7), ping);
        assert!(Arc::ptr_eq(&first, &replays.place(now, &peer(7), ping)));
        for (port, message) in [(7, &b"2 d7:command4:pinge"[..]), (8, ping)] {
            assert!(!Arc::ptr_eq(&first, &replays.place(now, &peer(port), message)));
        }
        assert!(!Arc::ptr_eq(&first, &replays.place(now + KEPT_FOR, &peer(7), ping)));
    }

    #[test]
    fn number_and_octets_are_bounded() {
        let (replays, now) = (Replays::default(), clock::monotonic());
        let kept = || replays.table.lock().unwrap().places.len();
        for number in 0..2 * MAX_KEPT {
            replays.place(now, &peer(7), &number.to_be_bytes());
        }
        assert_eq!(kept(), MAX_KEPT);
        replays.keep(MAX_OCTETS);
        replays.place(now + Duration::from_millis(1), &peer(7), b"x");
        assert_eq!(kept(), 1, "what is counted too much goes with the rest");
    }
}
