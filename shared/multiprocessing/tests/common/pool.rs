//! A probe that runs a pool.

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{Probe, parse_pid};

/// A pool, all of whose workers are ready.
pub fn pool(role: &str, workers: usize) -> (Probe, Vec<Pid>) {
    let mut probe = Probe::start(&["pool", role, &workers.to_string(), "2000"]);
    let pids = (0..workers).map(|slot| started(&mut probe, slot)).collect();
    probe.line("all-ready");
    (probe, pids)
}

/// The pid of the next worker started in the slot.
pub fn started(probe: &mut Probe, slot: usize) -> Pid {
    parse_pid(&probe.line(&format!("started {slot} ")))
}

/// Stops a pool in order.
pub fn stop(mut probe: Probe) -> Probe {
    probe.signal(Signal::SIGTERM);
    probe.succeed();
    assert_eq!(probe.seen.last().unwrap(), "outcome Stopped");
    probe
}
