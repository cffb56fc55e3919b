//! A worker is killed while it holds a lock that the others need: they go on within a second, and
//! nothing is lost.
//!
//! The test stops a worker (SIGSTOP), verifies that it holds the lock, and kills it without letting
//! it run again.

use std::sync::Arc;
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use crate::harness::{
    AgencyConnection, BatchRecord, CentralProcess, Load, Random, Setup, StoppedProcess, eventually,
    large_packet, packet_of,
};
use multiprocessing::Lock;

const ROUNDS: usize = 5;
/// Bets of a large batch, the most that the dialect can count.
const BETS: usize = 65_535;

fn setup(durability: &str) -> Setup {
    Setup::new().with("SERVER_DURABILITY", durability).with("SERVER_WORKERS", "3")
}

/// Stops a worker while it holds the lock. If the lock shows no holder, tries any worker: some
/// locks are held for less time than it takes to read the holder.
pub(super) fn stop_holder(
    central: &CentralProcess<'_>,
    lock: &Lock,
    random: &mut Random,
) -> StoppedProcess {
    let workers = central.worker_pids();
    let start = Instant::now();
    let mut tries = 0;
    while start.elapsed() < Duration::from_secs(30) {
        tries += 1;
        let seen = (0..1000).find_map(|_| lock.holder()).map(|pid| pid.as_raw().cast_unsigned());
        let candidate = seen.unwrap_or_else(|| random.pick(&workers));
        if !workers.contains(&candidate) {
            continue;
        }
        let stopped = StoppedProcess::new(candidate);
        if lock.holder().is_some_and(|pid| pid.as_raw().cast_unsigned() == candidate) {
            println!("stopped a holder after {tries} tries, {:?}", start.elapsed());
            return stopped;
        }
    }
    panic!("no worker was stopped with the lock in {tries} tries");
}

/// Kills holders of a lock under load and checks the other workers and the files. Returns the
/// number of recoveries in the log.
fn kill_holders(durability: &str, lock: impl Fn(&CentralProcess<'_>) -> Lock) -> usize {
    let setup = setup(durability);
    let central = setup.start();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(4, central.port, &record, &mut random);
    for round in 1..=ROUNDS {
        let holder = stop_holder(&central, &lock(&central), &mut random);
        let pid = holder.pid();
        let slot = central.worker_pids().iter().position(|worker| *worker == pid).unwrap();
        holder.kill();

        let start = Instant::now();
        eventually(
            "a batch is acknowledged",
            || record.send_batch(central.port, 10, 5),
            |done| *done,
        );
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "others waited {:?} for the dead process",
            start.elapsed()
        );
        central.replaced_within_a_second(slot, pid);
        assert_eq!(central.number("worker_deaths"), round as u64);
        assert_eq!(central.number("lock_recoveries"), round as u64);
    }
    load.stop();
    central.none_in_flight_within_a_second();
    let totals = record.check(&setup, &central);
    assert!(totals.bets > 0);
    let recoveries =
        central.program.count_lines_with("action: recovery | result: success | reason: ");
    assert_eq!(central.stop().0, 0);
    recoveries
}

#[test]
fn the_next_holder_of_the_storage_lock_recovers_from_the_death_of_the_previous_one() {
    let recoveries = kill_holders("process", |central| {
        central.segment().value::<[u64; 11]>("ledger").unwrap().get_lock().clone()
    });
    assert_eq!(recoveries, ROUNDS, "recoveries in the log");
}

#[test]
fn the_next_holder_of_the_storage_lock_recovers_with_durability_disk_too() {
    let recoveries = kill_holders("disk", |central| {
        central.segment().value::<[u64; 11]>("ledger").unwrap().get_lock().clone()
    });
    assert_eq!(recoveries, ROUNDS, "recoveries in the log");
}

#[test]
fn the_death_of_the_holder_of_the_winners_lock_blocks_no_worker_and_miscounts_nothing() {
    kill_holders("process", |central| {
        central.segment().value::<u64>("winners").unwrap().get_lock().clone()
    });
}

#[test]
fn the_death_of_the_worker_that_syncs_for_all_blocks_no_worker_and_loses_nothing() {
    kill_holders("disk", |central| central.segment().lock("sync").unwrap());
}

/// Sends large batches, which take long to write, until one gets no answer. Returns the number of
/// answers.
fn send_large_batches(port: u16, mark: String) -> JoinHandle<usize> {
    spawn(move || {
        let answered = |number: &usize| {
            let mut agency = AgencyConnection::open(port);
            agency.try_send(&large_packet(&format!("{mark}.{number}"), BETS, 7));
            !agency.read_until_gone().is_empty()
        };
        (0..).take_while(answered).count()
    })
}

#[test]
fn a_large_batch_whose_writer_is_killed_is_stored_completely_or_not_at_all() {
    let setup = setup("process");
    let central = setup.start();
    let ledger = central.segment().value::<[u64; 11]>("ledger").unwrap();
    let (mut random, mut whole) = (Random::seeded(), 0);
    for round in 0..4 {
        let agency = send_large_batches(central.port, round.to_string());
        let holder = stop_holder(&central, ledger.get_lock(), &mut random);
        let written = setup.read_stored("bets.csv").len();
        holder.kill();
        whole += agency.join().unwrap();
        assert!(central.request(&packet_of(&format!("small{round}"), 1, 1)).len() > 2);
        let rows = setup.rows().into_iter().filter(|row| !row.contains("small")).count();
        assert!(
            rows == whole * BETS || rows == (whole + 1) * BETS,
            "{rows} rows of {whole} batches and perhaps another, {written} bytes when its writer was killed"
        );
        whole = rows / BETS;
    }
    central.none_in_flight_within_a_second();
    assert_eq!(central.results().winners, 4 + 7 * whole as u64);
    assert_eq!(
        setup.read_stored("winners.log").iter().filter(|byte| **byte == b'\n').count(),
        4 + 7 * whole
    );
    assert_eq!(central.stop().0, 0);
}
