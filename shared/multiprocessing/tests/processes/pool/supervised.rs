//! A supervised pool in a program of its own, which prints every event as a line.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Duration;

use multiprocessing::{
    CANNOT_SERVE, Exit, Next, Pool, PoolEvent, PoolOptions, RepairOutcome, StopRequest, Worker,
    Workload,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::common::{Program, apply, parse_pid, program, sleep_for_ever};
use crate::spawn::threaded;

/// What the workers of a pool do.
#[derive(Clone, Copy, Serialize, Deserialize)]
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
    /// Serves. The supervisor stops itself, as with SIGSTOP, in the first repair.
    RepairStops,
    /// Prints how many descriptors it has, then serves.
    Descriptors,
    /// Becomes ready, and ends by itself as after its work.
    Recycle,
    /// Serves, and says when it should retire, but goes on until it is asked to stop.
    Keep,
    /// Serves. The workers of a reload never become ready.
    ReloadHangs,
    /// Serves. What a reload reads is refused.
    ReloadFails,
    /// Serves. Each reload asks for one more worker.
    ReloadGrows,
    /// Becomes ready, and does not end when asked. Each reload asks for 100 ms of grace.
    ReloadShortens,
}

#[derive(Serialize, Deserialize)]
struct Scenario {
    role: Role,
    /// True once a reload has begun.
    reloaded: bool,
    /// Attempts to repair.
    repairs: u32,
}

/// Prints a line in one write, because workers and the supervisor share the output.
pub fn say(line: &str) {
    // The test may have ended.
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// Waits until the worker should end, and prints the requests that precede this. With `keeps`, it
/// does not end in order to retire.
fn serve(worker: &Worker, keeps: bool) {
    let (slot, mut retires) = (worker.slot(), false);
    loop {
        if worker.take_reopen() {
            say(&format!("reopened {slot}"));
        }
        match worker.requested() {
            None => {}
            Some(StopRequest::Retire) if keeps => {
                if !retires {
                    say(&format!("retires {slot}"));
                }
                retires = true;
            }
            Some(StopRequest::Retire | StopRequest::Stop) => return,
        }
        let mut requests = [PollFd::new(worker.stop_fd(), PollFlags::POLLIN)];
        // The loop asks again after an interruption, too.
        let _ = poll(&mut requests, PollTimeout::NONE);
    }
}

impl Workload for Scenario {
    fn work(&mut self, worker: &Worker) -> i32 {
        let chosen = worker.slot() == 1;
        match self.role {
            Role::Hang => sleep_for_ever(),
            Role::ReloadHangs if self.reloaded => sleep_for_ever(),
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
            Role::Ignore | Role::ReloadShortens => sleep_for_ever(),
            Role::Recycle => {}
            Role::ReadyAndCrash if chosen => std::process::abort(),
            Role::ReadyAndCannotServe if chosen => return CANNOT_SERVE,
            role => serve(worker, matches!(role, Role::Keep)),
        }
        0
    }

    fn repair(&mut self, slot: usize, _exit: Exit) -> RepairOutcome {
        say(&format!("repair {slot}"));
        self.repairs += 1;
        if matches!(self.role, Role::RepairStops) && self.repairs == 1 {
            raise(Signal::SIGSTOP).unwrap();
        }
        if matches!(self.role, Role::RepairLater) && self.repairs < 4 {
            RepairOutcome::Again
        } else {
            RepairOutcome::Done
        }
    }

    fn reload(&mut self, options: PoolOptions) -> Option<PoolOptions> {
        match self.role {
            Role::ReloadFails => {
                say("unreadable");
                None
            }
            Role::ReloadGrows => {
                Some(PoolOptions { workers: options.workers.saturating_add(1), ..options })
            }
            Role::ReloadShortens => {
                Some(PoolOptions { grace: Duration::from_millis(100), ..options })
            }
            _ => Some(options),
        }
    }

    fn observe(&mut self, event: &PoolEvent) {
        let line = match event {
            PoolEvent::Reloading { workers } => {
                self.reloaded = true;
                format!("reloading {workers}")
            }
            PoolEvent::Retired { slot, pid, .. } => format!("retired {slot} {pid}"),
            PoolEvent::NotReplaced { slot } => format!("not-replaced {slot}"),
            PoolEvent::Resized { workers } => format!("resized {workers}"),
            PoolEvent::Refused { signal, reason } => format!("refused {signal} {reason}"),
            PoolEvent::Reopen => "reopen".to_owned(),
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
        Next::Replaced => "replaced",
    }
}

/// Runs a pool with twice as many slots as workers: `ROLE WORKERS GRACE_MS`. A role that starts
/// with `spawned-` runs it with spawned workers, beside another thread.
#[apply(program)]
fn supervised_pool(options: &[&str]) {
    let &[role, workers, grace] = options else { panic!("ROLE WORKERS GRACE_MS") };
    let spawned = role.strip_prefix("spawned-");
    let role = match spawned.unwrap_or(role) {
        "serve" => Role::Serve,
        "ignore" => Role::Ignore,
        "hang" => Role::Hang,
        "crash" => Role::Crash,
        "ready-and-crash" => Role::ReadyAndCrash,
        "cannot-serve" => Role::CannotServe,
        "ready-and-cannot-serve" => Role::ReadyAndCannotServe,
        "repair-later" => Role::RepairLater,
        "repair-stops" => Role::RepairStops,
        "descriptors" => Role::Descriptors,
        "recycle" => Role::Recycle,
        "keep" => Role::Keep,
        "reload-hangs" => Role::ReloadHangs,
        "reload-fails" => Role::ReloadFails,
        "reload-grows" => Role::ReloadGrows,
        "reload-shortens" => Role::ReloadShortens,
        other => panic!("no role {other:?}"),
    };
    let grace = Duration::from_millis(grace.parse().unwrap());
    let workers = match workers {
        "processors" => std::thread::available_parallelism().unwrap(),
        number => number.parse::<NonZeroUsize>().unwrap(),
    };
    let pool = Pool::new(PoolOptions { workers, slots: 2 * workers.get(), grace }).unwrap();
    let mut scenario = Scenario { role, reloaded: false, repairs: 0 };
    let outcome = match spawned {
        Some(_) => {
            let _thread = threaded();
            pool.run_spawned(&mut scenario)
        }
        None => pool.run(&mut scenario),
    };
    match outcome {
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
