//! Killing processes at random moments, which is what the soaks do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multiprocessing::Process;

use super::{Random, fact, kill_and_join, reap, wait_until};

/// The environment variable with the number of kills of the long form of a soak.
pub const KILLS: &str = "PROBE_KILLS";

/// Longest pause before the next kill.
const PAUSE: Duration = Duration::from_micros(500);

/// Victims of [`kill_at_work`] so far.
static KILLED: AtomicU64 = AtomicU64::new(0);

/// Returns how many processes a soak kills: as many as the environment says, for the long form, or
/// `short`.
pub fn kills(short: u32) -> u32 {
    std::env::var(KILLS).map_or(short, |kills| kills.parse().unwrap())
}

/// Returns true unless this is the long form of a soak.
pub fn is_short_form() -> bool {
    std::env::var_os(KILLS).is_none()
}

/// Prints how many processes were killed at random, if any.
pub fn print_count() {
    let killed = KILLED.load(Ordering::Relaxed);
    if killed > 0 {
        fact("kills", killed);
    }
}

/// Kills a child that has begun its work; [`reap`] it afterwards.
pub fn kill_at_work(victim: &mut Process) {
    wait_until_at_work(victim);
    kill_and_count(victim);
}

/// Kills a child whatever it does; [`reap`] it afterwards.
pub fn kill_and_count(victim: &Process) {
    victim.kill().unwrap();
    KILLED.fetch_add(1, Ordering::Relaxed);
}

/// Waits until a child runs its body: before that, every signal is blocked in it.
pub fn wait_until_at_work(child: &mut Process) {
    wait_until("a child begins its work", || {
        assert!(child.is_alive(), "a child ended by itself: {:?}", child.exit());
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid())).unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        blocked.trim().bytes().all(|digit| digit == b'0')
    });
}

/// Kills some of the processes at a time, over and over at random moments, and starts others in
/// their place. After each time, `survive` gets the number of kills so far and panics when
/// something is wrong. Kills all processes in the end.
pub fn kill_at_random(kills: u32, victims: &[&dyn Fn() -> Process], mut survive: impl FnMut(u32)) {
    let mut random = Random::new();
    let mut living: Vec<_> = victims.iter().map(|start| start()).collect();
    let mut killed = 0;
    while killed < kills {
        random.pause(PAUSE);
        let together =
            (1 + random.below(victims.len().div_ceil(2) as u64) as u32).min(kills - killed);
        let first = random.below(victims.len() as u64) as usize;
        let chosen = (0..together).map(|next| (first + next as usize) % victims.len());
        chosen.clone().for_each(|victim| kill_at_work(&mut living[victim]));
        for victim in chosen {
            reap(&mut living[victim]);
            living[victim] = victims[victim]();
        }
        killed += together;
        survive(killed);
    }
    living.into_iter().for_each(kill_and_join);
}

/// Stays at this point for a moment, now and then off the processor, so that kills find processes
/// there.
pub fn linger(step: u64) {
    (0..20).for_each(|_| std::hint::spin_loop());
    if step.is_multiple_of(16) {
        std::thread::yield_now();
    }
}

/// Sleeps for a moment after every 32nd step. Processes that never sleep keep each other and the
/// victims off the processor for milliseconds.
pub fn rest(step: u64) {
    if step.is_multiple_of(32) {
        std::thread::sleep(Duration::from_micros(1));
    }
}
