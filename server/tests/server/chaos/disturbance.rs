//! The disturbances of a running central.

use std::fs;
use std::time::Duration;

use multiprocessing::{Lock, RawArray};
use nix::sys::signal::Signal;

use super::summary::Summary;
use crate::harness::{CentralProcess, FileShim, Random, Setup, StoppedProcess, kill, works_in};

/// Longest time between two disturbances, enough for several batches.
const PEACE: Duration = Duration::from_millis(25);
/// Longest time that processes stay stopped.
const STOPPED: Duration = Duration::from_millis(120);
/// How long a limit of the size of files holds.
const FULL: Duration = Duration::from_millis(60);
/// Exit code after a failed sync.
const NOT_DURABLE: i32 = 3;

/// What may happen to a central, which goes on.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    KillWorker,
    KillWorkers,
    StopAndKillWorker,
    StopWorker,
    KillLockHolder,
    StopAll,
    KillWorkerWhileSupervisorIsStopped,
    EndWorker,
    FailWrite,
    LimitFiles,
    Reload,
    ReloadAndKillWorker,
    ChangeWorkers,
}

const DISTURBANCES: [Disturbance; 18] = [
    Disturbance::KillWorker,
    Disturbance::KillWorker,
    Disturbance::KillWorkers,
    Disturbance::StopAndKillWorker,
    Disturbance::StopAndKillWorker,
    Disturbance::StopWorker,
    Disturbance::KillLockHolder,
    Disturbance::KillLockHolder,
    Disturbance::KillLockHolder,
    Disturbance::StopAll,
    Disturbance::KillWorkerWhileSupervisorIsStopped,
    Disturbance::EndWorker,
    Disturbance::FailWrite,
    Disturbance::LimitFiles,
    Disturbance::Reload,
    Disturbance::Reload,
    Disturbance::ReloadAndKillWorker,
    Disturbance::ChangeWorkers,
];

/// What a disturbance led to.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// The central goes on.
    Runs,
    /// The central has ended, as it must after this disturbance.
    Ended,
}

/// A central under disturbance.
#[derive(Debug)]
pub struct Disturbed<'a> {
    central: CentralProcess<'a>,
    shim: Option<&'a FileShim>,
    pids: RawArray<u32>,
    locks: [Lock; 3],
}

impl<'a> Disturbed<'a> {
    /// Prepares to disturb a central that is ready.
    pub fn new(central: CentralProcess<'a>, shim: Option<&'a FileShim>) -> Self {
        let segment = central.segment();
        let locks = [
            segment.value::<[u64; 11]>("ledger").unwrap().get_lock().clone(),
            segment.value::<u64>("winners").unwrap().get_lock().clone(),
            segment.lock("sync").unwrap(),
        ];
        Self { pids: segment.raw_array("worker_pid").unwrap(), central, shim, locks }
    }

    /// Returns the process ids of the running workers. A process id in shared memory may be out of
    /// date and belong to another program by now.
    fn workers(&self) -> Vec<u32> {
        let directory = self.central.setup().directory();
        self.pids.iter().filter(|pid| works_in(*pid, directory)).collect()
    }

    /// Returns the central, whose end is up to the caller.
    pub fn into_central(self) -> CentralProcess<'a> {
        self.central
    }

    /// Waits for a random time, then disturbs the central in a random way.
    pub fn disturb(&mut self, random: &mut Random, summary: &mut Summary) -> Outcome {
        random.pause(PEACE);
        let workers = self.workers();
        if workers.is_empty() {
            return Outcome::Runs;
        }
        let worker = random.pick(&workers);
        let (what, may_end) = if random.below(16) == 0 {
            ("a failed sync".to_owned(), self.fail_sync(random, summary))
        } else {
            let disturbance = random.pick(&DISTURBANCES);
            self.perform(disturbance, worker, random, summary);
            (format!("{disturbance:?}"), false)
        };
        if may_end || !self.central.program.is_running() {
            let code = self.central.program.exit_code();
            let lines = self.central.program.lines();
            assert!(may_end && code == NOT_DURABLE, "{what}: exit {code}: {lines:#?}");
            return Outcome::Ended;
        }
        Outcome::Runs
    }

    /// Performs a disturbance that the central must survive.
    fn perform(
        &self,
        disturbance: Disturbance,
        worker: u32,
        random: &mut Random,
        summary: &mut Summary,
    ) {
        match disturbance {
            Disturbance::KillWorker => {
                summary.kills_of_workers += usize::from(kill(worker, Signal::SIGKILL));
            }
            Disturbance::KillWorkers => {
                for pid in self.workers() {
                    summary.kills_of_workers += usize::from(kill(pid, Signal::SIGKILL));
                }
            }
            Disturbance::StopAndKillWorker => {
                let stopped = StoppedProcess::new(worker);
                random.pause(PEACE);
                stopped.kill();
                summary.kills_of_workers += 1;
            }
            Disturbance::StopWorker => {
                let _stopped = StoppedProcess::new(worker);
                random.pause(STOPPED);
                summary.pauses += 1;
            }
            Disturbance::KillLockHolder => self.kill_lock_holder(random, summary),
            Disturbance::StopAll => {
                let supervisor = StoppedProcess::new(self.central.program.pid());
                let _workers: Vec<_> =
                    self.workers().into_iter().map(StoppedProcess::new).collect();
                random.pause(STOPPED);
                drop(supervisor);
                summary.pauses += 1;
            }
            Disturbance::KillWorkerWhileSupervisorIsStopped => {
                let _supervisor = StoppedProcess::new(self.central.program.pid());
                summary.kills_of_workers += usize::from(kill(worker, Signal::SIGKILL));
                random.pause(PEACE);
            }
            Disturbance::EndWorker => {
                kill(worker, Signal::SIGTERM);
            }
            Disturbance::Reload => self.reload(random, summary),
            Disturbance::ReloadAndKillWorker => {
                self.reload(random, summary);
                summary.kills_of_workers += usize::from(kill(worker, Signal::SIGKILL));
            }
            Disturbance::ChangeWorkers => {
                let signal = random.pick(&[Signal::SIGTTIN, Signal::SIGTTOU]);
                self.central.program.signal(signal);
                summary.reloads += 1;
            }
            Disturbance::FailWrite => self.fail_write(random, summary),
            Disturbance::LimitFiles => {
                self.limit_files(random);
                summary.full_disks += 1;
            }
        }
    }

    /// Stops a worker while it holds a lock, and kills it without letting it run again. Gives up if
    /// none is seen with the lock for a moment.
    fn kill_lock_holder(&self, random: &mut Random, summary: &mut Summary) {
        let lock = &self.locks[random.below(self.locks.len() as u64) as usize];
        for _ in 0..20 {
            let holder = (0..500).find_map(|_| lock.holder());
            let Some(pid) = holder.map(|pid| pid.as_raw().cast_unsigned()) else { return };
            if !self.workers().contains(&pid) {
                return;
            }
            let stopped = StoppedProcess::new(pid);
            if lock.holder().is_some_and(|holder| holder.as_raw().cast_unsigned() == pid) {
                stopped.kill();
                summary.kills_of_workers += 1;
                summary.kills_of_lock_holders += 1;
                return;
            }
        }
    }

    /// Writes other settings, valid or not, and makes the central read them.
    fn reload(&self, random: &mut Random, summary: &mut Summary) {
        let setup = self.central.setup();
        let settings = random.pick(&["SERVER_WORKERS = 1", "SERVER_WORKERS = 3", "SERVER_WORKERS"]);
        write_settings(setup, settings);
        self.central.program.signal(Signal::SIGHUP);
        summary.reloads += 1;
        random.pause(PEACE);
        // The inspecting commands read the file too.
        write_settings(setup, "SERVER_WORKERS = 2");
    }

    fn fail_write(&self, random: &mut Random, summary: &mut Summary) {
        let Some(shim) = self.shim else { return };
        let file = random.pick(&["bets.csv", "winners.log", "winners.idx", "journal"]);
        let how = random.pick(&["error", "short", "torn"]);
        shim.fail_next(&format!("write {file} {how}"));
        random.pause(PEACE);
        summary.failed_writes += usize::from(!shim.cancel());
    }

    /// Makes a sync fail. Returns true if it has failed, so that the central must end.
    fn fail_sync(&self, random: &mut Random, summary: &mut Summary) -> bool {
        let Some(shim) = self.shim else { return false };
        shim.fail_next(&format!("sync {} error", random.pick(&["*", "journal"])));
        random.pause(PEACE);
        let failed = !shim.cancel();
        summary.failed_syncs += usize::from(failed);
        failed
    }

    /// Limits the size of files for a moment, so that batches do not fit.
    fn limit_files(&self, random: &mut Random) {
        // The space of `sessions` is reserved at the start, so a full disk does not refuse its
        // writes, and this limit must not either.
        let size_of = |file| {
            let metadata = fs::metadata(self.central.setup().stored(file));
            metadata.map_or(0, |metadata| metadata.len())
        };
        let size = size_of("bets.csv").max(size_of("sessions"));
        let limit = (size + random.below(40_000)).to_string();
        self.central.limit_files(&self.workers(), &limit);
        random.pause(FULL);
        self.central.limit_files(&self.workers(), "unlimited");
    }
}

/// Writes the configuration file of the central.
pub fn write_settings(setup: &Setup, settings: &str) {
    fs::write(setup.directory().join("config.ini"), format!("[DEFAULT]\n{settings}\n")).unwrap();
}
