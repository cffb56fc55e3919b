//! The supervisor is killed: its workers go with it, and the next start takes over what they left.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::{Book, Load, Program, Random, Setup, Stopped, eventually, packet_of};
use nix::sys::signal::Signal;

const ROUNDS: usize = 5;

fn setup(durability: &str) -> (Setup, u16) {
    let mut setup = Setup::new().with("SERVER_DURABILITY", durability);
    let port = setup.keep_port();
    (setup, port)
}

/// Kills the supervisor under load, and starts the next central at once or when everything is gone.
fn kill_supervisors(durability: &str) {
    let (setup, port) = setup(durability);
    let (book, mut random) = (Arc::new(Book::default()), Random::seeded());
    let load = Load::start(4, port, &book, &mut random);
    for round in 0..ROUNDS {
        let start = Instant::now();
        let mut central = setup.start();
        // A predecessor's workers may take some time to end, and this waits for them, not longer.
        assert!(start.elapsed() < Duration::from_secs(2), "started after {:?}", start.elapsed());
        let before = book.acknowledged();
        eventually("the agencies are served", || book.acknowledged(), |now| *now > before + 20);

        central.program.signal(Signal::SIGKILL);

        assert_eq!(central.program.exit_code(), 128 + 9);
        if round % 2 == 0 {
            setup.nothing_left_on(port);
        }
    }
    load.stop();
    let central = setup.start();
    let totals = book.check(&setup, &central);
    assert!(totals.bets > 0);
    assert_eq!(central.stop().0, 0);
    setup.nothing_left_on(port);
}

#[test]
fn a_killed_supervisor_takes_its_workers_with_it_and_the_next_start_has_everything() {
    kill_supervisors("process");
}

#[test]
fn a_killed_supervisor_takes_its_workers_with_it_and_the_next_start_has_everything_with_durability_disk()
 {
    kill_supervisors("disk");
}

#[test]
fn what_a_kill_of_everybody_leaves_is_reclaimed_by_the_next_start() {
    let (setup, port) = setup("process");
    let central = setup.start();
    assert!(central.request(&packet_of("a", 5, 3)).len() > 2);
    central.kill_everything();
    // Nobody was left to remove the entry, but any central that starts does, also one of a test beside this.
    let status = setup.run(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    let reason = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(reason.contains("was killed") || reason.contains("no central runs"), "{status:?}");

    let central = setup.start();
    assert_eq!(central.results().winners, 3);
    assert_eq!(central.number("bets"), 5);
    assert_eq!(central.number("worker_deaths"), 0, "the counts of the dead one are not taken over");
    assert_eq!(central.stop().0, 0);
    setup.nothing_left_on(port);
}

#[test]
fn a_start_waits_for_the_last_worker_of_a_killed_supervisor() {
    let (setup, port) = setup("process");
    let mut central = setup.start();
    assert!(central.request(&packet_of("a", 5, 3)).len() > 2);
    // A worker that stands still notices nothing: it keeps storage and port.
    let last = Stopped::new(central.worker_pids()[0]);
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
    next.line_with("action: recuperacion | result: success | apuestas: 5 | ganadores: 3");
    next.signal(Signal::SIGTERM);
    assert_eq!(next.exit_code(), 0);
    setup.nothing_left_on(port);
}
