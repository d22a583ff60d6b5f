//! Chance: the one reader of the system's random numbers.

use rand::SeedableRng;
use rand::rngs::StdRng;
use ring::rand::{SecureRandom, SystemRandom};

/// The system gives no random numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

/// Unpredictable octets: a seed, a secret.
///
/// # Errors
/// If the system gives none.
pub fn octets<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut octets = [0; N];
    SystemRandom::new().fill(&mut octets).map_err(|_| NoRandom)?;
    Ok(octets)
}

/// Fills `octets` with unpredictable ones, for parts that take randomness as an argument.
///
/// # Errors
/// If the system gives none.
pub fn fill(octets: &mut [u8]) -> std::io::Result<()> {
    SystemRandom::new().fill(octets).map_err(|_| std::io::Error::other(NoRandom))
}

/// A generator for keys and ids, seeded by the system.
///
/// # Errors
/// If the system gives no random numbers.
pub fn generator() -> Result<StdRng, NoRandom> {
    octets().map(StdRng::from_seed)
}

/// The system's random numbers, for what asks for them itself.
#[must_use]
pub fn system() -> SystemRandom {
    SystemRandom::new()
}
