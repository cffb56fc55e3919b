//! What the scenarios share: names, waiting with a limit, random numbers, children.

use std::fmt::Display;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use multiprocessing::{Plan, Process, Segment, SegmentName};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

/// Longest wait for anything that ought to happen.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Prints a fact for the test to check.
pub fn fact(key: &str, value: impl Display) {
    println!("{key}={value}");
}

/// The segment name that the test chose, and will look for when this process is gone.
pub fn name() -> SegmentName {
    SegmentName::new(&std::env::var("PROBE_NAME").unwrap()).unwrap()
}

pub fn segment(plan: &Plan) -> Segment {
    Segment::create(&name(), plan).unwrap()
}

/// Starts a child; `body` returning is exit code 0.
pub fn child(body: impl FnOnce()) -> Process {
    let spawned = Process::spawn(|| {
        body();
        0
    });
    spawned.unwrap()
}

/// Waits for children that must succeed.
pub fn join_all(children: impl IntoIterator<Item = Process>) {
    for mut child in children {
        let exit = child.join_timeout(LIMIT).unwrap();
        assert!(exit.is_some_and(|exit| exit.is_success()), "child {} ended with {exit:?}", child.pid());
    }
}

/// Kills a child with SIGKILL and reaps it.
pub fn kill_and_join(mut child: Process) {
    child.kill().unwrap();
    let exit = child.join_timeout(LIMIT).unwrap();
    assert!(exit.is_some_and(|exit| exit.is_signal(Signal::SIGKILL)), "{exit:?}");
}

pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !happened() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Waits until a process sleeps in the kernel.
pub fn wait_until_blocked(pid: Pid) {
    wait_until("the process blocks", || process_state(pid) == Some('S'));
}

/// The state letter of a process, `None` when there is none.
pub fn process_state(pid: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

/// Binds a process and this one to one processor, and lets it run only when nobody else wants to.
pub fn run_beside_idly(pid: Pid) {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    };
    run("taskset", &["-pc", "0", &getpid().to_string()]);
    run("taskset", &["-pc", "0", &pid.to_string()]);
    run("chrt", &["--idle", "-p", "0", &pid.to_string()]);
}

/// Does nothing until it is killed.
pub fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Sends `target` a signal that it handles and ignores (a child's SIGPWR, while its parent lives), over and over.
pub fn storm(target: Pid) -> Process {
    child(|| {
        while kill(target, Signal::SIGPWR).is_ok() {
            std::thread::sleep(Duration::from_micros(200));
        }
        // The target is gone; whoever started this will kill it.
        sleep_for_ever();
    })
}

/// A small generator of random numbers (xorshift), whose seed is printed.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let given = std::env::var("PROBE_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
        let seed = given.unwrap_or_else(clock);
        eprintln_seed(seed);
        Self(seed)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    /// Sleeps up to this long.
    pub fn pause(&mut self, at_most: Duration) {
        std::thread::sleep(Duration::from_nanos(self.below(at_most.as_nanos() as u64)));
    }
}

/// On standard error, which the tests show when a scenario fails.
#[allow(clippy::print_stderr)]
fn eprintln_seed(seed: u64) {
    eprintln!("again with the same random numbers: PROBE_SEED={seed}");
}
