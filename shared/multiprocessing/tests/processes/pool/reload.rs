//! Generations of workers: a reload replaces all of them, and signals change their number.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::supervised::{pool, start, started, stop};
use crate::common::{Program, apply, is_gone, test, wait_until};

/// Reloads, and waits until the new workers in these slots are ready. Returns their pids.
fn reload(program: &mut Program, slots: &[usize]) -> Vec<Pid> {
    program.signal(Signal::SIGHUP);
    program.line(&format!("reloading {}", slots.len()));
    let pids = slots.iter().map(|slot| started(program, *slot)).collect();
    program.line("all-ready");
    pids
}

/// Requests a reload again until there are enough free slots.
fn reload_until_accepted(program: &mut Program) {
    program.signal(Signal::SIGHUP);
    loop {
        let line = program.line("re");
        if line.starts_with("fused SIGHUP ") {
            program.signal(Signal::SIGHUP);
        } else if line.starts_with("loading ") {
            return;
        }
    }
}

#[apply(test)]
fn a_reload_replaces_every_worker_and_none_of_them_dies() {
    let (mut program, first) = pool("serve", 3);
    let second = reload(&mut program, &[3, 4, 5]);
    (0..3).for_each(|_| _ = program.line("retired "));
    assert!(first.iter().all(|pid| is_gone(*pid)));
    assert_eq!(program.count("repair "), 3, "every worker that ends is repaired");
    // The slots of the first generation are free again.
    reload(&mut program, &[0, 1, 2]);
    (0..3).for_each(|_| _ = program.line("retired "));
    assert!(second.iter().all(|pid| is_gone(*pid)));
    let program = stop(program);
    assert_eq!((program.count("died"), program.count("killed")), (0, 0));
}

#[apply(test)]
fn an_old_worker_lives_on_until_it_has_finished_and_keeps_its_slot_until_then() {
    let (mut program, old) = pool("keep", 2);
    reload(&mut program, &[2, 3]);
    program.line("retires ");
    program.line("retires ");
    program.signal(Signal::SIGHUP);
    let refused = program.line("refused SIGHUP ");
    assert_eq!(refused, "2 new workers need a slot each, and 0 of 4 slots are free");
    assert!(old.iter().all(|pid| !is_gone(*pid)));
    // It has finished its work.
    kill(old[1], Signal::SIGTERM).unwrap();
    assert_eq!(program.line("retired 1 "), old[1].to_string());
    program.signal(Signal::SIGHUP);
    program.line("refused SIGHUP 2 new workers need a slot each, and 1 of 4");
    kill(old[0], Signal::SIGTERM).unwrap();
    program.line("retired 0 ");
    reload(&mut program, &[0, 1]);
    assert_eq!(program.count("died"), 0);
    stop(program);
}

#[apply(test)]
fn an_old_worker_that_dies_is_repaired_and_not_replaced() {
    let (mut program, old) = pool("keep", 2);
    reload(&mut program, &[2, 3]);
    program.line("retires ");
    program.line("retires ");
    kill(old[0], Signal::SIGKILL).unwrap();
    program.line("repair 0");
    assert_eq!(program.line("died 0 "), format!("{} replaced SIGKILL", old[0]));
    // The next generation finds the slot free.
    kill(old[1], Signal::SIGTERM).unwrap();
    program.line("retired 1 ");
    assert_eq!(program.count("started 0 "), 1);
    reload(&mut program, &[0, 1]);
    stop(program);
}

#[apply(test)]
fn a_worker_that_died_before_a_reload_and_is_not_repaired_yet_is_not_replaced_after_it() {
    let (mut program, old) = pool("repair-later", 2);
    kill(old[0], Signal::SIGKILL).unwrap();
    assert_eq!(program.line("died 0 "), format!("{} restart SIGKILL", old[0]));
    reload(&mut program, &[2, 3]);
    program.line("retired 1 ");
    assert_eq!(program.count("not-replaced 0"), 1);
    // The slot is free once its repair is done.
    reload_until_accepted(&mut program);
    started(&mut program, 0);
    started(&mut program, 1);
    assert_eq!(program.count("not-replaced "), 1);
    stop(program);
}

/// Removes slot 1 by a signal. Returns true if that happened in the pause after a death, and false
/// if the slot had a worker.
fn removes_slot_in_a_pause(program: &mut Program) -> bool {
    // After some deaths in a row, the pauses are long enough for a signal to arrive in one.
    (0..9).for_each(|_| _ = program.line("died 1 "));
    program.signal(Signal::SIGTTOU);
    program.line("resized 1");
    loop {
        let line = program.line("");
        if line == "not-replaced 1" {
            return true;
        }
        if line.starts_with("retired 1 ")
            || (line.starts_with("died 1 ") && line.contains(" replaced "))
        {
            return false;
        }
    }
}

#[apply(test)]
fn a_worker_that_is_due_when_a_signal_removes_its_slot_is_not_started() {
    let (mut program, _) = pool("recycle", 2);
    // On a busy machine the signal may arrive after the pause.
    while !removes_slot_in_a_pause(&mut program) {
        program.signal(Signal::SIGTTIN);
        program.line("resized 2");
    }
    let started = program.count("started 1 ");
    let ended = program.count("died 1 ") + program.count("retired 1 ");
    assert_eq!(started, ended, "every worker of this slot has ended");
    let program = stop(program);
    assert_eq!(program.count("started 1 "), started);
}

#[apply(test)]
fn a_reload_does_not_shorten_the_grace_period_of_old_workers() {
    let mut program = start(&[], "reload-shortens", "1", 20_000);
    let old = started(&mut program, 0);
    program.line("all-ready");
    reload(&mut program, &[1]);
    program.signal(Signal::SIGTERM);
    program.line("killed 1");
    assert!(!is_gone(old));
    kill(old, Signal::SIGKILL).unwrap();
    program.succeed();
    assert_eq!(program.count("killed "), 1);
}

#[apply(test)]
fn a_slot_of_an_old_worker_is_free_only_once_its_repair_is_done() {
    let (mut program, _) = pool("repair-later", 2);
    reload(&mut program, &[2, 3]);
    program.line("retired ");
    program.line("retired ");
    // The first attempts to repair fail, and a reload is refused until then.
    reload_until_accepted(&mut program);
    assert_eq!(program.count("repair "), 5, "the fourth attempt is the first that succeeds");
    started(&mut program, 0);
    started(&mut program, 1);
    stop(program);
}

#[apply(test)]
fn a_new_worker_that_dies_is_replaced_and_an_old_one_that_was_killed_before_is_not() {
    let (mut program, old) = pool("reload-hangs", 2);
    program.signal(Signal::SIGHUP);
    let new = [started(&mut program, 2), started(&mut program, 3)];
    kill(old[0], Signal::SIGKILL).unwrap();
    assert_eq!(program.line("died 0 "), format!("{} replaced SIGKILL", old[0]));
    kill(new[1], Signal::SIGKILL).unwrap();
    program.line("repair 3");
    started(&mut program, 3);
    assert_eq!(program.count("started 0 "), 1);
    // Until every new worker is ready, the old ones go on.
    assert!(!is_gone(old[1]));
    assert_eq!(program.count("retired "), 0);
    program.signal(Signal::SIGQUIT);
    program.succeed();
}

#[apply(test)]
fn a_stop_during_a_reload_ends_old_and_new_workers() {
    let (mut program, old) = pool("keep", 2);
    let new = reload(&mut program, &[2, 3]);
    program.line("retires ");
    program.line("retires ");
    let program = stop(program);
    assert!(old.into_iter().chain(new).all(is_gone));
    assert_eq!((program.count("died"), program.count("killed")), (0, 0));
}

#[apply(test)]
fn a_reload_that_cannot_be_read_changes_nothing() {
    let (mut program, pids) = pool("reload-fails", 2);
    program.signal(Signal::SIGHUP);
    program.line("unreadable");
    assert!(pids.into_iter().all(|pid| !is_gone(pid)));
    let program = stop(program);
    assert_eq!((program.count("started "), program.count("reloading")), (2, 0));
}

#[apply(test)]
fn a_reload_may_change_the_number_of_workers_within_the_slots() {
    let (mut program, _) = pool("reload-grows", 2);
    program.signal(Signal::SIGHUP);
    program.line("refused SIGHUP 3 new workers need a slot each, and 2 of 4");
    program.signal(Signal::SIGTTOU);
    program.line("retired 1 ");
    reload(&mut program, &[1, 2]);
    stop(program);
}

#[apply(test)]
fn sigttin_and_sigttou_change_the_number_of_workers_by_one_within_the_limits() {
    let (mut program, _) = pool("serve", 2);
    for workers in [3, 4] {
        program.signal(Signal::SIGTTIN);
        program.line(&format!("resized {workers}"));
        started(&mut program, workers - 1);
        program.line(&format!("ready {}", workers - 1));
    }
    program.signal(Signal::SIGTTIN);
    program.line("refused SIGTTIN 1 new workers need a slot each, and 0 of 4");
    for workers in [3, 2, 1] {
        program.signal(Signal::SIGTTOU);
        program.line(&format!("resized {workers}"));
        program.line(&format!("retired {workers} "));
    }
    program.signal(Signal::SIGTTOU);
    program.line("refused SIGTTOU one worker must stay");
    let program = stop(program);
    assert_eq!((program.count("died"), program.count("all-ready")), (0, 1));
}

#[apply(test)]
fn sigusr1_asks_the_workload_and_every_worker_old_ones_too_to_reopen() {
    let (mut program, _) = pool("keep", 2);
    reload(&mut program, &[2, 3]);
    program.line("retires ");
    program.line("retires ");
    program.signal(Signal::SIGUSR1);
    program.line("reopen");
    (0..4).for_each(|_| _ = program.line("reopened "));
    for slot in 0..4 {
        assert_eq!(program.count(&format!("reopened {slot}")), 1, "{:?}", program.seen);
    }
    stop(program);
}

#[apply(test)]
fn a_worker_retires_only_at_the_request_of_its_supervisor() {
    let (mut program, pids) = pool("serve", 2);
    for pid in &pids {
        kill(*pid, Signal::SIGUSR2).unwrap();
        kill(*pid, Signal::SIGUSR1).unwrap();
    }
    // Each has read both signals.
    program.line("reopened ");
    program.line("reopened ");
    wait_until("they go on", || pids.iter().all(|pid| !is_gone(*pid)));
    let program = stop(program);
    assert_eq!((program.count("died"), program.count("retired")), (0, 0));
}
