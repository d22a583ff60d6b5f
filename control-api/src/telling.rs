//! Telling: what has happened, numbered without gaps, the last of it kept for those who come late.

use std::collections::VecDeque;

use crate::clock::Timestamp;

/// Tales kept of one telling. A secure session of 8 fields with 3 attempts each has under 60; an
/// echo engine hears twice a second, so they are its last two minutes.
pub const KEPT: usize = 256;

/// A tale with its place in a telling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told<T> {
    /// Its number, from 1, without gaps.
    pub sequence: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub tale: T,
}

/// What comes after a place in a telling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next<T> {
    /// The next tale.
    Told(Told<T>),
    /// It is no longer kept; the oldest that is kept has this number.
    Lost(u64),
    /// Nothing yet.
    Wait,
    /// Nothing any more.
    End,
}

/// The tales so far, of which the last [`KEPT`] are kept.
#[derive(Debug)]
pub struct Telling<T> {
    first: u64,
    kept: VecDeque<Told<T>>,
}

impl<T> Default for Telling<T> {
    fn default() -> Telling<T> {
        Telling { first: 0, kept: VecDeque::new() }
    }
}

impl<T: Copy> Telling<T> {
    /// Tells one more; the oldest makes room.
    pub fn push(&mut self, at: Timestamp, tale: T) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
            self.first += 1;
        }
        let sequence = self.first + self.kept.len() as u64 + 1;
        self.kept.push_back(Told { sequence, at, tale });
    }

    /// What comes after the tale numbered `after`; never [`Next::End`].
    ///
    /// `first` tales have been forgotten, so the tale after `after` stands at `after - first`.
    #[must_use]
    pub fn next(&self, after: u64) -> Next<T> {
        let Some(index) = after.checked_sub(self.first) else {
            return Next::Lost(self.first + 1);
        };
        let told = usize::try_from(index).ok().and_then(|index| self.kept.get(index));
        told.map_or(Next::Wait, |told| Next::Told(*told))
    }

    /// How many have been told.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// How many have been forgotten: after that number the oldest that is kept is next.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.first
    }
}
