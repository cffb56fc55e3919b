//! A supervised pool in a program of its own, which prints every event as a line.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Duration;

use multiprocessing::{
    CANNOT_SERVE, Exit, Next, Pool, PoolEvent, PoolOptions, RepairOutcome, Worker, Workload,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::common::{Program, apply, parse_pid, program, sleep_for_ever};

/// What the workers of a pool do.
#[derive(Clone, Copy)]
enum Role {
    /// Becomes ready, and ends when asked.
    Serve,
    /// Becomes ready, and does not end when asked.
    Ignore,
    /// Never becomes ready, and does not end when asked.
    Hang,
    /// The worker in slot 1 aborts; the others serve.
    Crash,
    /// The worker in slot 1 becomes ready and aborts.
    ReadyAndCrash,
    /// The worker in slot 1 reports that no worker can serve in its place.
    CannotServe,
    /// The same after the worker has become ready.
    ReadyAndCannotServe,
    /// Serves. The repair after a death succeeds at the fourth attempt.
    RepairLater,
    /// Prints how many descriptors it has, then serves.
    Descriptors,
    /// Becomes ready, and ends by itself as after its work.
    Recycle,
}

struct Scenario {
    role: Role,
    /// Attempts to repair.
    repairs: u32,
}

/// Prints a line in one write, because workers and the supervisor share the output.
pub fn say(line: &str) {
    // The test may have ended.
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// Waits until the pool wants the worker to end.
pub fn wait_for_stop(worker: &Worker) {
    while !worker.stop_requested() {
        let mut stop = [PollFd::new(worker.stop_fd(), PollFlags::POLLIN)];
        // The loop asks again after an interruption, too.
        let _ = poll(&mut stop, PollTimeout::NONE);
    }
}

impl Workload for Scenario {
    fn work(&mut self, worker: &Worker) -> i32 {
        let chosen = worker.slot() == 1;
        match self.role {
            Role::Hang => sleep_for_ever(),
            Role::Crash if chosen => std::process::abort(),
            Role::CannotServe if chosen => return CANNOT_SERVE,
            Role::Descriptors => {
                let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
                say(&format!("descriptors {descriptors}"));
            }
            _ => {}
        }
        worker.ready();
        match self.role {
            Role::Ignore => sleep_for_ever(),
            Role::Recycle => {}
            Role::ReadyAndCrash if chosen => std::process::abort(),
            Role::ReadyAndCannotServe if chosen => return CANNOT_SERVE,
            _ => wait_for_stop(worker),
        }
        0
    }

    fn repair(&mut self, slot: usize, _exit: Exit) -> RepairOutcome {
        say(&format!("repair {slot}"));
        self.repairs += 1;
        if matches!(self.role, Role::RepairLater) && self.repairs < 4 {
            RepairOutcome::Again
        } else {
            RepairOutcome::Done
        }
    }

    fn observe(&mut self, event: &PoolEvent) {
        let line = match event {
            PoolEvent::Started { slot, pid } => format!("started {slot} {pid}"),
            PoolEvent::Ready { slot } => format!("ready {slot}"),
            PoolEvent::AllReady => "all-ready".to_owned(),
            PoolEvent::Died { slot, pid, exit, next, .. } => {
                format!("died {slot} {pid} {} {exit}", verb(*next))
            }
            PoolEvent::SpawnFailed { slot, .. } => format!("spawn-failed {slot}"),
            PoolEvent::Stopping { signal } => {
                format!("stopping {}", signal.map_or("by-itself", |signal| signal.as_str()))
            }
            PoolEvent::StopRepeated { signal } => format!("repeated {signal}"),
            PoolEvent::Killed { workers } => format!("killed {workers}"),
            PoolEvent::Ignored { signal } => format!("ignored {signal}"),
            PoolEvent::Backtrace { slot, .. } => format!("backtrace {slot}"),
            other => panic!("no line for {other:?}"),
        };
        say(&line);
    }
}

fn verb(next: Next) -> &'static str {
    match next {
        Next::Restart => "restart",
        Next::RestartAfter(_) => "pause",
        Next::GiveUp => "give-up",
        Next::CannotServe => "cannot-serve",
        Next::Stay => "stay",
    }
}

/// Runs a pool: `ROLE WORKERS GRACE_MS`.
#[apply(program)]
fn supervised_pool(options: &[&str]) {
    let &[role, workers, grace] = options else { panic!("ROLE WORKERS GRACE_MS") };
    let role = match role {
        "serve" => Role::Serve,
        "ignore" => Role::Ignore,
        "hang" => Role::Hang,
        "crash" => Role::Crash,
        "ready-and-crash" => Role::ReadyAndCrash,
        "cannot-serve" => Role::CannotServe,
        "ready-and-cannot-serve" => Role::ReadyAndCannotServe,
        "repair-later" => Role::RepairLater,
        "descriptors" => Role::Descriptors,
        "recycle" => Role::Recycle,
        other => panic!("no role {other:?}"),
    };
    let grace = Duration::from_millis(grace.parse().unwrap());
    let workers = match workers {
        "processors" => std::thread::available_parallelism().unwrap(),
        number => number.parse::<NonZeroUsize>().unwrap(),
    };
    let pool = Pool::new(PoolOptions { workers, grace }).unwrap();
    match pool.run(&mut Scenario { role, repairs: 0 }) {
        Ok(outcome) => say(&format!("outcome {outcome:?}")),
        Err(error) => {
            say(&format!("error {error}"));
            std::process::exit(1);
        }
    }
}

/// Starts a pool without waiting for its workers.
pub fn start(wrapper: &[&str], role: &str, workers: &str, grace_ms: u64) -> Program {
    Program::start_through(wrapper, supervised_pool, &[role, workers, &grace_ms.to_string()])
}

/// Starts a pool with two seconds of grace, and waits until all its workers are ready.
pub fn pool(role: &str, workers: usize) -> (Program, Vec<Pid>) {
    let mut program = start(&[], role, &workers.to_string(), 2000);
    let pids = (0..workers).map(|slot| started(&mut program, slot)).collect();
    program.line("all-ready");
    (program, pids)
}

/// Returns the pid of the next worker that is started in the slot.
pub fn started(program: &mut Program, slot: usize) -> Pid {
    parse_pid(&program.line(&format!("started {slot} ")))
}

/// Stops a pool gracefully.
pub fn stop(mut program: Program) -> Program {
    program.signal(Signal::SIGTERM);
    program.succeed();
    assert_eq!(program.seen.last().unwrap(), "outcome Stopped");
    program
}
