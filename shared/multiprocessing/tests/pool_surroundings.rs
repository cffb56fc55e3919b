//! The supervised pool and what surrounds it: descriptors, limits, inherited dispositions, being the first process of a container.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Probe, can_unshare, distinct, is_gone, parse_pid, pool, started, stop, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn every_worker_has_the_same_descriptors_whenever_it_started() {
    let (mut probe, pids) = pool("descriptors", 5);
    kill(pids[0], Signal::SIGKILL).unwrap();
    probe.line("ready 0");
    let probe = stop(probe);
    assert_eq!(probe.count("descriptors "), 6);
    let counts = distinct(probe.seen.iter().filter(|line| line.starts_with("descriptors ")));
    assert_eq!(counts.len(), 1, "{counts:?}");
}

#[test]
fn two_hundred_workers_start_serve_and_stop_under_a_supervisor_of_one_thread() {
    let (probe, pids) = pool("serve", 200);
    let threads = std::fs::read_dir(format!("/proc/{}/task", probe.pid())).unwrap().count();
    assert_eq!(threads, 1);
    let probe = stop(probe);
    assert!(pids.into_iter().all(is_gone));
    assert_eq!(probe.count("ready "), 200);
}

#[test]
fn a_supervisor_that_was_started_with_sigchld_ignored_still_sees_deaths() {
    let wrapper = ["env", "--ignore-signal=CHLD"];
    let mut probe = Probe::start_through(&wrapper, &["pool", "serve", "2", "2000"]);
    let victim = started(&mut probe, 0);
    probe.line("all-ready");
    kill(victim, Signal::SIGKILL).unwrap();
    probe.line("ready 0");
    stop(probe);
}

#[test]
fn a_start_that_fails_half_way_takes_back_what_was_started() {
    // Each worker costs the supervisor a descriptor.
    let wrapper = ["sh", "-c", "ulimit -n 12; exec \"$0\" \"$@\""];
    let mut probe = Probe::start_through(&wrapper, &["pool", "serve", "20", "2000"]);
    assert_eq!(probe.join().code(), Some(1));
    assert!(probe.seen.last().unwrap().starts_with("error starting worker "), "{:?}", probe.seen);
    let started: Vec<_> =
        probe.seen.iter().filter_map(|line| line.strip_prefix("started ")).collect();
    assert!(!started.is_empty() && started.len() < 20);
    assert!(started.iter().all(|line| is_gone(parse_pid(line.split(' ').nth(1).unwrap()))));
}

#[test]
fn as_the_first_process_of_a_container_it_reaps_orphans_and_takes_none_for_a_worker() {
    if !can_unshare("a pool as process 1") {
        return;
    }
    // Orphans end with the codes that mean something for a worker, and by signals, with and without a name.
    let script = "for i in 1 2 3 4 5; do (sleep 0.2; exit 3) & (sleep 0.3; exit 1) & sleep 0.4 & \
                  (sleep 0.2; kill -40 $(exec sh -c 'echo $PPID')) & done; exec \"$0\" \"$@\"";
    let wrapper = [
        "unshare",
        "--mount",
        "--mount-proc",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        script,
    ];
    let mut probe = Probe::start_through(&wrapper, &["pool", "serve", "2", "2000"]);
    probe.line("all-ready");
    let inside = children_of(probe.pid())[0];
    assert_eq!(std::fs::read_to_string(format!("/proc/{inside}/comm")).unwrap().trim(), "probe");
    wait_until("all orphans are reaped", || children_of(inside).len() == 2);
    let workers = children_of(inside);
    kill(workers[0], Signal::SIGKILL).unwrap();
    probe.line("ready ");
    kill(inside, Signal::SIGTERM).unwrap();
    probe.succeed();
    assert_eq!(probe.seen.last().unwrap(), "outcome Stopped");
    assert_eq!(probe.count("died"), 1);
}

/// The children of a process that has one thread.
fn children_of(pid: Pid) -> Vec<Pid> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    listed.split_whitespace().map(parse_pid).collect()
}
