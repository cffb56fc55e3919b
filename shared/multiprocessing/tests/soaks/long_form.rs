//! The long form of the soaks, for `make soak`: prints a line per primitive with what came of it.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use crate::common::{KILLS, Program, Test, tests};

/// The primitives whose soaks take longest. They start first, so that none of them runs alone in
/// the end.
const LONGEST_FIRST: [&str; 7] =
    ["segment", "semaphore", "bounded-semaphore", "barrier", "process", "task-pool", "condition"];

/// Number of soaks that run at the same time, per processor: the slowest ones mostly wait.
const LANES: usize = 2;

/// A soak that takes longer than this, plus an allowance for each kill, hangs.
const LIMIT: Duration = Duration::from_secs(60);
const LIMIT_PER_KILL: Duration = Duration::from_millis(50);

/// The running soaks, and whether no more may start.
struct Running {
    soaks: Vec<Pid>,
    stopped: bool,
}

static RUNNING: Mutex<Running> = Mutex::new(Running { soaks: Vec::new(), stopped: false });

/// Signals that stop all soaks.
const STOP: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Returns the name of the primitive that a soak belongs to: its module.
fn primitive(soak: &Test) -> String {
    soak.module.rsplit("::").next().unwrap().replace('_', "-")
}

/// Returns all soaks with their primitives, those that take longest first.
fn soaks() -> Vec<(String, &'static Test)> {
    let mut soaks: Vec<_> = tests().into_iter().map(|test| (primitive(test), test)).collect();
    let rank = |name: &str| LONGEST_FIRST.iter().position(|first| *first == name);
    soaks.sort_by_key(|(name, _)| rank(name).unwrap_or(LONGEST_FIRST.len()));
    soaks
}

/// Runs the soaks of the named primitives, or of all of them.
pub fn main(names: &[String]) -> ExitCode {
    let kills = std::env::var(KILLS).ok().and_then(|kills| kills.parse().ok());
    let soaks = soaks();
    let is_known = |name: &String| soaks.iter().any(|(primitive, _)| primitive == name);
    let (Some(kills), true) = (kills, names.iter().all(is_known)) else {
        let known: Vec<_> = soaks.iter().map(|(primitive, _)| primitive.as_str()).collect();
        println!(
            "--long [PRIMITIVE]..., with a number in {KILLS}; the primitives are {}",
            known.join(" ")
        );
        return ExitCode::from(2);
    };
    stop_all_on_a_signal();
    print_row(["primitive", "kills", "recoveries", "seconds", "result"]);
    let begun = Instant::now();
    let is_chosen = |(primitive, _): &(String, _)| names.is_empty() || names.contains(primitive);
    let (waiting, good) = (Mutex::new(soaks.into_iter().filter(is_chosen)), AtomicBool::new(true));
    let lane = || {
        while let Some((primitive, soak)) = { waiting.lock().unwrap().next() } {
            if !runs_well(&primitive, soak, kills) {
                good.store(false, Ordering::Relaxed);
            }
        }
    };
    let lanes = LANES * thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..lanes).for_each(|_| _ = scope.spawn(lane)));
    if RUNNING.lock().unwrap().stopped {
        println!("stopped");
        return ExitCode::from(130);
    }
    let good = good.into_inner();
    let result = if good { "all is well" } else { "FAILED" };
    println!("{result} in {:.0} s", begun.elapsed().as_secs_f64());
    ExitCode::from(u8::from(!good))
}

/// Kills all soaks when a signal asks this process to end. They lead groups of their own, which a
/// terminal's signal does not reach.
fn stop_all_on_a_signal() {
    let stop: SigSet = STOP.into_iter().collect();
    stop.thread_block().unwrap();
    thread::spawn(move || {
        let _ = stop.wait();
        // Repeated until all are gone, because a soak that was just started may not lead its group
        // yet.
        loop {
            let mut running = RUNNING.lock().unwrap();
            running.stopped = true;
            running.soaks.iter().for_each(|&soak| _ = killpg(soak, Signal::SIGKILL));
            drop(running);
            thread::sleep(Duration::from_millis(10));
        }
    });
}

/// Prints a row of the table.
fn print_row([primitive, kills, recoveries, seconds, result]: [&str; 5]) {
    println!("{primitive:<18} {kills:>7} {recoveries:>11} {seconds:>8}  {result}");
}

/// Runs a soak and prints what came of it. Returns true if that is good, or if the soak was
/// stopped.
fn runs_well(primitive: &str, soak: &'static Test, kills: u32) -> bool {
    let begun = Instant::now();
    // A thread of its own, whose name is printed if it panics.
    let thread = Builder::new().name(primitive.to_owned()).spawn(move || run(soak, kills));
    let outcome = thread.unwrap().join();
    let seconds = format!("{:.1}", begun.elapsed().as_secs_f64());
    match &outcome {
        Ok(Some([kills, recoveries])) => {
            print_row([primitive, kills, recoveries, &seconds, "ok"]);
        }
        Ok(None) => {}
        Err(_) => print_row([primitive, "", "", &seconds, "FAILED, see above"]),
    }
    outcome.is_ok()
}

/// Runs a soak to its end, which must be a good one. Returns the number of kills, and how often a
/// process found what a killed one had left; `None` when the soak was stopped.
fn run(soak: &Test, kills: u32) -> Option<[String; 2]> {
    let mut running = RUNNING.lock().unwrap();
    if running.stopped {
        return None;
    }
    let mut program = Program::of(soak.command()).within(LIMIT + kills * LIMIT_PER_KILL);
    running.soaks.push(program.pid());
    drop(running);
    let status = program.join();
    let mut running = RUNNING.lock().unwrap();
    running.soaks.retain(|&pid| pid != program.pid());
    if running.stopped && !status.success() {
        return None;
    }
    drop(running);
    program.succeed();
    let killed: u32 = program.fact("kills").parse().unwrap();
    assert!(killed >= kills, "only {killed} processes were killed");
    Some(["kills", "recoveries"].map(|key| program.fact(key).to_owned()))
}
