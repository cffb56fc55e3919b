//! The long form of the soaks, for `make soak`: every primitive while so many of the processes that use it are killed, some side by
//! side. A line for each tells what came of it.
//!
//! `soak [PRIMITIVE]...`, all of them where none is named. `PROBE_KILLS` says how many are killed for each, `PROBE_SEED` is as for
//! the scenarios.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use common::Probe;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

/// What there is to soak, what takes longest first. The scenario of each has `-soak` behind its name.
const PRIMITIVES: [&str; 18] = [
    "segment",
    "semaphore",
    "bounded-semaphore",
    "barrier",
    "process",
    "task-pool",
    "condition",
    "event",
    "joinable-queue",
    "queue",
    "pipe",
    "pipe-handed-over",
    "raw",
    "rlock",
    "lock",
    "value",
    "array",
    "pool",
];

/// How many run at the same time, for each processor: most of what the slowest ones do is to wait.
const LANES: usize = 2;

/// A scenario hangs that takes longer than this, and so much more for each kill.
const LIMIT: Duration = Duration::from_secs(60);
const LIMIT_PER_KILL: Duration = Duration::from_millis(50);

/// The running probes, and whether no more shall be started.
struct Running {
    probes: Vec<Pid>,
    stopped: bool,
}

static RUNNING: Mutex<Running> = Mutex::new(Running { probes: Vec::new(), stopped: false });

/// Signals that end it all.
const STOP: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

fn main() -> ExitCode {
    let kills = std::env::var("PROBE_KILLS").ok().and_then(|kills| kills.parse().ok());
    let names: Vec<String> = std::env::args().skip(1).collect();
    let (Some(kills), true) = (kills, names.iter().all(|name| PRIMITIVES.contains(&name.as_str())))
    else {
        println!(
            "soak [PRIMITIVE]..., with a number in PROBE_KILLS; there are {}",
            PRIMITIVES.join(" ")
        );
        return ExitCode::from(2);
    };
    let chosen = PRIMITIVES
        .into_iter()
        .filter(|name| names.is_empty() || names.iter().any(|one| one == name));
    // The probes lead groups of their own, so that a terminal's signal reaches only this process: it has to end them.
    let stop: SigSet = STOP.into_iter().collect();
    stop.thread_block().unwrap();
    thread::spawn(move || {
        let _ = stop.wait();
        // Until all are gone, for one that was just started may not have its group yet.
        loop {
            let mut running = RUNNING.lock().unwrap();
            running.stopped = true;
            running.probes.iter().for_each(|&probe| _ = killpg(probe, Signal::SIGKILL));
            drop(running);
            thread::sleep(Duration::from_millis(10));
        }
    });

    tell("primitive", "kills", "recoveries", "seconds", "result");
    let begun = Instant::now();
    let (waiting, good) = (Mutex::new(chosen), AtomicBool::new(true));
    let lane = || {
        while let Some(primitive) = { waiting.lock().unwrap().next() } {
            if !outcome(primitive, kills) {
                good.store(false, Ordering::Relaxed);
            }
        }
    };
    let lanes = LANES * thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..lanes).for_each(|_| _ = scope.spawn(lane)));
    let good = good.into_inner();
    if RUNNING.lock().unwrap().stopped {
        println!("stopped");
        return ExitCode::from(130);
    }
    println!(
        "{} in {:.0} s",
        if good { "all is well" } else { "FAILED" },
        begun.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(!good))
}

/// Prints a line of the table.
fn tell(primitive: &str, kills: &str, recoveries: &str, seconds: &str, result: &str) {
    println!("{primitive:<18} {kills:>7} {recoveries:>11} {seconds:>8}  {result}");
}

/// Soaks a primitive and tells what came of it. Whether that is good, or it was stopped.
fn outcome(primitive: &'static str, kills: u32) -> bool {
    let begun = Instant::now();
    // In a thread of its own, whose name is printed if it panics.
    let thread = Builder::new().name(primitive.to_owned()).spawn(move || soak(primitive, kills));
    let outcome = thread.unwrap().join();
    let seconds = format!("{:.1}", begun.elapsed().as_secs_f64());
    match &outcome {
        Ok(Some([kills, recoveries])) => tell(primitive, kills, recoveries, &seconds, "ok"),
        Ok(None) => {}
        Err(_) => tell(primitive, "", "", &seconds, "FAILED, see above"),
    }
    outcome.is_ok()
}

/// Runs the scenario of a primitive to its end, which must be a good one. How many were killed, and how often somebody found what
/// they had left; `None` when it was stopped.
fn soak(primitive: &str, kills: u32) -> Option<[String; 2]> {
    let mut running = RUNNING.lock().unwrap();
    if running.stopped {
        return None;
    }
    let mut probe =
        Probe::start(&[&format!("{primitive}-soak")]).within(LIMIT + kills * LIMIT_PER_KILL);
    running.probes.push(probe.pid());
    drop(running);
    let status = probe.join();
    let mut running = RUNNING.lock().unwrap();
    running.probes.retain(|&pid| pid != probe.pid());
    if running.stopped && !status.success() {
        return None;
    }
    drop(running);
    probe.succeed();
    let killed: u32 = probe.fact("kills").parse().unwrap();
    assert!(killed >= kills, "only {killed} were killed");
    Some(["kills", "recoveries"].map(|key| probe.fact(key).to_owned()))
}
