//! Descriptors, limits, inherited signal dispositions, and pools in containers.

use nix::sys::signal::{Signal, kill};

use super::supervised::{pool, start, started, stop};
use crate::common::{
    apply, children_of, distinct, is_gone, needs_namespaces, parse_pid, test, wait_until,
};

#[apply(test)]
fn every_worker_has_the_same_descriptors_no_matter_when_it_starts() {
    let (mut program, pids) = pool("descriptors", 5);
    kill(pids[0], Signal::SIGKILL).unwrap();
    program.line("ready 0");
    let program = stop(program);
    assert_eq!(program.count("descriptors "), 6);
    let counts = distinct(program.seen.iter().filter(|line| line.starts_with("descriptors ")));
    assert_eq!(counts.len(), 1, "{counts:?}");
}

#[apply(test)]
fn two_hundred_workers_start_serve_and_stop_under_a_supervisor_of_one_thread() {
    let (program, pids) = pool("serve", 200);
    let threads = std::fs::read_dir(format!("/proc/{}/task", program.pid())).unwrap().count();
    assert_eq!(threads, 1);
    let program = stop(program);
    assert!(pids.into_iter().all(is_gone));
    assert_eq!(program.count("ready "), 200);
}

#[apply(test)]
fn a_supervisor_that_was_started_with_sigchld_ignored_still_sees_deaths() {
    let wrapper = ["env", "--ignore-signal=CHLD"];
    let mut program = start(&wrapper, "serve", "2", 2000);
    let victim = started(&mut program, 0);
    program.line("all-ready");
    kill(victim, Signal::SIGKILL).unwrap();
    program.line("ready 0");
    stop(program);
}

#[apply(test)]
fn a_failed_start_ends_the_workers_that_were_already_started() {
    // Each worker costs the supervisor a descriptor.
    let wrapper = ["sh", "-c", "ulimit -n 12; exec \"$0\" \"$@\""];
    let mut program = start(&wrapper, "serve", "20", 2000);
    assert_eq!(program.join().code(), Some(1));
    assert!(
        program.seen.last().unwrap().starts_with("error starting worker "),
        "{:?}",
        program.seen
    );
    let started: Vec<_> =
        program.seen.iter().filter_map(|line| line.strip_prefix("started ")).collect();
    assert!(!started.is_empty() && started.len() < 20);
    assert!(started.iter().all(|line| is_gone(parse_pid(line.split(' ').nth(1).unwrap()))));
}

#[apply(test)]
fn as_the_first_process_of_a_container_a_pool_reaps_orphans_and_takes_none_for_a_worker() {
    needs_namespaces();
    // Orphans end with exit codes that have a meaning for workers, and by signals with and without
    // a name.
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
    let mut program = start(&wrapper, "serve", "2", 2000);
    program.line("all-ready");
    let inside = children_of(program.pid())[0];
    // The program itself, not the shell that it replaced.
    let command = std::fs::read_to_string(format!("/proc/{inside}/comm")).unwrap();
    assert!(command.starts_with("processes"), "{command}");
    wait_until("all orphans are reaped", || children_of(inside).len() == 2);
    let workers = children_of(inside);
    kill(workers[0], Signal::SIGKILL).unwrap();
    program.line("ready ");
    kill(inside, Signal::SIGTERM).unwrap();
    program.succeed();
    assert_eq!(program.seen.last().unwrap(), "outcome Stopped");
    assert_eq!(program.count("died"), 1);
}
