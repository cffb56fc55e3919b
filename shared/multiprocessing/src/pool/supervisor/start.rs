//! Starts workers, by fork or by executing the program again.

use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::errno::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Supervised, Supervisor};
use crate::pipe::Handed;
use crate::pool::slot::{SPAWN_PAUSE, Slot};
use crate::pool::watchdog::Watch;
use crate::pool::worker::Worker;
use crate::pool::{PoolEvent, Workload};
use crate::process::Process;
use crate::sys::spawn_error::SpawnError;

/// Starts a worker with a copy of the workload.
pub(super) type StartWorker<W> =
    fn(&mut W, &mut Vec<Slot<Supervised>>, Place) -> Result<Process, SpawnError>;

/// What a worker gets from the supervisor: its slot, and the write ends of the pipes.
pub(super) struct Place {
    slot: usize,
    ready: OwnedFd,
    aborts: OwnedFd,
}

pub(super) fn fork_worker<W: Workload>(
    workload: &mut W,
    slots: &mut Vec<Slot<Supervised>>,
    place: Place,
) -> Result<Process, SpawnError> {
    Process::fork_masked(&Worker::mask(), || {
        // Closes the inherited descriptors of the other workers, so that every worker has the same
        // ones no matter when it started.
        slots.clear();
        work(workload, place)
    })
}

pub(super) fn spawn_worker<W: Workload + Serialize + DeserializeOwned>(
    workload: &mut W,
    _slots: &mut Vec<Slot<Supervised>>,
    Place { slot, ready, aborts }: Place,
) -> Result<Process, SpawnError> {
    let begin =
        |(mut workload, slot, Handed(ready), Handed(aborts)): (W, usize, Handed, Handed)| {
            work(&mut workload, Place { slot, ready, aborts })
        };
    let argument = (&*workload, slot, Handed(ready), Handed(aborts));
    Process::spawn_masked(&Worker::mask(), begin, &argument)
}

/// Runs in the worker.
fn work(workload: &mut impl Workload, Place { slot, ready, aborts }: Place) -> i32 {
    match Worker::new(slot, ready, aborts) {
        Ok(worker) => workload.work(&worker),
        Err(errno) => errno as i32,
    }
}

impl<W: Workload> Supervisor<'_, W> {
    /// Starts a worker, later if the system refuses it now.
    pub(super) fn start_or_retry(&mut self, slot: usize) {
        if let Err(error) = self.start(slot) {
            self.slots[slot].due_after(SPAWN_PAUSE);
            self.workload.observe(&PoolEvent::SpawnFailed { slot, reason: error.to_string() });
        }
    }

    pub(super) fn start(&mut self, slot: usize) -> Result<(), SpawnError> {
        let duplicate = |pipe: &OwnedFd| {
            pipe.try_clone().map_err(|error| {
                SpawnError::Fork(error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw))
            })
        };
        let ready = duplicate(&self.pool.ready_writer)?;
        let aborts = duplicate(&self.pool.backtrace_writer)?;
        let Self { workload, slots, start_worker, .. } = self;
        let process = start_worker(workload, slots, Place { slot, ready, aborts })?;
        let pid = process.pid();
        let watch = Watch::new(Instant::now());
        let worker = Supervised { watch, grace: self.options.grace, kill_at: None };
        self.slots[slot].start(process, worker);
        self.workload.observe(&PoolEvent::Started { slot, pid });
        Ok(())
    }
}
