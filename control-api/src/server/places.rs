//! Places: how many connections a listener and each address may have, and who makes room.
//!
//! Where all places are taken, whoever comes next gets that of the connection that has been there
//! longest without showing a valid key. So whoever floods a listener only pushes out itself, and who
//! has a key is let in, and stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Most connections of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of all addresses.
    pub connections: usize,
    /// Of one address; one of a trusted proxy stands for many clients, and has none.
    pub per_address: usize,
}

/// What one connection is known by: whether it has shown a valid key. It is among the extensions of
/// its requests.
#[derive(Clone, Default)]
pub struct Standing(Arc<Guest>);

#[derive(Default)]
struct Guest {
    is_proven: AtomicBool,
    cut: Notify,
}

impl Standing {
    /// A request with a valid key came by it.
    pub(crate) fn prove(&self) {
        self.0.is_proven.store(true, Ordering::Relaxed);
    }

    fn is_proven(&self) -> bool {
        self.0.is_proven.load(Ordering::Relaxed)
    }

    /// Ends the connection, now or as soon as [`Standing::is_cut`] is awaited.
    pub(super) fn cut(&self) {
        self.0.cut.notify_one();
    }

    /// Waits until the connection is to end.
    pub(super) async fn is_cut(&self) {
        self.0.cut.notified().await;
    }
}

/// The places of a listener.
pub(super) struct Places {
    bounds: Bounds,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last: u64,
    seats: BTreeMap<u64, Seat>,
    /// Of each address, the seats in the order in which they were taken.
    of_address: HashMap<IpAddr, BTreeSet<u64>>,
}

struct Seat {
    ip: IpAddr,
    standing: Standing,
}

/// One connection's place, free again when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
}

impl Places {
    pub(super) fn new(bounds: Bounds) -> Arc<Places> {
        Arc::new(Places { bounds, table: Mutex::default() })
    }

    /// A place for a connection of `ip`, if there is one or can be made one; `is_bounded` tells that
    /// the address has a share of its own.
    pub(super) fn take(
        places: &Arc<Places>,
        ip: IpAddr,
        is_bounded: bool,
    ) -> Option<(Place, Standing)> {
        let mut table = places.lock();
        let own = table.of_address.get(&ip);
        if is_bounded && own.is_some_and(|own| own.len() >= places.bounds.per_address) {
            let own = own.into_iter().flatten().copied();
            let oldest = table.oldest_unproven(own)?;
            table.empty(oldest)?.cut();
        }
        if table.seats.len() >= places.bounds.connections {
            let oldest = table.oldest_unproven(table.seats.keys().copied())?;
            table.empty(oldest)?.cut();
        }
        table.last += 1;
        let (number, standing) = (table.last, Standing::default());
        table.seats.insert(number, Seat { ip, standing: standing.clone() });
        table.of_address.entry(ip).or_default().insert(number);
        drop(table);
        Some((Place { places: Arc::clone(places), number }, standing))
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.lock().seats.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn oldest_unproven(&self, mut among: impl Iterator<Item = u64>) -> Option<u64> {
        among.find(|number| self.seats.get(number).is_some_and(|seat| !seat.standing.is_proven()))
    }

    /// Frees a seat, if it is still taken.
    fn empty(&mut self, number: u64) -> Option<Standing> {
        let Seat { ip, standing } = self.seats.remove(&number)?;
        if let Some(own) = self.of_address.get_mut(&ip) {
            own.remove(&number);
            if own.is_empty() {
                self.of_address.remove(&ip);
            }
        }
        Some(standing)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().empty(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::{Bounds, Place, Places, Standing};

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn places(connections: usize, per_address: usize) -> Arc<Places> {
        Places::new(Bounds { connections, per_address })
    }

    async fn is_cut(standing: &Standing) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, standing.is_cut()).await.is_ok()
    }

    #[tokio::test]
    async fn who_comes_next_takes_the_oldest_place_without_a_key() {
        let places = places(10, 3);
        let taken: Vec<(Place, Standing)> =
            (0..3).map(|_| Places::take(&places, ONE, true).unwrap()).collect();
        taken[0].1.prove();
        let more = Places::take(&places, ONE, true).unwrap();
        let cut = [is_cut(&taken[0].1).await, is_cut(&taken[1].1).await, is_cut(&taken[2].1).await];
        assert_eq!(cut, [false, true, false]);
        assert_eq!(places.taken(), 3);
        // Its seat is another's by now, and stays so when it is gone.
        drop(taken);
        assert_eq!(places.taken(), 1);
        drop(more);
        assert_eq!(places.taken(), 0);
        assert!(places.lock().of_address.is_empty());
    }

    #[test]
    fn who_has_shown_a_key_is_pushed_out_by_nobody() {
        let places = places(3, 2);
        let taken: Vec<_> = [ONE, ONE, OTHER]
            .into_iter()
            .map(|ip| Places::take(&places, ip, true).unwrap())
            .collect();
        taken.iter().for_each(|(_, standing)| standing.prove());
        assert!(Places::take(&places, ONE, true).is_none());
        assert!(Places::take(&places, OTHER, true).is_none());
        assert!(Places::take(&places, ONE, false).is_none());
        drop(taken);
        assert!(Places::take(&places, ONE, true).is_some());
    }

    #[tokio::test]
    async fn one_address_pushes_out_no_other_and_a_proxy_has_no_share() {
        let places = places(100, 2);
        let other = Places::take(&places, OTHER, true).unwrap();
        let many: Vec<_> = (0..50).map(|_| Places::take(&places, ONE, true).unwrap()).collect();
        assert_eq!(places.taken(), 3);
        assert!(!is_cut(&other.1).await);
        drop(many);
        let proxied: Vec<_> = (0..50).map(|_| Places::take(&places, ONE, false).unwrap()).collect();
        assert_eq!(places.taken(), 51);
        drop(proxied);
    }
}
