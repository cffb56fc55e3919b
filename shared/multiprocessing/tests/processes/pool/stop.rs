//! Stopping a pool: gracefully, at once, and at inconvenient moments.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::supervised::start;
use crate::common::{Program, apply, is_gone, parse_pid, process_state, test, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// Starts a pool of three workers with this grace period, and waits until all are started.
fn pool(role: &str, grace_ms: u64) -> (Program, Vec<Pid>) {
    let mut program = start(&[], role, "3", grace_ms);
    let pids = (0..3).map(|slot| parse_pid(&program.line(&format!("started {slot} ")))).collect();
    (program, pids)
}

/// Waits for the end of a pool that a signal stops, and returns how long that took.
fn ended(program: &mut Program, since: Instant) -> Duration {
    program.succeed();
    let took = since.elapsed();
    assert_eq!(program.seen.last().unwrap(), "outcome Stopped");
    took
}

#[apply(test)]
fn sigterm_and_sigint_stop_gracefully_and_every_worker_exits_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut program, pids) = pool("serve", 10_000);
        program.line("all-ready");
        let asked = Instant::now();
        program.signal(signal);
        let took = ended(&mut program, asked);
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!(program.count(&format!("stopping {signal}")), 1);
        // The pool would have reported a worker that ended in another way.
        assert_eq!(
            (program.count("died"), program.count("killed"), program.count("repair")),
            (0, 0, 3)
        );
        assert!(pids.into_iter().all(is_gone));
    }
}

#[apply(test)]
fn workers_that_do_not_stop_are_killed_after_the_grace_period() {
    let (mut program, pids) = pool("ignore", 500);
    program.line("all-ready");
    // A stopped worker, as under a debugger, handles no signal.
    kill(pids[0], Signal::SIGSTOP).unwrap();
    let asked = Instant::now();
    program.signal(Signal::SIGTERM);
    let took = ended(&mut program, asked);
    assert!(took >= Duration::from_millis(500) && took < Duration::from_millis(2500), "{took:?}");
    assert_eq!(program.count("killed 3"), 1);
    assert!(pids.into_iter().all(is_gone));
}

#[apply(test)]
fn sigquit_stops_the_pool_at_once() {
    for first in [Some(Signal::SIGINT), None] {
        let (mut program, _) = pool("ignore", 20_000);
        program.line("all-ready");
        if let Some(first) = first {
            program.signal(first);
            program.line("stopping ");
        }
        let asked = Instant::now();
        program.signal(Signal::SIGQUIT);
        let took = ended(&mut program, asked);
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(program.count("killed 3"), 1);
    }
}

#[apply(test)]
fn another_stop_signal_counts_from_one_second_after_the_first_on() {
    for other in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut program, _) = pool("ignore", 20_000);
        program.line("all-ready");
        let asked = Instant::now();
        program.signal(Signal::SIGTERM);
        program.line("stopping ");
        // The pool counts from when it handles the signal, which is later than when it was sent.
        let stopping = Instant::now();
        program.signal(other);
        program.line(&format!("repeated {other}"));
        wait(SECOND.saturating_sub(stopping.elapsed()));
        program.signal(other);
        let took = ended(&mut program, asked);
        assert!(took >= SECOND && took < 3 * SECOND, "{took:?}");
        assert_eq!((program.count("stopping "), program.count("killed 3")), (1, 1));
    }
}

#[apply(test)]
fn signals_to_the_pool_and_to_its_group_are_one_graceful_stop() {
    let (mut program, _) = pool("serve", 10_000);
    program.line("all-ready");
    program.signal_group(Signal::SIGTERM);
    program.signal(Signal::SIGTERM);
    program.signal_group(Signal::SIGINT);
    program.succeed();
    assert_eq!((program.count("stopping "), program.count("killed")), (1, 0));
    assert_eq!(
        (program.count("died"), program.seen.last().unwrap().as_str()),
        (0, "outcome Stopped")
    );
}

#[apply(test)]
fn sigterm_while_workers_start_stops_the_pool() {
    let (mut program, _) = pool("hang", 300);
    let asked = Instant::now();
    program.signal(Signal::SIGTERM);
    let took = ended(&mut program, asked);
    assert!(took < Duration::from_millis(2300), "{took:?}");
    assert_eq!(program.count("all-ready"), 0);
}

#[apply(test)]
fn sigterm_stops_the_pool_at_any_moment_after_the_first_fork() {
    for step in 0..40 {
        let mut program = start(&[], "serve", "4", 10000);
        program.line("started 0");
        wait(Duration::from_micros(step * 75));
        program.signal(Signal::SIGTERM);
        let took = ended(&mut program, Instant::now());
        assert!(took < Duration::from_secs(5), "{took:?} after step {step}");
        assert_eq!(
            program.count("killed"),
            0,
            "a worker missed the signal at step {step}: {:?}",
            program.seen
        );
    }
}

/// Spins, because the relevant moments are shorter than a sleep.
fn wait(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {}
}

#[apply(test)]
fn sigterm_during_a_back_off_stops_the_pool_and_starts_no_worker() {
    let (mut program, _) = pool("crash", 10_000);
    while !program.line("died 1 ").contains(" pause ") {}
    let asked = Instant::now();
    program.signal(Signal::SIGTERM);
    program.line("stopping SIGTERM");
    let started = program.count("started");
    let took = ended(&mut program, asked);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(program.count("started"), started);
}

#[apply(test)]
fn ctrl_c_to_the_whole_group_is_one_graceful_stop() {
    let (mut program, _) = pool("serve", 10_000);
    program.line("all-ready");
    program.signal_group(Signal::SIGINT);
    program.succeed();
    assert_eq!(
        (program.count("stopping SIGINT"), program.count("died"), program.count("killed")),
        (1, 0, 0)
    );
    assert_eq!(program.seen.last().unwrap(), "outcome Stopped");
}

#[apply(test)]
fn sigterm_to_the_whole_group_is_one_graceful_stop() {
    let (mut program, _) = pool("serve", 10_000);
    program.line("all-ready");
    program.signal_group(Signal::SIGTERM);
    program.succeed();
    assert_eq!(
        (program.count("stopping SIGTERM"), program.count("died"), program.count("killed")),
        (1, 0, 0)
    );
}

#[apply(test)]
fn workers_that_a_signal_to_the_group_ends_during_a_repair_have_stopped_and_not_died() {
    let (mut program, pids) = pool("repair-stops", 10_000);
    program.line("all-ready");
    kill(pids[0], Signal::SIGKILL).unwrap();
    program.line("repair 0");
    program.signal_group(Signal::SIGTERM);
    // Both have ended before the pool handles the signal.
    wait_until("both have ended", || pids[1..].iter().all(|pid| process_state(*pid) == Some('Z')));
    program.signal(Signal::SIGCONT);
    program.succeed();
    assert_eq!((program.count("died 0"), program.count("died")), (1, 1), "{:?}", program.seen);
    assert_eq!(program.count("stopping SIGTERM"), 1);
}

#[apply(test)]
fn a_worker_killed_while_the_pool_stops_is_repaired_and_not_replaced() {
    let (mut program, pids) = pool("ignore", 700);
    program.line("all-ready");
    program.signal(Signal::SIGTERM);
    program.line("stopping ");
    kill(pids[2], Signal::SIGKILL).unwrap();
    assert_eq!(program.line("died 2 "), format!("{} stay SIGKILL", pids[2]));
    program.succeed();
    assert_eq!(
        (program.count("repair"), program.count("started"), program.count("killed 2")),
        (3, 3, 1)
    );
}

#[apply(test)]
fn a_zero_grace_is_an_immediate_stop_and_an_endless_one_does_not_overflow() {
    let (mut program, _) = pool("ignore", 0);
    program.line("all-ready");
    let asked = Instant::now();
    program.signal(Signal::SIGTERM);
    assert!(ended(&mut program, asked) < Duration::from_secs(2));
    assert_eq!(program.count("killed"), 1);

    let (mut program, pids) = pool("serve", u64::MAX);
    program.line("all-ready");
    program.signal(Signal::SIGTERM);
    program.succeed();
    wait_until("the workers end", || pids.iter().all(|pid| is_gone(*pid)));
}
