//! Random numbers for tests, from a seed that a failure prints.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A sequence of random numbers.
pub(crate) struct Random {
    seed: u64,
    numbers: ChaCha8Rng,
}

impl Random {
    /// Begins a sequence with the seed in the variable `SEED`, or with a new one.
    pub(crate) fn new() -> Self {
        let given = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(()));
        Self { seed, numbers: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Returns a number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.numbers.next_u64() % limit
    }
}

impl fmt::Display for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SEED={}", self.seed)
    }
}
