//! SimNet: a network in virtual time that loses, repeats, delays and reorders, from a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How bad a network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Share of packets lost.
    pub loss: f64,
    /// Share of packets that arrive twice.
    pub duplication: f64,
    /// Delay of each packet: from none to this, which reorders beyond 20 ms.
    pub jitter: Duration,
}

impl Weather {
    /// Nothing is lost, repeated or late.
    pub const CALM: Weather = Weather { loss: 0.0, duplication: 0.0, jitter: Duration::ZERO };
    /// The project's standard of a bad line.
    pub const BAD: Weather =
        Weather { loss: 0.05, duplication: 0.02, jitter: Duration::from_millis(35) };
}

/// Packets under way.
pub struct SimNet<T> {
    weather: Weather,
    random: StdRng,
    under_way: BinaryHeap<Reverse<Parcel<T>>>,
    sent: u64,
}

struct Parcel<T> {
    arrives: Instant,
    number: u64,
    content: T,
}

impl<T: Clone> SimNet<T> {
    /// An empty network.
    pub fn new(weather: Weather, seed: u64) -> SimNet<T> {
        let random = StdRng::seed_from_u64(seed);
        SimNet { weather, random, under_way: BinaryHeap::new(), sent: 0 }
    }

    /// Sends a packet on its way, or loses it.
    pub fn send(&mut self, now: Instant, content: T) {
        if self.random.random_bool(self.weather.loss) {
            return;
        }
        let copies = 1 + usize::from(self.random.random_bool(self.weather.duplication));
        for _ in 0..copies {
            let late = self.weather.jitter.mul_f64(self.random.random::<f64>());
            self.sent += 1;
            let parcel =
                Parcel { arrives: now + late, number: self.sent, content: content.clone() };
            self.under_way.push(Reverse(parcel));
        }
    }

    /// When the next packet arrives.
    pub fn next(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse(parcel)| parcel.arrives)
    }

    /// A packet that has arrived.
    pub fn deliver(&mut self, now: Instant) -> Option<T> {
        if self.next()? > now {
            return None;
        }
        self.under_way.pop().map(|Reverse(parcel)| parcel.content)
    }
}

impl<T> PartialEq for Parcel<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.arrives, self.number) == (other.arrives, other.number)
    }
}

impl<T> Eq for Parcel<T> {}

impl<T> PartialOrd for Parcel<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Parcel<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.arrives, self.number).cmp(&(other.arrives, other.number))
    }
}
