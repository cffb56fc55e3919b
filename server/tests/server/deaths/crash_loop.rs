//! Workers that crash again and again: the central stops if they serve nothing in between.

use crate::harness::{CentralProcess, Setup, kill, packet_of};
use nix::sys::signal::Signal;

/// Crashes of a slot after which the central stops.
const CRASHES_TO_GIVE_UP: usize = 8;

/// Waits for a worker other than `last`, and returns it.
fn next_worker(central: &CentralProcess<'_>, last: u32) -> u32 {
    central.replaced_within_a_second(0, last)
}

#[test]
fn workers_that_crash_and_serve_nothing_in_between_stop_the_central() {
    let setup = Setup::new().with("SERVER_WORKERS", "1");
    let mut central = setup.start();
    assert!(central.request(&packet_of("a", 10, 4)).len() > 2);
    let mut worker = 0;
    // The first crash follows useful work.
    for _ in 0..CRASHES_TO_GIVE_UP {
        worker = next_worker(&central, worker);
        assert!(kill(worker, Signal::SIGABRT));
    }
    assert_eq!(central.program.exit_code(), 4);
    assert_eq!(central.program.count_lines_with("keep dying, the last one by SIGABRT"), 1);
    assert_eq!(setup.rows().len(), 10);
}

#[test]
fn workers_that_crash_after_useful_work_are_always_replaced() {
    let setup = Setup::new().with("SERVER_WORKERS", "1");
    let central = setup.start();
    let mut worker = 0;
    for round in 0..3 * CRASHES_TO_GIVE_UP {
        worker = next_worker(&central, worker);
        assert!(central.request(&packet_of(&round.to_string(), 10, 4)).len() > 2);
        assert!(kill(worker, Signal::SIGABRT));
    }
    next_worker(&central, worker);
    assert_eq!(central.results().winners, 96);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn killed_workers_are_always_replaced_even_if_they_serve_nothing() {
    let setup = Setup::new().with("SERVER_WORKERS", "1");
    let central = setup.start();
    let mut worker = 0;
    for _ in 0..3 * CRASHES_TO_GIVE_UP {
        worker = next_worker(&central, worker);
        assert!(kill(worker, Signal::SIGKILL));
    }
    next_worker(&central, worker);
    assert_eq!(central.stop().0, 0);
}
