//! Replacing dead workers, and giving up slots whose workers only die.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use super::supervised::{pool, start, started, stop};
use crate::common::{apply, distinct, is_gone, test, wait_until};

const SECOND: Duration = Duration::from_secs(1);

#[apply(test)]
fn every_worker_becomes_ready_and_the_pool_reports_it_once() {
    let (program, pids) = pool("serve", 4);
    assert_eq!(distinct(pids).len(), 4);
    let program = stop(program);
    assert_eq!(
        (program.count("ready "), program.count("all-ready"), program.count("died")),
        (4, 1, 0)
    );
}

#[apply(test)]
fn a_pool_for_all_processors_has_one_worker_per_processor() {
    let may_use = std::thread::available_parallelism().unwrap().get();
    for (wrapper, expected) in [(&[][..], may_use), (&["taskset", "-c", "0"], 1)] {
        let mut program = start(wrapper, "serve", "processors", 2000);
        program.line("all-ready");
        assert_eq!(stop(program).count("ready "), expected);
    }
}

#[apply(test)]
fn a_killed_worker_is_repaired_and_replaced_in_its_slot_within_a_second() {
    let (mut program, pids) = pool("serve", 3);
    let mut victim = pids[1];
    for _ in 0..5 {
        let killed = Instant::now();
        kill(victim, Signal::SIGKILL).unwrap();
        program.line("repair 1");
        assert_eq!(program.line("died 1 "), format!("{victim} restart SIGKILL"));
        victim = started(&mut program, 1);
        program.line("ready 1");
        assert!(killed.elapsed() < SECOND, "{:?}", killed.elapsed());
    }
    assert!(!is_gone(pids[0]) && !is_gone(pids[2]), "another worker ended");
    let program = stop(program);
    assert_eq!(
        (program.count("died 0"), program.count("died 2"), program.count("all-ready")),
        (0, 0, 1)
    );
}

#[apply(test)]
fn a_slot_stays_empty_until_its_repair_is_done() {
    let (mut program, pids) = pool("repair-later", 2);
    kill(pids[1], Signal::SIGKILL).unwrap();
    program.line("died 1 ");
    started(&mut program, 1);
    assert_eq!(program.count("repair 1"), 4, "repairs before the replacement starts");
    program.line("ready 1");
    stop(program);
}

#[apply(test)]
fn a_pool_stops_while_a_repair_is_pending() {
    let (mut program, pids) = pool("repair-later", 2);
    kill(pids[1], Signal::SIGKILL).unwrap();
    program.line("repair 1");
    let program = stop(program);
    assert_eq!(program.count("started 1"), 1);
}

#[apply(test)]
fn a_worker_ended_by_a_real_time_signal_is_replaced_like_any_other() {
    let (mut program, pids) = pool("serve", 2);
    let sent = Command::new("sh").args(["-c", "kill -40 $0", &pids[1].to_string()]).status();
    assert!(sent.unwrap().success());
    assert_eq!(program.line("died 1 "), format!("{} restart exit code 168", pids[1]));
    program.line("ready 1");
    stop(program);
}

#[apply(test)]
fn workers_that_end_after_their_work_are_replaced_in_their_slots() {
    let mut program = start(&[], "recycle", "3", 2000);
    let mut pids: [Vec<_>; 3] = Default::default();
    while pids.iter().any(|pids| pids.len() < 4) {
        let line = program.line("started ");
        let (slot, pid) = line.split_once(' ').unwrap();
        pids[slot.parse::<usize>().unwrap()].push(pid.to_owned());
    }
    for (slot, pids) in pids.into_iter().enumerate() {
        let ends = program.count(&format!("died {slot} "));
        assert!(ends + 1 >= pids.len(), "two workers in slot {slot} at once");
        assert_eq!(distinct(pids.clone()).len(), pids.len());
    }
    let program = stop(program);
    assert!(
        program
            .seen
            .iter()
            .filter(|line| line.starts_with("died "))
            .all(|line| line.ends_with("exit code 0"))
    );
}

#[apply(test)]
fn a_slot_whose_workers_only_crash_is_given_up_and_reports_the_last_exit() {
    for role in ["crash", "ready-and-crash"] {
        let mut program = start(&[], role, "3", 2000);
        program.succeed();
        let outcome = program.seen.last().unwrap();
        assert!(
            outcome.starts_with("outcome CrashLoop { slot: 1, exit: Signal { signal: SIGABRT"),
            "{outcome}"
        );
        assert_eq!((program.count("died 1"), program.count("repair 1")), (8, 8));
        assert_eq!(program.count("stopping by-itself"), 1);
    }
}

#[apply(test)]
fn a_worker_that_reports_that_no_worker_can_serve_stops_the_pool_at_once() {
    for role in ["cannot-serve", "ready-and-cannot-serve"] {
        let mut program = start(&[], role, "3", 2000);
        program.succeed();
        assert_eq!(program.seen.last().unwrap(), "outcome CannotServe { slot: 1 }");
        assert_eq!(program.count("started 1"), 1);
    }
}

#[apply(test)]
fn stray_signals_affect_neither_supervisor_nor_workers() {
    let (mut program, pids) = pool("serve", 2);
    for signal in [Signal::SIGUSR2, Signal::SIGWINCH] {
        program.signal(signal);
        program.line(&format!("ignored {signal}"));
    }
    let to_workers = [
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGPIPE,
        Signal::SIGPWR,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ];
    for signal in to_workers {
        pids.iter().for_each(|pid| kill(*pid, signal).unwrap());
    }
    program.signal(Signal::SIGPIPE);
    let program = stop(program);
    assert_eq!(program.count("died"), 0);
}

#[apply(test)]
fn workers_of_a_killed_supervisor_are_gone_within_a_second() {
    for role in ["serve", "ignore"] {
        let (mut program, pids) = pool(role, 20);
        program.signal(Signal::SIGKILL);
        let took = wait_until("the workers end", || pids.iter().all(|pid| is_gone(*pid)));
        assert!(took < SECOND, "{took:?}");
        program.wait();
    }
}
