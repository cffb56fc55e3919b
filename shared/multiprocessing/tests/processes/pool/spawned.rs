//! Pools whose workers are spawned, by a supervisor with a second thread.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use super::supervised::{pool, start, started, stop};
use crate::common::{apply, distinct, is_gone, test, wait_until};

const SECOND: Duration = Duration::from_secs(1);

#[apply(test)]
fn spawned_workers_become_ready_and_stop_gracefully() {
    let (program, pids) = pool("spawned-serve", 3);
    assert_eq!(distinct(pids).len(), 3);
    let program = stop(program);
    let counts = ["ready ", "all-ready", "died", "killed"].map(|line| program.count(line));
    assert_eq!(counts, [3, 1, 0, 0]);
}

#[apply(test)]
fn a_killed_spawned_worker_is_repaired_and_replaced_within_a_second() {
    let (mut program, pids) = pool("spawned-serve", 2);
    let mut victim = pids[1];
    for _ in 0..3 {
        let killed = Instant::now();
        kill(victim, Signal::SIGKILL).unwrap();
        program.line("repair 1");
        assert_eq!(program.line("died 1 "), format!("{victim} restart SIGKILL"));
        victim = started(&mut program, 1);
        program.line("ready 1");
        assert!(killed.elapsed() < SECOND, "{:?}", killed.elapsed());
    }
    assert!(!is_gone(pids[0]), "another worker ended");
    stop(program);
}

#[apply(test)]
fn a_reload_replaces_spawned_workers_by_copies_of_the_workload_as_it_is_then() {
    let (mut program, old) = pool("spawned-serve", 2);
    program.signal(Signal::SIGHUP);
    program.line("reloading 2");
    program.line("all-ready");
    // The workers end in any order.
    let mut retired = [(); 2].map(|()| program.line("retired "));
    retired.sort();
    assert_eq!(retired, [0, 1].map(|slot| format!("{slot} {}", old[slot])));
    stop(program);
    // The workload has noted the reload, and its new workers hang.
    let (mut program, _) = pool("spawned-reload-hangs", 1);
    program.signal(Signal::SIGHUP);
    program.line("reloading 1");
    started(&mut program, 1);
    assert_eq!(stop(program).count("ready 1"), 0);
}

#[apply(test)]
fn spawned_workers_of_a_killed_supervisor_are_gone_within_a_second() {
    let (program, pids) = pool("spawned-ignore", 2);
    program.signal(Signal::SIGKILL);
    let killed = Instant::now();
    wait_until("the workers end", || pids.iter().all(|pid| is_gone(*pid)));
    assert!(killed.elapsed() < SECOND);
}

#[apply(test)]
fn every_spawned_worker_has_the_same_descriptors_no_matter_when_it_starts() {
    let mut program = start(&[], "spawned-descriptors", "3", 2000);
    program.line("all-ready");
    let victim = program.seen.iter().find_map(|line| line.strip_prefix("started 2 "));
    kill(crate::common::parse_pid(victim.unwrap()), Signal::SIGKILL).unwrap();
    program.line("died 2 ");
    program.line("ready 2");
    let program = stop(program);
    let counts = program.seen.iter().filter_map(|line| line.strip_prefix("descriptors "));
    let counts: Vec<_> = counts.map(str::to_owned).collect();
    assert_eq!((counts.len(), distinct(counts).len()), (4, 1));
}
