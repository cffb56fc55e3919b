//! Repeated rounds of the tests that kill at random. A normal run has one round.

use std::thread;

/// Environment variable with the number of rounds.
const ROUNDS: &str = "CHAOS_ROUNDS";

/// Runs `round` as often as `CHAOS_ROUNDS` says. Each round has its own storage and seed, so that a
/// failed one can run again alone.
pub fn in_rounds(round: impl Fn()) {
    let given = std::env::var(ROUNDS).ok().and_then(|text| text.parse().ok());
    let rounds: u32 = given.unwrap_or(1);
    for number in 1..=rounds {
        println!("{}: round {number} of {rounds}", thread::current().name().unwrap_or_default());
        round();
    }
}
