//! A small generator of random numbers whose seed can be given.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::eprint_line;

/// A xorshift generator. The first one prints the seed, from which those of all others follow.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        static SEED: OnceLock<u64> = OnceLock::new();
        static MADE: AtomicU64 = AtomicU64::new(0);
        let seed = SEED.get_or_init(|| {
            let given = std::env::var("PROBE_SEED").ok().and_then(|seed| seed.parse().ok());
            let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
            let seed = given.unwrap_or_else(clock) | 1;
            eprint_line(&format!("again with the same random numbers: PROBE_SEED={seed}"));
            seed
        });
        // Odd times odd is odd, so never 0, from which only zeros would follow.
        Self(seed.wrapping_mul(2 * MADE.fetch_add(1, Ordering::Relaxed) + 1))
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    /// Sleeps up to this long.
    pub fn pause(&mut self, at_most: Duration) {
        std::thread::sleep(Duration::from_nanos(self.below(at_most.as_nanos() as u64)));
    }
}
