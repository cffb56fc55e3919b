//! The supervisor is killed: its workers exit with it, and the next start recovers what they left.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::{
    BatchRecord, Load, Program, Random, Setup, StoppedProcess, eventually, packet_of,
};
use nix::sys::signal::Signal;

const ROUNDS: usize = 5;

fn setup(durability: &str) -> (Setup, u16) {
    let mut setup = Setup::new().with("SERVER_DURABILITY", durability);
    let port = setup.keep_port();
    (setup, port)
}

/// Kills the supervisor under load and starts the next central, in every second round at once.
fn kill_supervisors(durability: &str) {
    let (setup, port) = setup(durability);
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(4, port, &record, &mut random);
    for round in 0..ROUNDS {
        let start = Instant::now();
        let mut central = setup.start();
        // The start waits until the workers of the killed supervisor have ended, and no longer.
        assert!(start.elapsed() < Duration::from_secs(2), "started after {:?}", start.elapsed());
        let before = record.acknowledged();
        eventually("the agencies are served", || record.acknowledged(), |now| *now > before + 20);

        central.program.signal(Signal::SIGKILL);

        assert_eq!(central.program.exit_code(), 128 + 9);
        if round % 2 == 0 {
            setup.assert_nothing_left(port);
        }
    }
    load.stop();
    let central = setup.start();
    let totals = record.check(&setup, &central);
    assert!(totals.bets > 0);
    assert_eq!(central.stop().0, 0);
    setup.assert_nothing_left(port);
}

#[test]
fn workers_end_with_a_killed_supervisor_and_the_next_start_has_all_bets() {
    kill_supervisors("process");
}

#[test]
fn workers_end_with_a_killed_supervisor_and_the_next_start_has_all_bets_with_durability_disk() {
    kill_supervisors("disk");
}

#[test]
fn the_next_start_reclaims_what_a_kill_of_all_processes_leaves() {
    let (setup, port) = setup("process");
    let central = setup.start();
    assert!(central.request(&packet_of("a", 5, 3)).len() > 2);
    central.kill_all();
    // No process is left to remove the entry, but any central that starts removes it, including
    // one of a parallel test.
    let status = setup.run(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    let reason = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(reason.contains("was killed") || reason.contains("no central runs"), "{status:?}");

    let central = setup.start();
    assert_eq!(central.results().winners, 3);
    assert_eq!(central.number("bets"), 5);
    assert_eq!(central.number("worker_deaths"), 0, "counts start from zero");
    assert_eq!(central.stop().0, 0);
    setup.assert_nothing_left(port);
}

#[test]
fn a_start_waits_for_the_last_worker_of_a_killed_supervisor() {
    let (setup, port) = setup("process");
    let mut central = setup.start();
    assert!(central.request(&packet_of("a", 5, 3)).len() > 2);
    // A stopped worker does not notice the death and keeps the storage and the port.
    let last = StoppedProcess::new(central.worker_pids()[0]);
    central.program.signal(Signal::SIGKILL);
    central.program.exit_code();

    let mut next = Program::start(&mut setup.command(&["run"]));
    let lock = setup.stored("lock");
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", next.pid())).unwrap().flatten();
    let waits =
        || descriptors().any(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == lock));
    eventually("the next start waits for the storage", waits, |waits| *waits);
    drop(last);
    next.line_with("action: listen | result: success");
    next.line_with("action: recovery | result: success | bets: 5 | winners: 3");
    next.signal(Signal::SIGTERM);
    assert_eq!(next.exit_code(), 0);
    setup.assert_nothing_left(port);
}
