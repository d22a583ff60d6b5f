//! Limits: how often an address and a key may ask, and who guesses at keys.
//!
//! A key is never locked for what others do in its name: what is locked after failures is a key's id
//! together with the address that they came from. All tables are bounded: where one is full, its oldest
//! entry makes room, so that a flood of addresses costs no memory.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Extensions;
use governor::clock::Clock;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use serde::{Deserialize, Serialize};

use crate::client_address::ClientAddress;
use crate::clock;
use crate::config::ConfigError;
use crate::keys::KeyId;
use crate::problem::{Code, Problem};
use crate::server::Standing;

/// Requests a second, of an address and of a key, unless said otherwise: ten times what a relay full of
/// calls is asked by its scripts.
const DEFAULT_RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);
/// Most that can be said.
const MAX_RATE: u32 = 1_000_000;
/// Addresses whose rates are known; each takes about 100 octets.
const MAX_ADDRESSES: usize = 65_536;
/// Keys whose rates are known: more than a key file holds.
const MAX_KEYS: usize = 4096;
/// Addresses and ids of keys whose failures are known; each takes about 300 octets.
const MAX_SUSPECTS: usize = 8192;
/// Failures of one address with one key's id that lock both out, together; and failures of one address,
/// whatever the id, that are an alarm.
pub const MAX_FAILURES: usize = 10;
/// Time in which they count.
const FAILURES_COUNT: Duration = Duration::from_mins(5);
/// Time that a lock lasts.
pub const LOCKED: Duration = Duration::from_mins(5);
/// Longest id of a key that is told from others.
const MAX_ID: usize = 32;
/// Bits of an IPv6 address that one client's network has.
const NETWORK_BITS: u32 = 64;

/// Limits of rate, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    /// Requests a second of one address.
    pub requests_per_second_per_address: Option<u32>,
    /// Requests a second of one key.
    pub requests_per_second_per_key: Option<u32>,
}

/// Limits of rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitsConfig {
    /// Requests a second of one address; as many again may come at once.
    pub per_address: NonZeroU32,
    /// Requests a second of one key; as many again may come at once.
    pub per_key: NonZeroU32,
    /// Whether an address tells one client from another. Behind a proxy that nobody trusts to name its
    /// clients all have the proxy's, and who is locked out by that would be locked out by anybody.
    pub addresses_tell: bool,
}

impl Default for LimitsConfig {
    fn default() -> LimitsConfig {
        LimitsConfig { per_address: DEFAULT_RATE, per_key: DEFAULT_RATE, addresses_tell: true }
    }
}

impl RawLimits {
    /// Checks everything; `addresses_tell` is what [`LimitsConfig`] has it to be.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn resolve(self, addresses_tell: bool) -> Result<LimitsConfig, ConfigError> {
        let rate = |member, typed: Option<u32>| match typed {
            None => Ok(DEFAULT_RATE),
            Some(typed) => {
                NonZeroU32::new(typed).filter(|rate| rate.get() <= MAX_RATE).ok_or_else(|| {
                    let reason = format!("must be 1 to {MAX_RATE}");
                    ConfigError::Invalid { member, reason }
                })
            }
        };
        let (address, key) =
            (self.requests_per_second_per_address, self.requests_per_second_per_key);
        Ok(LimitsConfig {
            per_address: rate("limits.requests_per_second_per_address", address)?,
            per_key: rate("limits.requests_per_second_per_key", key)?,
            addresses_tell,
        })
    }
}

/// Who asks, before anything is known but what it says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Asker {
    network: IpAddr,
    /// The id that its token begins with, if it has one.
    id: Option<Box<str>>,
    has_token: bool,
    /// It stands for others, whom nothing tells apart.
    is_shared: bool,
}

impl Asker {
    /// Who asks from `address` with `token`, if it sends one. A program of this machine that passes on
    /// what others ask (`speaks_for_others`) is one address for all of them.
    pub(crate) fn of(
        ClientAddress(address): ClientAddress,
        token: Option<&str>,
        speaks_for_others: bool,
    ) -> Asker {
        let is_shared = speaks_for_others && address.is_loopback();
        let id = token.and_then(|token| token.split('_').nth(2)).filter(|id| id.len() <= MAX_ID);
        Asker {
            network: network(address),
            id: id.map(Into::into),
            has_token: token.is_some(),
            is_shared,
        }
    }

    /// Where it asks from: its address, or its network.
    pub(crate) fn network(&self) -> IpAddr {
        self.network
    }
}

/// One client: an address, or what a provider gives to one household.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> NETWORK_BITS << NETWORK_BITS;
            Ipv6Addr::from_bits(bits).into()
        }
    }
}

/// The clock of all limits.
#[derive(Clone, Default, Debug)]
struct Monotonic;

impl Clock for Monotonic {
    type Instant = Instant;

    fn now(&self) -> Instant {
        clock::monotonic()
    }
}

/// What limits know.
pub struct Limits {
    addresses_tell: bool,
    addresses: RateLimiter<IpAddr, Rates<IpAddr>, Monotonic>,
    keys: RateLimiter<KeyId, Rates<KeyId>, Monotonic>,
    suspects: Mutex<Suspects>,
    refused: [AtomicU64; 3],
    alarms: AtomicU64,
}

/// Why a request is refused; its place in the counters.
#[derive(Clone, Copy)]
enum Why {
    Address,
    Key,
    Locked,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::new(LimitsConfig::default())
    }
}

impl Limits {
    /// Limits that nobody has come near to.
    #[must_use]
    pub fn new(config: LimitsConfig) -> Limits {
        let quota = |rate| Quota::per_second(rate);
        Limits {
            addresses_tell: config.addresses_tell,
            addresses: RateLimiter::new(
                quota(config.per_address),
                Rates::new(MAX_ADDRESSES),
                Monotonic,
            ),
            keys: RateLimiter::new(quota(config.per_key), Rates::new(MAX_KEYS), Monotonic),
            suspects: Mutex::default(),
            refused: Default::default(),
            alarms: AtomicU64::new(0),
        }
    }

    /// Looks at a request before anything else is done for it.
    pub(crate) fn look(&self, asker: &Asker, now: Instant) -> Result<(), (Problem, u64)> {
        if !self.addresses_tell || asker.is_shared {
            return Ok(());
        }
        if let Some(left) = self.suspects().locked(asker, now) {
            let detail = "This address has sent this key wrongly too often. Try again later; other \
                          addresses and keys are not concerned.";
            return Err(self.refuse(Why::Locked, detail, left.as_secs() + 1));
        }
        let asked = self.addresses.check_key(&asker.network);
        asked.map_err(|_| self.refuse(Why::Address, "This address asks too often.", 1))
    }

    /// A request has shown a valid key: its connection stays, and the key's rate counts.
    pub(crate) fn admit(&self, extensions: &Extensions, key: &KeyId) -> Result<(), Problem> {
        if let Some(standing) = extensions.get::<Standing>() {
            standing.prove();
        }
        let asked = self.keys.check_key(key);
        asked.map_err(|_| self.refuse(Why::Key, "This key asks too often.", 1).0)
    }

    /// A token was not taken. True if somebody should hear of it, which is so once for an address, until
    /// it has been quiet.
    pub(crate) fn failed(&self, asker: &Asker, now: Instant) -> bool {
        let is_alarm = asker.has_token && self.suspects().failed(asker, now);
        if is_alarm {
            self.alarms.fetch_add(1, Ordering::Relaxed);
        }
        is_alarm
    }

    /// Keys were read anew: nobody is locked out, until it fails again.
    pub(crate) fn forgive(&self) {
        for (suspect, failures) in &mut self.suspects().0.values {
            match suspect {
                Suspect::Pair(..) => *failures = Failures::default(),
                Suspect::Address(_) => {}
            }
        }
    }

    /// Requests refused, by why, and alarms.
    #[must_use]
    pub fn counts(&self) -> ([(&'static str, u64); 3], u64) {
        let count = |why: Why| self.refused[why as usize].load(Ordering::Relaxed);
        let refused = [
            ("address", count(Why::Address)),
            ("key", count(Why::Key)),
            ("lock", count(Why::Locked)),
        ];
        (refused, self.alarms.load(Ordering::Relaxed))
    }

    fn refuse(&self, why: Why, detail: &'static str, seconds: u64) -> (Problem, u64) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
        (Problem::new(Code::TooManyRequests, detail), seconds)
    }

    fn suspects(&self) -> std::sync::MutexGuard<'_, Suspects> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A table that holds so many, the oldest of which makes room for another.
struct Bounded<K, V> {
    most: usize,
    values: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Hash + Eq + Clone, V> Bounded<K, V> {
    fn new(most: usize) -> Bounded<K, V> {
        Bounded { most, values: HashMap::new(), order: VecDeque::new() }
    }

    /// The value of `key`, which is `new` if there is none yet.
    fn entry(&mut self, key: &K, new: V) -> &mut V {
        if !self.values.contains_key(key) {
            if self.values.len() >= self.most
                && let Some(oldest) = self.order.pop_front()
            {
                self.values.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.values.entry(key.clone()).or_insert(new)
    }
}

/// The rates of those who ask. Who was forgotten begins anew.
struct Rates<K>(Mutex<Bounded<K, Option<Nanos>>>);

impl<K: Hash + Eq + Clone> Rates<K> {
    fn new(most: usize) -> Rates<K> {
        Rates(Mutex::new(Bounded::new(most)))
    }
}

impl<K: Hash + Eq + Clone> StateStore for Rates<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = rates.entry(key, None);
        let (outcome, next) = decide(*rate)?;
        *rate = Some(next);
        Ok(outcome)
    }
}

/// Whose failures count: an address' with one id, which may be locked, or an address', which may not.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Suspect {
    Pair(IpAddr, Option<Box<str>>),
    Address(IpAddr),
}

/// Failures of one suspect.
#[derive(Default)]
struct Failures {
    /// The last ones.
    at: VecDeque<Instant>,
    locked_until: Option<Instant>,
    is_told: bool,
}

struct Suspects(Bounded<Suspect, Failures>);

impl Default for Suspects {
    fn default() -> Suspects {
        Suspects(Bounded::new(MAX_SUSPECTS))
    }
}

impl Suspects {
    /// How long the asker is locked out yet.
    fn locked(&self, asker: &Asker, now: Instant) -> Option<Duration> {
        if !asker.has_token {
            return None;
        }
        let pair = Suspect::Pair(asker.network, asker.id.clone());
        let until = self.0.values.get(&pair)?.locked_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Counts a failure; true if it is time for an alarm.
    fn failed(&mut self, asker: &Asker, now: Instant) -> bool {
        let pair = Suspect::Pair(asker.network, asker.id.clone());
        let pair = self.0.entry(&pair, Failures::default());
        if pair.count(now) >= MAX_FAILURES {
            pair.locked_until = Some(now + LOCKED);
            pair.at.clear();
        }
        let address = self.0.entry(&Suspect::Address(asker.network), Failures::default());
        let is_many = address.count(now) >= MAX_FAILURES;
        is_many && !std::mem::replace(&mut address.is_told, true)
    }
}

impl Failures {
    /// Takes one more, and tells how many count.
    fn count(&mut self, now: Instant) -> usize {
        let counts = |at: &Instant| now.saturating_duration_since(*at) < FAILURES_COUNT;
        self.at.retain(counts);
        if self.at.is_empty() {
            self.is_told = false;
        }
        if self.at.len() >= MAX_FAILURES {
            self.at.pop_front();
        }
        self.at.push_back(now);
        self.at.len()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;
    use governor::middleware::NoOpMiddleware;
    use governor::nanos::Nanos;
    use governor::{Quota, RateLimiter};

    use super::{
        Asker, Bounded, FAILURES_COUNT, LOCKED, Limits, LimitsConfig, MAX_FAILURES, MAX_SUSPECTS,
        Rates, RawLimits, network,
    };
    use crate::client_address::ClientAddress;
    use crate::clock;

    fn asker(address: &str, token: &str) -> Asker {
        Asker::of(ClientAddress(address.parse().unwrap()), Some(token), false)
    }

    #[test]
    fn a_rate_is_held_and_comes_back() {
        let time = FakeRelativeClock::default();
        let quota = Quota::per_second(NonZeroU32::new(10).unwrap());
        type Limiter = RateLimiter<u8, Rates<u8>, FakeRelativeClock, NoOpMiddleware<Nanos>>;
        let limiter = Limiter::new(quota, Rates::new(2), time.clone());
        let allowed = |key: u8| (0..100).filter(|_| limiter.check_key(&key).is_ok()).count();
        assert_eq!((allowed(1), allowed(1), allowed(2)), (10, 0, 10));
        time.advance(Duration::from_millis(500));
        assert_eq!(allowed(1), 5);
        // A third one is known in place of the first, which begins anew.
        assert_eq!((allowed(3), allowed(1)), (10, 10));
    }

    #[test]
    fn tables_hold_so_many() {
        let mut table = Bounded::new(3);
        for key in 0..1000 {
            *table.entry(&(key % 7), 0) += 1;
        }
        assert_eq!((table.values.len(), table.order.len()), (3, 3));
    }

    #[test]
    fn an_address_is_locked_out_of_a_key_and_the_key_of_nothing() {
        let (limits, begun) = (Limits::default(), clock::monotonic());
        let (thief, owner) =
            (asker("192.0.2.1", "sto_local_a_x"), asker("192.0.2.2", "sto_local_a_y"));
        let other_key = asker("192.0.2.1", "sto_local_b_y");
        for number in 1..=MAX_FAILURES {
            assert!(limits.look(&thief, begun).is_ok(), "{number}");
            assert_eq!(limits.failed(&thief, begun), number == MAX_FAILURES);
        }
        let (_, seconds) = limits.look(&thief, begun).unwrap_err();
        assert!(seconds >= LOCKED.as_secs());
        // Even if it comes with the right secret by now.
        assert!(limits.look(&asker("192.0.2.1", "sto_local_a_right"), begun).is_err());
        assert!(limits.look(&owner, begun).is_ok() && limits.look(&other_key, begun).is_ok());
        assert!(limits.look(&thief, begun + LOCKED).is_ok());
        limits.forgive();
        assert!(limits.look(&thief, begun).is_ok());
        assert_eq!(limits.counts(), ([("address", 0), ("key", 0), ("lock", 2)], 1));
    }

    #[test]
    fn failures_that_are_old_do_not_count_and_an_alarm_is_told_once() {
        let (limits, begun) = (Limits::default(), clock::monotonic());
        let each = FAILURES_COUNT / (MAX_FAILURES as u32 - 1) + Duration::from_secs(1);
        let thief = asker("192.0.2.1", "sto_local_a_x");
        for number in 0..100 {
            let now = begun + each * number;
            assert!(limits.look(&thief, now).is_ok() && !limits.failed(&thief, now));
        }
        // By guessing at ids, too, but one address is told of once.
        let later = begun + each * 100 + FAILURES_COUNT;
        let told = (0..100)
            .filter(|id| limits.failed(&asker("192.0.2.1", &format!("sto_local_{id}_x")), later));
        assert_eq!(told.count(), 1);
        // It has been quiet since.
        let again = later + FAILURES_COUNT;
        let told = (0..20).filter(|_| limits.failed(&thief, again)).count();
        assert_eq!(told, 1);
    }

    #[test]
    fn who_sends_no_key_guesses_at_none_and_a_flood_of_ids_costs_no_memory() {
        let (limits, now) = (Limits::default(), clock::monotonic());
        let nobody = Asker::of(ClientAddress("192.0.2.1".parse().unwrap()), None, false);
        for _ in 0..3 * MAX_FAILURES {
            assert!(!limits.failed(&nobody, now) && limits.look(&nobody, now).is_ok());
        }
        for id in 0..2 * MAX_SUSPECTS {
            limits.failed(&asker("192.0.2.1", &format!("sto_local_{id}_x")), now);
        }
        assert_eq!(limits.suspects().0.values.len(), MAX_SUSPECTS);
    }

    #[test]
    fn behind_a_proxy_that_names_nobody_nobody_is_locked_out() {
        let config = LimitsConfig { addresses_tell: false, ..LimitsConfig::default() };
        let (limits, now) = (Limits::new(config), clock::monotonic());
        let thief = asker("127.0.0.1", "sto_local_a_x");
        let told = (0..3 * MAX_FAILURES).filter(|_| limits.failed(&thief, now)).count();
        assert_eq!(told, 1, "it is told all the same");
        assert!(limits.look(&thief, now).is_ok());
        // The same where the proxy is on this machine, and nobody said that there is one.
        let limits = Limits::default();
        let by = |address: &str, proxied| {
            let asker =
                Asker::of(ClientAddress(address.parse().unwrap()), Some("sto_local_a_x"), proxied);
            for _ in 0..MAX_FAILURES {
                limits.failed(&asker, now);
            }
            limits.look(&asker, now).is_ok()
        };
        assert!(by("127.0.0.1", true) && by("::1", true));
        assert!(!by("127.0.0.1", false) && !by("192.0.2.1", true));
    }

    #[test]
    fn an_address_of_ipv6_is_its_network() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn rates_are_typed_within_reason() {
        let typed =
            |rate| RawLimits { requests_per_second_per_key: Some(rate), ..RawLimits::default() };
        assert!(typed(0).resolve(true).is_err() && typed(2_000_000).resolve(true).is_err());
        assert_eq!(RawLimits::default().resolve(true).unwrap(), LimitsConfig::default());
        assert_eq!(typed(7).resolve(true).unwrap().per_key.get(), 7);
    }
}
