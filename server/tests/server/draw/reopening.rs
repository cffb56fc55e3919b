//! Bets that are reopened while an agency's report is stored and not answered, and a worker that is
//! killed while it reopens the bets.
//!
//! A preloaded library kills the worker. The tests compile it, so they need a C compiler.

use std::thread::{scope, sleep};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::operator::{both_finish, done, setup};
use crate::harness::{
    CentralProcess, FileShim, Participant, Program, Setup, eventually, eventually_within,
};

/// The operations of a reopening, in order, and how many agencies have finished if a worker is
/// killed instead of performing one of them.
const KILLS: [(&str, u64); 4] = [
    ("write journal killed", 2),
    ("sync journal killed", 0),
    ("write finished killed", 0),
    ("sync finished killed", 0),
];

/// The time after which a worker no longer waits for a lock, and what a busy machine adds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(25);

#[test]
fn a_report_that_is_answered_only_after_bets_were_reopened_is_not_acknowledged() {
    let setup = Setup::new()
        .with("SERVER_PROTOCOL", "framed")
        .with("SERVER_AGENCIES", "2")
        .with("SERVER_WORKERS", "1")
        .with("SERVER_REQUEST_TIMEOUT", "60s");
    let central = setup.start();
    let winners = central.segment().value::<u64>("winners").unwrap();
    // This test holds the lock, as a stopped process would. So the report is stored, and cannot be
    // published.
    let guard = winners.lock().unwrap();
    let mut agency = Participant::connect(central.port, "framed", 1);
    scope(|scope| {
        let reported = scope.spawn(|| agency.try_notify());
        let given_up = || central.program.count_lines_with("action: publish | result: fail");
        eventually_within(LOCK_TIMEOUT, "the wait given up", given_up, |lines| *lines == 1);
        assert_eq!(central.number("agencies_finished"), 1);
        let port = central.port.to_string();
        let reopened = setup.run(&["draw", "--port", &port, "--reopen"]);
        assert!(reopened.status.success(), "{reopened:?}");
        // The worker notices within 250 ms.
        sleep(Duration::from_secs(1));
        drop(guard);
        reported.join().unwrap().expect_err("a report that does not count was acknowledged");
    });
    assert_eq!(central.number("agencies_finished"), 0);
    Participant::connect(central.port, "framed", 1).try_notify().unwrap();
    assert_eq!(central.number("agencies_finished"), 1);
    assert_eq!(central.stop().0, 0);
}

/// Starts a central of which a worker can be killed. Without a C compiler, reports the test as left
/// out.
fn start(setup: &Setup) -> Option<(CentralProcess<'_>, FileShim)> {
    let shim = FileShim::compile(setup)?;
    let mut command = setup.command(&["run"]);
    shim.preload(&mut command);
    Some((setup.start_by(&mut command), shim))
}

#[test]
fn another_worker_completes_the_reopening_of_a_killed_one() {
    for durability in ["disk", "process"] {
        for (order, _) in KILLS {
            let setup = setup("framed").with("SERVER_DURABILITY", durability);
            let Some((central, shim)) = start(&setup) else { return };
            let agencies = both_finish(&central, "framed");
            shim.fail_next(order);
            done(&setup, &central, "--reopen");
            let context = format!("{durability}, {order}");
            assert!(!shim.is_pending(), "{context}");
            for mut agency in agencies {
                assert!(agency.connection().read_until_gone().is_empty(), "{context}");
            }
            assert_eq!(central.number("agencies_finished"), 0, "{context}");
            assert_eq!(central.number("worker_deaths"), 1, "{context}");
            drop(both_finish(&central, "framed"));
            assert_eq!(central.number("agencies_finished"), 2, "{context}");
            assert_eq!(central.stop().0, 0, "{context}");
        }
    }
}

#[test]
fn a_start_after_the_kill_of_all_processes_finds_all_marks_or_none() {
    for durability in ["disk", "process"] {
        for (order, finished) in KILLS {
            let setup = setup("framed").with("SERVER_DURABILITY", durability);
            let setup = setup.with("SERVER_WORKERS", "1");
            let Some((central, shim)) = start(&setup) else { return };
            drop(both_finish(&central, "framed"));
            let (port, workers) = (central.port.to_string(), central.worker_pids());
            // A stopped supervisor does not replace the worker, which would complete the command.
            central.program.signal(Signal::SIGSTOP);
            shim.fail_next(order);
            let _reopening =
                Program::start(&mut setup.command(&["draw", "--port", &port, "--reopen"]));
            eventually("the kill", || shim.is_pending(), |pending| !pending);
            central.kill_all_with(&workers);

            let central = setup.start();
            let context = format!("{durability}, {order}");
            assert_eq!(central.number("agencies_finished"), finished, "{context}");
            done(&setup, &central, "--reopen");
            let agencies = both_finish(&central, "framed");
            done(&setup, &central, "--confirm");
            drop(agencies);
            assert_eq!(central.stop().0, 0, "{context}");
        }
    }
}
