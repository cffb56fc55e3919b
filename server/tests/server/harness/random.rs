//! Random schedules whose seed is printed, so that a failed one can run again.

use std::thread::{current, sleep};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Environment variable with the seed to run again.
const SEED: &str = "TEST_SEED";

/// A source of random numbers.
#[derive(Debug)]
pub struct Random {
    generator: ChaCha8Rng,
    /// The seed of the first source, from which this one was split.
    seed: u64,
}

impl Random {
    /// Returns a source with the seed in `TEST_SEED`, or with a new seed. Prints the seed
    /// and the test, because tests run at the same time.
    pub fn seeded() -> Self {
        let given = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(new_seed);
        println!("{SEED}={seed} {}", current().name().unwrap_or_default());
        Self { generator: ChaCha8Rng::seed_from_u64(seed), seed }
    }

    /// Returns a source whose numbers differ in every test, also if `TEST_SEED` is given.
    pub fn unseeded() -> Self {
        let seed = new_seed();
        Self { generator: ChaCha8Rng::seed_from_u64(seed), seed }
    }

    /// Returns the seed that repeats the run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns another source, seeded from this one, for another thread.
    pub fn split(&mut self) -> Self {
        let generator = ChaCha8Rng::seed_from_u64(self.generator.next_u64());
        Self { generator, seed: self.seed }
    }

    /// Returns a number from 0 to `limit` - 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.generator.next_u64() % limit
    }

    /// Returns one of the choices.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Sleeps for a random time of at most `longest`, so that what follows happens at a random
    /// moment.
    pub fn pause(&mut self, longest: Duration) {
        sleep(Duration::from_nanos(self.below(longest.as_nanos() as u64 + 1)));
    }
}

/// Returns the time in nanoseconds.
fn new_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
