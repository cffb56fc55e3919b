//! Stopping a pool: in order, in haste, and at moments that do not suit it.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Probe, is_gone, parse_pid, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Starts a pool of three with this grace, and waits until all workers are started.
fn pool(role: &str, grace_ms: u64) -> (Probe, Vec<Pid>) {
    let mut probe = Probe::start(&["pool", role, "3", &grace_ms.to_string()]);
    let pids = (0..3).map(|slot| parse_pid(&probe.line(&format!("started {slot} ")))).collect();
    (probe, pids)
}

/// Waits for the end of a pool that was stopped by a signal, and says how long that took.
fn ended(probe: &mut Probe, since: Instant) -> Duration {
    probe.succeed();
    let took = since.elapsed();
    assert_eq!(probe.seen.last().unwrap(), "outcome Stopped");
    took
}

#[test]
fn sigterm_sigint_and_sighup_stop_in_order_and_every_worker_exits_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let (mut probe, pids) = pool("serve", 10_000);
        probe.line("all-ready");
        let asked = Instant::now();
        probe.signal(signal);
        let took = ended(&mut probe, asked);
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!(probe.count(&format!("stopping {signal}")), 1);
        // A worker that ended otherwise would have been told.
        assert_eq!((probe.count("died"), probe.count("killed"), probe.count("repair")), (0, 0, 3));
        assert!(pids.into_iter().all(is_gone));
    }
}

#[test]
fn workers_that_do_not_stop_are_killed_when_the_grace_is_over() {
    let (mut probe, pids) = pool("ignore", 500);
    probe.line("all-ready");
    // Stopped by a debugger, say: not even a signal reaches it.
    kill(pids[0], Signal::SIGSTOP).unwrap();
    let asked = Instant::now();
    probe.signal(Signal::SIGTERM);
    let took = ended(&mut probe, asked);
    assert!(took >= Duration::from_millis(500) && took < Duration::from_millis(2500), "{took:?}");
    assert_eq!(probe.count("killed 3"), 1);
    assert!(pids.into_iter().all(is_gone));
}

#[test]
fn a_second_signal_or_sigquit_stops_at_once() {
    for (first, second) in [
        (Signal::SIGTERM, Some(Signal::SIGTERM)),
        (Signal::SIGTERM, Some(Signal::SIGINT)),
        (Signal::SIGINT, Some(Signal::SIGQUIT)),
        (Signal::SIGQUIT, None),
    ] {
        let (mut probe, _) = pool("ignore", 20_000);
        probe.line("all-ready");
        probe.signal(first);
        probe.line("stopping ");
        let asked = Instant::now();
        if let Some(second) = second {
            probe.signal(second);
        }
        let took = ended(&mut probe, asked);
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(probe.count("killed 3"), 1);
    }
}

#[test]
fn sigterm_while_workers_start_stops_the_pool() {
    let (mut probe, _) = pool("hang", 300);
    let asked = Instant::now();
    probe.signal(Signal::SIGTERM);
    let took = ended(&mut probe, asked);
    assert!(took < Duration::from_millis(2300), "{took:?}");
    assert_eq!(probe.count("all-ready"), 0);
}

#[test]
fn sigterm_at_any_moment_from_the_first_fork_on_stops_the_pool() {
    for step in 0..40 {
        let mut probe = Probe::start(&["pool", "serve", "4", "10000"]);
        probe.line("started 0");
        wait(Duration::from_micros(step * 75));
        probe.signal(Signal::SIGTERM);
        let took = ended(&mut probe, Instant::now());
        assert!(took < Duration::from_secs(5), "{took:?} after step {step}");
        assert_eq!(
            probe.count("killed"),
            0,
            "a worker missed the signal at step {step}: {:?}",
            probe.seen
        );
    }
}

/// Spins: the moments that matter are shorter than a sleep.
fn wait(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {}
}

#[test]
fn sigterm_during_a_back_off_stops_the_pool_and_starts_nobody() {
    let (mut probe, _) = pool("crash", 10_000);
    while !probe.line("died 1 ").contains(" pause ") {}
    let asked = Instant::now();
    probe.signal(Signal::SIGTERM);
    probe.line("stopping SIGTERM");
    let started = probe.count("started");
    let took = ended(&mut probe, asked);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(probe.count("started"), started);
}

#[test]
fn ctrl_c_to_the_whole_group_is_one_orderly_stop() {
    let (mut probe, _) = pool("serve", 10_000);
    probe.line("all-ready");
    probe.signal_group(Signal::SIGINT);
    probe.succeed();
    assert_eq!(
        (probe.count("stopping SIGINT"), probe.count("died"), probe.count("killed")),
        (1, 0, 0)
    );
    assert_eq!(probe.seen.last().unwrap(), "outcome Stopped");
}

#[test]
fn sigterm_to_the_whole_group_is_one_orderly_stop_too() {
    let (mut probe, _) = pool("serve", 10_000);
    probe.line("all-ready");
    probe.signal_group(Signal::SIGTERM);
    probe.succeed();
    assert_eq!(
        (probe.count("stopping SIGTERM"), probe.count("died"), probe.count("killed")),
        (1, 0, 0)
    );
}

#[test]
fn a_worker_killed_while_the_pool_stops_is_repaired_and_not_replaced() {
    let (mut probe, pids) = pool("ignore", 700);
    probe.line("all-ready");
    probe.signal(Signal::SIGTERM);
    probe.line("stopping ");
    kill(pids[2], Signal::SIGKILL).unwrap();
    assert_eq!(probe.line("died 2 "), format!("{} stay SIGKILL", pids[2]));
    probe.succeed();
    assert_eq!((probe.count("repair"), probe.count("started"), probe.count("killed 2")), (3, 3, 1));
}

#[test]
fn no_grace_at_all_is_an_immediate_stop_and_endless_grace_is_no_overflow() {
    let (mut probe, _) = pool("ignore", 0);
    probe.line("all-ready");
    let asked = Instant::now();
    probe.signal(Signal::SIGTERM);
    assert!(ended(&mut probe, asked) < Duration::from_secs(2));
    assert_eq!(probe.count("killed"), 1);

    let (mut probe, pids) = pool("serve", u64::MAX);
    probe.line("all-ready");
    probe.signal(Signal::SIGTERM);
    probe.succeed();
    wait_until("the workers end", || pids.iter().all(|pid| is_gone(*pid)));
}
