//! Repeated rounds of the tests that kill at random.

use std::thread;

use super::random::Random;

/// Environment variable with the number of rounds.
const ROUNDS: &str = "CHAOS_ROUNDS";

/// Runs `round` as often as `CHAOS_ROUNDS` says, or `few` times. All rounds draw from one seed.
pub fn in_rounds(few: u32, mut round: impl FnMut(&mut Random)) {
    let given = std::env::var(ROUNDS).ok().and_then(|text| text.parse().ok());
    let rounds: u32 = given.unwrap_or(few);
    let mut random = Random::seeded();
    for number in 1..=rounds {
        println!("{}: round {number} of {rounds}", thread::current().name().unwrap_or_default());
        round(&mut random.split());
    }
}
