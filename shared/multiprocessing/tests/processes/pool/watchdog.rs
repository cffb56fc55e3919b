//! The watchdog ends workers that are stopped or stuck, and no others.

use std::num::NonZeroUsize;
use std::thread::sleep;
use std::time::{Duration, Instant};

use multiprocessing::{
    Exit, Pool, PoolEvent, PoolOptions, Progress, RawArray, RepairOutcome, Segment, SharedState,
    Worker, Workload,
};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use super::supervised::{say, started, stop};
use crate::common::{Program, apply, is_gone, name, program, sleep_for_ever, test};

const TIMEOUT: Duration = Duration::from_secs(1);
/// How much later than promised an event may come on a busy machine.
const LATE: Duration = Duration::from_secs(5);
/// How long a repair waits for a lock. Four of them take more than half of the timeout.
const BLOCKED: Duration = Duration::from_millis(150);

#[derive(SharedState)]
#[shared(args(slots: usize))]
struct Shared {
    #[shared(segment)]
    _segment: Segment,
    /// Passes of the worker's loop. Written by the worker.
    #[shared(len = slots)]
    passes: RawArray<u64>,
    /// 1 during an operation that takes long. Written by the worker.
    #[shared(len = slots)]
    excused: RawArray<u8>,
    /// Calls of `tick`. Written by the supervisor.
    #[shared(len = slots)]
    ticks: RawArray<u32>,
}

/// A pool whose worker in slot 1 misbehaves once, in the way that `role` names.
struct Watched {
    role: String,
    shared: Shared,
    /// True once a worker has been replaced.
    replaced: bool,
}

impl Workload for Watched {
    fn work(&mut self, worker: &Worker) -> i32 {
        let slot = worker.slot();
        let chosen = slot == 1 && !self.replaced;
        match self.role.as_str() {
            "hangs-before-ready" if chosen => sleep_for_ever(),
            "beats-before-ready" if chosen => loop {
                self.shared.passes.fetch_add(slot, 1);
                sleep(Duration::from_millis(10));
            },
            _ => worker.ready(),
        }
        match self.role.as_str() {
            "spins" if chosen => spin(),
            "spins-without-abort" if chosen => {
                SigSet::from(Signal::SIGABRT).thread_block().unwrap();
                spin()
            }
            "waits" if chosen => sleep_for_ever(),
            "is-excused" if chosen => {
                self.shared.excused.store(slot, 1);
                sleep(TIMEOUT * 4);
                self.shared.excused.store(slot, 0);
                say("excuse over");
            }
            "aborts" if chosen => std::process::abort(),
            _ => {}
        }
        while !worker.stop_requested() {
            self.shared.passes.fetch_add(slot, 1);
            sleep(Duration::from_millis(10));
        }
        0
    }

    fn repair(&mut self, slot: usize, _exit: Exit) -> RepairOutcome {
        if self.role == "blocks-repairs" && slot != 1 && !self.replaced {
            // As if the worker in slot 1 held a lock.
            sleep(BLOCKED);
            return RepairOutcome::Again;
        }
        self.shared.excused.store(slot, 0);
        self.replaced = true;
        RepairOutcome::Done
    }

    fn observe(&mut self, event: &PoolEvent) {
        match event {
            PoolEvent::Started { slot, pid } => say(&format!("started {slot} {pid}")),
            PoolEvent::AllReady => say("all-ready"),
            PoolEvent::Died { slot, pid, exit, .. } => say(&format!("died {slot} {pid} {exit}")),
            PoolEvent::Stuck { slot, pid, silent, state, signal } => {
                say(&format!("stuck {slot} {pid} {state} {signal} {}", silent.as_millis()));
            }
            PoolEvent::Backtrace { slot, calls, .. } => {
                say(&format!("backtrace {slot} {}", calls.join(" ")));
            }
            _ => {}
        }
    }

    fn tick(&mut self) {
        self.shared.ticks.fetch_add(0, 1);
        if self.role == "ticks" {
            say("tick");
        }
    }

    fn heartbeat_timeout(&self) -> Option<Duration> {
        (self.role != "ticks").then_some(TIMEOUT)
    }

    fn progress(&self, slot: usize) -> Progress {
        let excused = self.shared.excused.load(slot) != 0;
        Progress { heartbeat: self.shared.passes.load(slot), excused }
    }
}

/// Computes for ever.
fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// Runs a pool: `ROLE`.
#[apply(program)]
fn watched_pool(options: &[&str]) {
    let &[role] = options else { panic!("ROLE") };
    let workers = if role == "blocks-repairs" { 7 } else { 3 };
    let workers = NonZeroUsize::new(workers).unwrap();
    let pool =
        Pool::new(PoolOptions { workers, slots: workers.get(), grace: Duration::from_secs(2) })
            .unwrap();
    let shared = Shared::create(&name(), workers.get()).unwrap();
    let outcome = pool.run(&mut Watched { role: role.to_owned(), shared, replaced: false });
    say(&format!("outcome {:?}", outcome.unwrap()));
}

/// Starts a pool, and returns the pids of its first workers.
fn pool(role: &str) -> (Program, Vec<Pid>) {
    let mut program = Program::start_through(&[], watched_pool, &[role]);
    let pids = (0..3).map(|slot| started(&mut program, slot)).collect();
    (program, pids)
}

/// Asserts that the worker in slot 1 is found stuck in this state, is signalled, ends by the signal
/// in this time and is replaced, and that nothing happens to the others. Returns all lines.
fn ends(role: &str, states: &str, signals: &[Signal]) -> Vec<String> {
    let (mut program, pids) = pool(role);
    let start = Instant::now();
    if role == "is-stopped" {
        program.line("all-ready");
        kill(pids[1], Signal::SIGSTOP).unwrap();
    }
    for signal in signals {
        let line = program.line(&format!("stuck 1 {} ", pids[1]));
        let words: Vec<_> = line.split(' ').collect();
        assert!(states.contains(words[0]), "in state {line}");
        assert_eq!(words[1], signal.as_str());
        let silent = Duration::from_millis(words[2].parse().unwrap());
        assert!(silent >= TIMEOUT, "too early: {line}");
    }
    let last = signals.last().unwrap();
    let died = program.line(&format!("died 1 {} ", pids[1]));
    assert!(died.starts_with(last.as_str()), "died by {died}");
    let pause = Duration::from_secs(2) * (signals.len() as u32 - 1);
    assert!(start.elapsed() < TIMEOUT + pause + LATE, "{:?}", start.elapsed());
    started(&mut program, 1);
    assert!(!is_gone(pids[0]) && !is_gone(pids[2]), "another worker ended");
    let program = stop(program);
    assert_eq!(
        (program.count("stuck"), program.count("died")),
        (signals.len(), 1),
        "{:?}",
        program.seen
    );
    program.seen.clone()
}

#[apply(test)]
fn a_worker_that_only_computes_is_aborted_and_its_backtrace_names_its_code() {
    let seen = ends("spins", "R", &[Signal::SIGABRT]);
    let backtrace = seen.iter().position(|line| line.starts_with("backtrace 1 ")).unwrap();
    let died = seen.iter().position(|line| line.starts_with("died ")).unwrap();
    assert!(backtrace < died, "{seen:?}");
    let program = std::env::current_exe().unwrap();
    let name = program.file_name().unwrap().to_str().unwrap();
    let calls: Vec<_> = seen[backtrace].split(' ').skip(2).collect();
    let own = calls.iter().filter(|call| call.starts_with(&format!("{name}+0x"))).count();
    assert!(own >= 3 && own <= calls.len(), "{calls:?}");
}

#[apply(test)]
fn a_worker_that_does_not_react_to_the_abort_is_killed_two_seconds_later() {
    let seen = ends("spins-without-abort", "R", &[Signal::SIGABRT, Signal::SIGKILL]);
    assert!(!seen.iter().any(|line| line.starts_with("backtrace")), "{seen:?}");
}

#[apply(test)]
fn a_worker_that_waits_for_ever_is_aborted() {
    ends("waits", "S", &[Signal::SIGABRT]);
}

#[apply(test)]
fn a_stopped_worker_is_killed() {
    ends("is-stopped", "T", &[Signal::SIGKILL]);
}

#[apply(test)]
fn a_stopped_worker_that_blocks_the_repairs_of_several_others_is_killed() {
    let (mut program, pids) = pool("blocks-repairs");
    let more: Vec<_> = (3..7).map(|slot| started(&mut program, slot)).collect();
    program.line("all-ready");
    kill(pids[1], Signal::SIGSTOP).unwrap();
    let others = [pids[0], pids[2]].into_iter().chain(more);
    others.for_each(|pid| kill(pid, Signal::SIGKILL).unwrap());
    program.line(&format!("stuck 1 {} T SIGKILL ", pids[1]));
    program.line(&format!("died 1 {} SIGKILL", pids[1]));
    stop(program);
}

#[apply(test)]
fn a_worker_must_become_ready_in_time() {
    ends("hangs-before-ready", "S", &[Signal::SIGABRT]);
    ends("beats-before-ready", "RS", &[Signal::SIGABRT]);
}

#[apply(test)]
fn a_worker_that_aborts_by_itself_leaves_a_backtrace() {
    let (mut program, pids) = pool("aborts");
    assert!(program.line("backtrace 1 ").contains("+0x"));
    program.line(&format!("died 1 {} SIGABRT", pids[1]));
    stop(program);
}

#[apply(test)]
fn a_declared_operation_may_take_longer_than_the_timeout() {
    let (mut program, _) = pool("is-excused");
    program.line("excuse over");
    let program = stop(program);
    assert_eq!((program.count("stuck"), program.count("died")), (0, 0), "{:?}", program.seen);
}

#[apply(test)]
fn a_pool_that_was_suspended_as_a_whole_ends_no_worker() {
    let (mut program, pids) = pool("serves");
    program.line("all-ready");
    for supervisor_last in [true, false] {
        pids.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
        program.signal(Signal::SIGSTOP);
        sleep(TIMEOUT * 3);
        if !supervisor_last {
            program.signal(Signal::SIGCONT);
        }
        pids.iter().for_each(|pid| kill(*pid, Signal::SIGCONT).unwrap());
        program.signal(Signal::SIGCONT);
        sleep(TIMEOUT * 2);
    }
    let program = stop(program);
    assert_eq!((program.count("stuck"), program.count("died")), (0, 0), "{:?}", program.seen);
}

#[apply(test)]
fn a_pool_ticks_without_a_watchdog_too() {
    let (mut program, _) = pool("ticks");
    for _ in 0..4 {
        program.line("tick");
    }
    stop(program);
}
