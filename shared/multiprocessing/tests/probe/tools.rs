//! What the scenarios share: names, waiting with a limit, random numbers, children.

use std::fmt::Display;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
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
        assert!(
            exit.is_some_and(|exit| exit.is_success()),
            "child {} ended with {exit:?}",
            child.pid()
        );
    }
}

/// Kills a child with SIGKILL and reaps it.
pub fn kill_and_join(mut child: Process) {
    child.kill().unwrap();
    reap(&mut child);
}

/// Waits for a child that was killed with SIGKILL.
pub fn reap(child: &mut Process) {
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

/// Descriptors that this process has open, but for one to look.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Binds a process and this one to one processor, and lets it run only when nobody else wants to.
pub fn run_beside_idly(pid: Pid) {
    run_on_one_processor(getpid());
    run_on_one_processor(pid);
    run("chrt", &["--idle", "-p", "0", &pid.to_string()]);
}

/// Binds a process, and the children it will have, to the first processor.
pub fn run_on_one_processor(pid: Pid) {
    run("taskset", &["-pc", "0", &pid.to_string()]);
}

/// Runs a program, which must succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// Does nothing until it is killed.
pub fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Checks that a timed wait in vain takes its time and no longer, in a child left alone and in one under a storm of signals: the
/// children 0 and 1.
pub fn keeps_time(wait_in_vain: impl Fn(usize, Duration)) {
    let keeps_time = |number: usize| {
        for milliseconds in [0, 1, 100, 500, 900, 999] {
            let timeout = Duration::from_millis(milliseconds);
            let begun = Instant::now();
            wait_in_vain(number, timeout);
            let waited = begun.elapsed();
            assert!(waited >= timeout, "{waited:?} is less than {timeout:?}");
            assert!(waited < timeout + Duration::from_secs(1), "{waited:?} for {timeout:?}");
        }
    };
    let (calm, stormy) = (child(|| keeps_time(0)), child(|| keeps_time(1)));
    let storm = storm(stormy.pid());
    join_all([calm, stormy]);
    kill_and_join(storm);
}

/// Processor time that a process has used so far.
pub fn cpu_time(pid: Pid) -> Duration {
    let statistics = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(statistics.split_whitespace().next().unwrap().parse().unwrap())
}

/// Checks that a process that waits uses next to no processor time while it does; then kills it. Told as a fact.
pub fn waits_idly(waiter: Process) {
    wait_until_blocked(waiter.pid());
    let before = cpu_time(waiter.pid());
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_time(waiter.pid()) - before;
    kill_and_join(waiter);
    fact("idle_us_per_second", used.as_micros());
    assert!(used < Duration::from_millis(20), "{used:?} in a second of waiting");
}

/// From here on a panic of any child ends this process, too, and with it everybody: that of a victim would be taken for the kill that
/// comes next.
pub fn panic_together() {
    let (own, print) = (getpid(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if getpid() == own {
            return print(panic);
        }
        // At once: all the rest that is usually printed takes longer than a victim lives.
        eprint_line(&panic.to_string());
        let _ = kill(own, Signal::SIGKILL);
    }));
}

/// Longest pause before somebody is killed at random.
const PAUSE: Duration = Duration::from_micros(500);

/// How many are to be killed at random: as the environment says, for the long form of a scenario, or so many.
pub fn kills(short: u32) -> u32 {
    std::env::var("PROBE_KILLS").map_or(short, |kills| kills.parse().unwrap())
}

/// Victims of [`strike`] so far.
static STRUCK: AtomicU64 = AtomicU64::new(0);

/// Tells how many were killed at random, if any.
pub fn tell_kills() {
    let struck = STRUCK.load(Ordering::Relaxed);
    if struck > 0 {
        fact("kills", struck);
    }
}

/// Kills a child that lives and has begun its work; [`reap`] it.
pub fn strike(victim: &mut Process) {
    wait_until_at_work(victim);
    victim.kill().unwrap();
    STRUCK.fetch_add(1, Ordering::Relaxed);
}

/// Waits until a child runs its body: before that it has every signal blocked.
pub fn wait_until_at_work(child: &mut Process) {
    wait_until("a child begins its work", || {
        assert!(child.is_alive(), "a child gave up: {:?}", child.exit());
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid())).unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        blocked.trim().bytes().all(|digit| digit == b'0')
    });
}

/// Kills some of the processes at a time, over and over, at random moments, and starts others in their place; `survive` is called
/// after that each time, with the number of kills so far, and tells by panicking that something is wrong. Kills all in the end.
pub fn kill_at_random(kills: u32, victims: &[&dyn Fn() -> Process], mut survive: impl FnMut(u32)) {
    let mut random = Random::new();
    let mut living: Vec<_> = victims.iter().map(|start| start()).collect();
    let mut killed = 0;
    while killed < kills {
        random.pause(PAUSE);
        let together =
            (1 + random.below(victims.len().div_ceil(2) as u64) as u32).min(kills - killed);
        let first = random.below(victims.len() as u64) as usize;
        let struck = (0..together).map(|next| (first + next as usize) % victims.len());
        struck.clone().for_each(|victim| strike(&mut living[victim]));
        for victim in struck {
            reap(&mut living[victim]);
            living[victim] = victims[victim]();
        }
        killed += together;
        survive(killed);
    }
    living.into_iter().for_each(kill_and_join);
}

/// Stays where it is called for a moment, now and then off the processor, so that kills find processes there.
pub fn linger(step: u64) {
    (0..20).for_each(|_| std::hint::spin_loop());
    if step.is_multiple_of(16) {
        std::thread::yield_now();
    }
}

/// Sleeps for a moment after every so many steps: processes that never do keep each other, and those that are to die, from the
/// processor for milliseconds.
pub fn rest(step: u64) {
    if step.is_multiple_of(32) {
        std::thread::sleep(Duration::from_micros(1));
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

/// A small generator of random numbers (xorshift). The seed of the first one is printed; the others follow from it.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        static SEED: OnceLock<u64> = OnceLock::new();
        static MADE: AtomicU64 = AtomicU64::new(0);
        let seed = SEED.get_or_init(|| {
            let given = std::env::var("PROBE_SEED").ok().and_then(|seed| seed.parse().ok());
            let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
            let seed = given.unwrap_or_else(clock) | 1;
            eprint_line(&format!("again with the same random numbers: PROBE_SEED={seed}"));
            seed
        });
        // Odd times odd is odd: never 0, which would give nothing but zeros.
        Self(seed.wrapping_mul(2 * MADE.fetch_add(1, Ordering::Relaxed) + 1))
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
fn eprint_line(line: &str) {
    eprintln!("{line}");
}
