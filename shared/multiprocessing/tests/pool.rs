//! The supervised pool: workers that die are replaced, and workers that only die are given up.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{Probe, distinct, is_gone, pool, run, started, stop, wait_until};
use nix::sys::signal::{Signal, kill};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn every_worker_becomes_ready_and_that_is_told_once() {
    let (probe, pids) = pool("serve", 4);
    assert_eq!(distinct(pids).len(), 4);
    let probe = stop(probe);
    assert_eq!((probe.count("ready "), probe.count("all-ready"), probe.count("died")), (4, 1, 0));
}

#[test]
fn a_pool_for_the_processors_there_are_has_as_many_workers() {
    let may_use = std::thread::available_parallelism().unwrap().get();
    for (wrapper, expected) in [(&[][..], may_use), (&["taskset", "-c", "0"], 1)] {
        let mut probe = Probe::start_through(wrapper, &["pool", "serve", "processors", "2000"]);
        probe.line("all-ready");
        assert_eq!(stop(probe).count("ready "), expected);
    }
}

#[test]
fn a_killed_worker_is_repaired_and_replaced_in_its_slot_within_a_second() {
    let (mut probe, pids) = pool("serve", 3);
    let mut victim = pids[1];
    for _ in 0..5 {
        let killed = Instant::now();
        kill(victim, Signal::SIGKILL).unwrap();
        probe.line("repair 1");
        assert_eq!(probe.line("died 1 "), format!("{victim} restart SIGKILL"));
        victim = started(&mut probe, 1);
        probe.line("ready 1");
        assert!(killed.elapsed() < SECOND, "{:?}", killed.elapsed());
    }
    assert!(!is_gone(pids[0]) && !is_gone(pids[2]), "a neighbour was touched");
    let probe = stop(probe);
    assert_eq!((probe.count("died 0"), probe.count("died 2"), probe.count("all-ready")), (0, 0, 1));
}

#[test]
fn a_slot_stays_empty_until_what_its_worker_left_is_put_right() {
    let (mut probe, pids) = pool("repair-later", 2);
    kill(pids[1], Signal::SIGKILL).unwrap();
    probe.line("died 1 ");
    started(&mut probe, 1);
    assert_eq!(probe.count("repair 1"), 4, "put right before the successor started");
    probe.line("ready 1");
    stop(probe);
}

#[test]
fn a_pool_stops_although_something_is_not_put_right() {
    let (mut probe, pids) = pool("repair-later", 2);
    kill(pids[1], Signal::SIGKILL).unwrap();
    probe.line("repair 1");
    let probe = stop(probe);
    assert_eq!(probe.count("started 1"), 1);
}

#[test]
fn a_worker_ended_by_a_real_time_signal_is_replaced_like_any_other() {
    let (mut probe, pids) = pool("serve", 2);
    let sent = Command::new("sh").args(["-c", "kill -40 $0", &pids[1].to_string()]).status();
    assert!(sent.unwrap().success());
    assert_eq!(probe.line("died 1 "), format!("{} restart exit code 168", pids[1]));
    probe.line("ready 1");
    stop(probe);
}

#[test]
fn workers_that_end_after_their_share_are_replaced_in_their_slots() {
    let mut probe = Probe::start(&["pool", "recycle", "3", "2000"]);
    let mut pids: [Vec<_>; 3] = Default::default();
    while pids.iter().any(|pids| pids.len() < 4) {
        let line = probe.line("started ");
        let (slot, pid) = line.split_once(' ').unwrap();
        pids[slot.parse::<usize>().unwrap()].push(pid.to_owned());
    }
    for (slot, pids) in pids.into_iter().enumerate() {
        let ends = probe.count(&format!("died {slot} "));
        assert!(ends + 1 >= pids.len(), "two workers in slot {slot} at once");
        assert_eq!(distinct(pids.clone()).len(), pids.len());
    }
    let probe = stop(probe);
    assert!(
        probe
            .seen
            .iter()
            .filter(|line| line.starts_with("died "))
            .all(|line| line.ends_with("exit code 0"))
    );
}

#[test]
fn a_slot_that_only_crashes_is_given_up_with_its_last_end() {
    for role in ["crash", "ready-and-crash"] {
        let mut probe = Probe::start(&["pool", role, "3", "2000"]);
        probe.succeed();
        let outcome = probe.seen.last().unwrap();
        assert!(
            outcome.starts_with("outcome CrashLoop { slot: 1, exit: Signal { signal: SIGABRT"),
            "{outcome}"
        );
        assert_eq!((probe.count("died 1"), probe.count("repair 1")), (8, 8));
        assert_eq!(probe.count("stopping by-itself"), 1);
    }
}

#[test]
fn a_worker_that_says_nobody_could_serve_stops_the_pool_at_once() {
    for role in ["cannot-serve", "ready-and-cannot-serve"] {
        let mut probe = Probe::start(&["pool", role, "3", "2000"]);
        probe.succeed();
        assert_eq!(probe.seen.last().unwrap(), "outcome CannotServe { slot: 1 }");
        assert_eq!(probe.count("started 1"), 1);
    }
}

#[test]
fn stray_signals_harm_neither_supervisor_nor_workers() {
    let (mut probe, pids) = pool("serve", 2);
    let stray =
        [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH, Signal::SIGTTIN, Signal::SIGTTOU];
    for signal in stray {
        probe.signal(signal);
        probe.line(&format!("ignored {signal}"));
    }
    let to_workers =
        stray.into_iter().chain([Signal::SIGPIPE, Signal::SIGPWR, Signal::SIGINT, Signal::SIGHUP]);
    for signal in to_workers.chain([Signal::SIGQUIT]) {
        pids.iter().for_each(|pid| kill(*pid, signal).unwrap());
    }
    probe.signal(Signal::SIGPIPE);
    let probe = stop(probe);
    assert_eq!(probe.count("died"), 0);
}

#[test]
fn workers_of_a_killed_supervisor_are_gone_within_a_second() {
    for role in ["serve", "ignore"] {
        let (mut probe, pids) = pool(role, 20);
        probe.signal(Signal::SIGKILL);
        let took = wait_until("the workers end", || pids.iter().all(|pid| is_gone(*pid)));
        assert!(took < SECOND, "{took:?}");
        probe.wait();
    }
}

#[test]
fn after_five_hundred_random_kills_the_sums_are_right_and_nothing_hangs() {
    run("pool-soak");
}
