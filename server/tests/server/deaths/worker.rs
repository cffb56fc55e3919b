//! A worker is killed: its unfinished batches are gone, its stored batches count, and the others
//! are not affected.

use std::time::{Duration, Instant};

use crate::harness::{
    AgencyConnection, CentralProcess, Setup, StoppedProcess, eventually, eventually_within, kill,
    packet_of,
};
use lottery::Results;
use multiprocessing::{LockError, Segment, ValueGuard};
use nix::sys::signal::Signal;

const SECOND: Duration = Duration::from_secs(1);

fn setup() -> Setup {
    Setup::new()
}

/// Sends the first half of a batch to the worker of this slot, by stopping the other workers for
/// that time.
fn half_sent_to(central: &CentralProcess<'_>, slot: usize, packet: &[u8]) -> AgencyConnection {
    let processing = central.segment().raw_array::<u16>("in_flight").unwrap();
    let before = processing.load(slot);
    let pids = central.worker_pids();
    let others = pids.iter().enumerate().filter(|(other, _)| *other != slot);
    let stopped: Vec<_> = others.map(|(_, pid)| StoppedProcess::new(*pid)).collect();
    let mut agency = central.connect();
    agency.send(&packet[..packet.len() / 2]);
    eventually("the batch in flight", || processing.load(slot), |now| *now == before + 1);
    drop(stopped);
    agency
}

fn winners(segment: &Segment) -> multiprocessing::Value<u64> {
    segment.value("winners").unwrap()
}

fn locked(value: &multiprocessing::Value<u64>) -> ValueGuard<'_, u64> {
    match value.lock() {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(inherited)) => inherited.repaired(),
        Err(LockError::Failed(failure)) => panic!("{failure}"),
    }
}

/// Sends three bets, two of which win, and waits until a worker has stored them. Returns the
/// connection and the slot of the worker.
fn stored_by_one(setup: &Setup, central: &CentralProcess<'_>) -> (AgencyConnection, usize) {
    let mut agency = central.connect();
    agency.send(&packet_of("stored", 3, 2));
    let processing = central.segment().raw_array::<u16>("in_flight").unwrap();
    let busy = || (0..2).find(|slot| processing.load(*slot) == 1 && setup.rows().len() == 3);
    let slot = eventually("stored", busy, Option::is_some).unwrap();
    (agency, slot)
}

#[test]
fn a_worker_killed_while_a_batch_arrives_leaves_nothing_of_it_and_harms_no_other_client() {
    let setup = setup();
    let central = setup.start();
    let packets: Vec<_> = (0..4).map(|other| packet_of(&format!("other{other}"), 20, 5)).collect();
    let mut others: Vec<_> =
        packets.iter().map(|packet| half_sent_to(&central, 1, packet)).collect();
    let lost = packet_of("lost", 20, 20);
    let mut victim = half_sent_to(&central, 0, &lost);
    assert_eq!(central.number("agencies_in_flight"), 5);
    let pid = central.worker_pids()[0];

    kill(pid, Signal::SIGKILL);

    assert!(victim.read_until_gone().is_empty());
    central.replaced_within_a_second(0, pid);
    eventually_within(
        SECOND,
        "the batch of the dead worker no longer in flight",
        || central.number("agencies_in_flight"),
        |n| *n == 4,
    );
    let repeated = half_sent_to(&central, 0, &lost);
    others.push(repeated);
    for (agency, packet) in others.iter_mut().zip(packets.iter().chain([&lost])) {
        agency.send(&packet[packet.len() / 2..]);
        assert!(
            agency.read_to_end().len() > 2,
            "clients of the other worker and the client that retries get an answer"
        );
    }
    central.none_in_flight_within_a_second();
    assert_eq!(setup.rows().len(), 5 * 20);
    assert_eq!(central.results(), Results { winners: 4 * 5 + 20, in_flight: 0 });
    assert_eq!(central.number("worker_deaths"), 1);
    let deaths: Vec<_> = central
        .program
        .lines()
        .into_iter()
        .filter(|line| line.contains("action: worker | result: fail"))
        .collect();
    let [line] = deaths.as_slice() else { panic!("one line per death: {deaths:?}") };
    for part in ["WARNING", "worker: 0", &format!("pid: {pid}"), "SIGKILL", "uptime: "] {
        assert!(line.contains(part), "{part:?} in {line:?}");
    }
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_batch_that_is_stored_but_not_answered_when_its_worker_dies_counts() {
    for durability in ["process", "disk"] {
        let setup = setup().with("SERVER_DURABILITY", durability);
        let central = setup.start();
        let segment = central.segment();
        let winners = winners(&segment);
        // Publishing needs this lock, so the worker waits between storing and answering.
        let guard = locked(&winners);
        let (mut agency, slot) = stored_by_one(&setup, &central);
        let (pid, processing) =
            (central.worker_pids()[slot], segment.raw_array::<u16>("in_flight").unwrap());

        kill(pid, Signal::SIGKILL);
        assert!(agency.read_until_gone().is_empty());
        assert_eq!((*guard, processing.load(slot)), (0, 1), "not yet counted, so still in flight");
        drop(guard);

        central.replaced_within_a_second(slot, pid);
        assert_eq!(central.results(), Results { winners: 2, in_flight: 0 });
        assert_eq!(central.number("bets"), 3);
        assert_eq!(central.stop().0, 0);
    }
}

#[test]
fn a_batch_of_a_dead_worker_stays_in_flight_until_it_can_be_counted() {
    let setup = setup();
    let central = setup.start();
    let segment = central.segment();
    let winners = winners(&segment);
    let guard = locked(&winners);
    let (_agency, slot) = stored_by_one(&setup, &central);
    let (pid, processing) =
        (central.worker_pids()[slot], segment.raw_array::<u16>("in_flight").unwrap());

    kill(pid, Signal::SIGKILL);
    // This test holds the lock that counting needs, as a stopped process would.
    central.program.line_with("action: repair | result: fail");
    assert_eq!(processing.load(slot), 1, "still in flight");
    drop(guard);

    central.replaced_within_a_second(slot, pid);
    assert_eq!(central.results(), Results { winners: 2, in_flight: 0 });
    assert_eq!(central.stop().0, 0);
}

#[test]
fn connections_in_the_queue_of_the_only_worker_are_served_by_its_successor() {
    let setup = setup().with("SERVER_WORKERS", "1");
    let central = setup.start();
    let [pid] = central.worker_pids()[..] else { panic!("one worker") };
    let stopped = StoppedProcess::new(pid);
    let mut agencies: Vec<_> = (0..20).map(|_| central.connect()).collect();
    for (number, agency) in agencies.iter_mut().enumerate() {
        agency.send(&packet_of(&number.to_string(), 10, 1));
    }

    stopped.kill();

    let start = Instant::now();
    for agency in &mut agencies {
        assert!(agency.read_to_end().len() > 2);
    }
    assert!(start.elapsed() < SECOND, "served after {:?}", start.elapsed());
    assert_eq!((setup.rows().len(), central.results().winners), (200, 20));
    assert_eq!(central.stop().0, 0);
}

#[test]
fn all_workers_killed_at_once_are_replaced_each_time() {
    let setup = setup().with("SERVER_WORKERS", "4");
    let central = setup.start();
    for round in 1..=10 {
        let pids = central.worker_pids();
        pids.iter().for_each(|pid| assert!(kill(*pid, Signal::SIGKILL)));
        for (slot, pid) in pids.into_iter().enumerate() {
            central.replaced_within_a_second(slot, pid);
        }
        assert!(central.request(&packet_of(&round.to_string(), 1, 1)).len() > 2);
    }
    assert_eq!(central.number("worker_deaths"), 40);
    assert_eq!(central.results(), Results { winners: 10, in_flight: 0 });
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_worker_that_receives_sigterm_is_replaced_each_time_and_the_central_goes_on() {
    let setup = setup();
    let central = setup.start();
    // More often than the central would replace a crashing worker.
    for round in 1..=10 {
        let pid = central.worker_pids()[0];
        assert!(kill(pid, Signal::SIGTERM));
        central.replaced_within_a_second(0, pid);
        assert!(central.request(&packet_of(&round.to_string(), 1, 1)).len() > 2);
    }
    assert_eq!(central.results(), Results { winners: 10, in_flight: 0 });
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_worker_that_aborts_logs_the_calls_in_progress_and_is_replaced() {
    let setup = setup();
    let central = setup.start();
    let pid = central.worker_pids()[0];
    assert!(kill(pid, Signal::SIGABRT));
    central.replaced_within_a_second(0, pid);
    let line = central.program.line_with("action: backtrace | result: fail | worker: 0 | pid: ");
    assert!(line.contains(&format!("pid: {pid} | calls: ")), "{line}");
    let own = line.split(' ').filter(|word| word.starts_with("loteria-central+0x")).count();
    assert!(own >= 5, "{own} calls of the server in {line}");
    let died = central.program.line_with(&format!("pid: {pid} | error: SIGABRT"));
    assert!(died.contains("next: start a replacement"), "{died}");
    assert_eq!(central.stop().0, 0);
}
