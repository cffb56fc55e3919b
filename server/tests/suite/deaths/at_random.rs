//! Workers, or everybody, are killed at random moments under load, again and again: what was acknowledged is stored exactly
//! once and whole, what was not whole or not at all, and the winners are those of the stored bets (invariants I1, I2, I3, I5).
//!
//! The agencies' book checks every answer; the files are compared with it when the agencies rest.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::{Book, Load, Random, Setup, Stopped, eventually_within, kill};
use nix::sys::signal::Signal;

/// Workers killed with each durability.
const WORKER_DEATHS: usize = 160;
/// Times that everybody is killed with each durability.
const TOTAL_DEATHS: usize = 20;
const AGENCIES: usize = 4;
/// Longest time between a central at work and the next kill: some batches' time.
const PEACE: Duration = Duration::from_millis(8);

fn setup(durability: &str) -> Setup {
    Setup::new()
        .with("SERVER_DURABILITY", durability)
        .with("SERVER_WORKERS", "3")
        .with("LOGGING_LEVEL", "INFO")
}

/// Kills one worker after the other, each when the one before has been replaced.
fn kill_workers(durability: &str) {
    let setup = setup(durability);
    let central = setup.start();
    let segment = central.segment();
    let pids = segment.raw_array::<u32>("worker_pid").unwrap();
    let restarts = segment.raw_array::<u32>("worker_restarts").unwrap();
    let (book, mut random) = (Arc::new(Book::default()), Random::seeded());
    let load = Load::start(AGENCIES, central.port, &book, &mut random);
    for _ in 0..WORKER_DEATHS {
        random.pause(PEACE);
        let slot = random.below(3) as usize;
        let (pid, before) = (pids.load(slot), restarts.load(slot));
        if random.below(2) == 0 {
            kill(pid, Signal::SIGKILL);
        } else {
            let stopped = Stopped::new(pid);
            random.pause(PEACE);
            stopped.kill();
        }
        let second = Duration::from_secs(1);
        eventually_within(second, "a successor", || restarts.load(slot), |now| *now == before + 1);
    }
    load.stop();
    central.nobody_in_flight_within_a_second();
    let totals = book.check(&setup, &central);
    assert_eq!(central.number("worker_deaths"), WORKER_DEATHS as u64);
    println!("{totals:?}, {} batches acknowledged", book.acknowledged());
    assert!(book.acknowledged() > WORKER_DEATHS, "the agencies were at work all the time");
    assert_eq!(central.stop().0, 0);
    assert_eq!(setup.rows().len() as u64, totals.bets, "stopping changes nothing");
}

/// Kills everybody and starts again on the same files and port, while the agencies go on.
fn kill_everybody(durability: &str) {
    let mut setup = setup(durability);
    let port = setup.keep_port();
    let (book, mut random) = (Arc::new(Book::default()), Random::seeded());
    for _ in 0..TOTAL_DEATHS {
        let central = setup.start();
        book.check(&setup, &central);
        let load = Load::start(AGENCIES, port, &book, &mut random);
        random.pause(10 * PEACE);
        central.kill_everything();
        load.stop();
    }
    let central = setup.start();
    book.check(&setup, &central);
    assert!(book.acknowledged() > TOTAL_DEATHS, "the agencies were at work all the time");
    assert_eq!(central.stop().0, 0);
    setup.nothing_left_on(port);
}

#[test]
fn killing_workers_at_random_moments_loses_and_miscounts_nothing() {
    kill_workers("process");
}

#[test]
fn killing_workers_at_random_moments_loses_and_miscounts_nothing_with_durability_disk() {
    kill_workers("disk");
}

#[test]
fn killing_everybody_at_random_moments_loses_and_miscounts_nothing() {
    kill_everybody("process");
}

#[test]
fn killing_everybody_at_random_moments_loses_and_miscounts_nothing_with_durability_disk() {
    kill_everybody("disk");
}
