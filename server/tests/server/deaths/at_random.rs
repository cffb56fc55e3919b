//! Workers, or all processes, are killed at random moments under load, many times. Acknowledged
//! batches are stored exactly once, others completely or not at all, and the winners are those of
//! the stored bets.
//!
//! The record of the agencies checks every answer; the files are compared with it when no agency
//! sends.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::{
    BatchRecord, Load, Random, Setup, StoppedProcess, eventually_within, in_rounds, kill,
};
use nix::sys::signal::Signal;

/// Workers killed with each durability.
const WORKER_DEATHS: usize = 160;
/// Kills of all processes with each durability.
const TOTAL_DEATHS: usize = 20;
const AGENCIES: usize = 4;
/// Longest time between two kills, enough for several batches.
const PEACE: Duration = Duration::from_millis(8);

fn setup(durability: &str) -> Setup {
    Setup::new()
        .with("SERVER_DURABILITY", durability)
        .with("SERVER_WORKERS", "3")
        .with("LOGGING_LEVEL", "INFO")
}

/// Kills one worker after the other, each after the previous one has been replaced.
fn kill_workers(durability: &str) {
    let setup = setup(durability);
    let central = setup.start();
    let segment = central.segment();
    let pids = segment.raw_array::<u32>("worker_pid").unwrap();
    let restarts = segment.raw_array::<u32>("worker_restarts").unwrap();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(AGENCIES, central.port, &record, &mut random);
    for _ in 0..WORKER_DEATHS {
        random.pause(PEACE);
        let slot = random.below(3) as usize;
        let (pid, before) = (pids.load(slot), restarts.load(slot));
        if random.below(2) == 0 {
            kill(pid, Signal::SIGKILL);
        } else {
            let stopped = StoppedProcess::new(pid);
            random.pause(PEACE);
            stopped.kill();
        }
        let second = Duration::from_secs(1);
        eventually_within(second, "a successor", || restarts.load(slot), |now| *now == before + 1);
    }
    load.stop();
    central.none_in_flight_within_a_second();
    let totals = record.check(&setup, &central);
    assert_eq!(central.number("worker_deaths"), WORKER_DEATHS as u64);
    println!("{totals:?}, {} batches acknowledged", record.acknowledged());
    assert!(record.acknowledged() > WORKER_DEATHS, "the agencies worked all the time");
    assert_eq!(central.stop().0, 0);
    assert_eq!(setup.rows().len() as u64, totals.bets, "stopping changes nothing");
}

/// Kills all processes and starts again on the same files and port.
fn kill_all(durability: &str) {
    let mut setup = setup(durability);
    let port = setup.keep_port();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    for _ in 0..TOTAL_DEATHS {
        let central = setup.start();
        record.check(&setup, &central);
        let load = Load::start(AGENCIES, port, &record, &mut random);
        random.pause(10 * PEACE);
        central.kill_all();
        load.stop();
    }
    let central = setup.start();
    record.check(&setup, &central);
    assert!(record.acknowledged() > TOTAL_DEATHS, "the agencies worked all the time");
    assert_eq!(central.stop().0, 0);
    setup.assert_nothing_left(port);
}

#[test]
fn kills_of_workers_at_random_moments_lose_and_miscount_nothing() {
    in_rounds(|| kill_workers("process"));
}

#[test]
fn kills_of_workers_at_random_moments_lose_and_miscount_nothing_with_durability_disk() {
    in_rounds(|| kill_workers("disk"));
}

#[test]
fn kills_of_all_processes_at_random_moments_lose_and_miscount_nothing() {
    in_rounds(|| kill_all("process"));
}

#[test]
fn kills_of_all_processes_at_random_moments_lose_and_miscount_nothing_with_durability_disk() {
    in_rounds(|| kill_all("disk"));
}
