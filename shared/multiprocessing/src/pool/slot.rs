//! The life cycle of a slot, in which each worker replaces the one before: *due* → *running* →
//! *ready* → dead → *due* again, at once or after a pause, until the slot is given up.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::backoff::{Backoff, Next};
use crate::process::Process;
use crate::sys::deadline::Deadline;
use crate::sys::exit::Exit;

/// Pause after a failed fork, which means that the machine is out of processes or memory.
pub(crate) const SPAWN_PAUSE: Duration = Duration::from_millis(500);
/// Pause between two attempts to repair the state that a dead worker left.
const REPAIR_PAUSE: Duration = Duration::from_millis(100);
/// Recorded when other code of this process has reaped the worker, so that its status is lost.
const UNKNOWN: Exit = Exit::Code(255);

/// One numbered place for a worker. `W` is the data that a pool keeps per running worker.
#[derive(Debug)]
pub(crate) struct Slot<W> {
    state: State<W>,
    backoff: Backoff,
    /// True if a worker of the newest generation belongs here: it is replaced when it dies.
    current: bool,
}

#[derive(Debug)]
enum State<W> {
    /// No worker runs here and none is due. Holds how the last worker ended, if there was one.
    Empty(Option<Exit>),
    /// A new worker is due at this time.
    Due(Instant),
    /// The state that the last worker left is not repaired yet.
    Unrepaired {
        exit: Exit,
        /// Time of the next attempt.
        retry: Instant,
        /// Earliest start of the new worker.
        due: Instant,
    },
    Running(Running<W>),
}

/// A running worker.
#[derive(Debug)]
pub(crate) struct Running<W> {
    pub(crate) process: Process,
    started: Instant,
    /// True once the worker has reported that it is ready.
    pub(crate) is_ready: bool,
    pub(crate) worker: W,
}

/// A worker that has ended and was removed from its slot.
pub(crate) struct Dead<W> {
    pub(crate) pid: Pid,
    pub(crate) exit: Exit,
    pub(crate) uptime: Duration,
    was_ready: bool,
    pub(crate) worker: W,
}

impl<W> Slot<W> {
    /// Returns a slot of the newest generation, without a worker yet.
    pub(crate) fn empty() -> Self {
        Self { state: State::Empty(None), backoff: Backoff::default(), current: true }
    }

    /// Returns a free slot.
    pub(super) fn free() -> Self {
        Self { current: false, ..Self::empty() }
    }

    /// Returns true if no worker runs or belongs here, and nothing of the last one is left to
    /// repair.
    pub(super) fn is_free(&self) -> bool {
        !self.current && matches!(self.state, State::Empty(_))
    }

    /// Returns true if a worker of the newest generation belongs here.
    pub(super) fn is_current(&self) -> bool {
        self.current
    }

    /// Takes a free slot for a worker of the newest generation.
    pub(super) fn join_generation(&mut self) {
        self.current = true;
        self.backoff = Backoff::default();
    }

    /// Leaves the slot to the worker that runs here, which is not replaced when it ends. Returns
    /// true if a worker was due here or would have been due after a repair.
    pub(super) fn leave_generation(&mut self) -> bool {
        let was_current = std::mem::replace(&mut self.current, false);
        if let State::Due(_) = self.state {
            self.state = State::Empty(None);
        }
        was_current && self.running().is_none()
    }

    /// Stores a worker that was just started.
    pub(crate) fn start(&mut self, process: Process, worker: W) {
        let started = Instant::now();
        self.state = State::Running(Running { process, started, is_ready: false, worker });
    }

    /// Returns the worker, if one runs.
    pub(crate) fn running(&self) -> Option<&Running<W>> {
        match &self.state {
            State::Running(running) => Some(running),
            _ => None,
        }
    }

    /// Returns the worker for modification, if one runs.
    pub(crate) fn running_mut(&mut self) -> Option<&mut Running<W>> {
        match &mut self.state {
            State::Running(running) => Some(running),
            _ => None,
        }
    }

    /// Consumes the slot and returns the worker, if one runs.
    pub(crate) fn into_running(self) -> Option<Running<W>> {
        match self.state {
            State::Running(running) => Some(running),
            _ => None,
        }
    }

    /// Returns when the next repair attempt or the next start is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        match self.state {
            State::Due(at) | State::Unrepaired { retry: at, .. } => Some(at),
            State::Empty(_) | State::Running(_) => None,
        }
    }

    /// Returns true if a new worker is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Due(at) if now >= at)
    }

    /// Returns how the last worker ended, if a repair of its state is due.
    pub(super) fn repair_due(&self, now: Instant) -> Option<Exit> {
        match self.state {
            State::Unrepaired { exit, retry, .. } if now >= retry => Some(exit),
            _ => None,
        }
    }

    /// Schedules a new worker after this pause.
    pub(crate) fn due_after(&mut self, pause: Duration) {
        self.state = State::Due(Instant::now() + pause);
    }

    /// Schedules a repair now, and a new worker once it has succeeded and this pause is over, if
    /// one belongs here then.
    pub(super) fn repair_then_due_after(&mut self, exit: Exit, pause: Duration) {
        let now = Instant::now();
        self.state = State::Unrepaired { exit, retry: now, due: now + pause };
    }

    /// Records whether a repair attempt succeeded.
    pub(super) fn repaired(&mut self, succeeded: bool) {
        if let State::Unrepaired { exit, due, .. } = self.state {
            let retry = Instant::now() + REPAIR_PAUSE;
            self.state = match (succeeded, self.current) {
                (true, true) => State::Due(due),
                (true, false) => State::Empty(Some(exit)),
                (false, _) => State::Unrepaired { exit, retry, due },
            };
        }
    }

    /// Cancels a scheduled repair or start. A running worker stays.
    pub(super) fn stop(&mut self) {
        if self.running().is_none() {
            self.state = State::Empty(None);
        }
    }

    /// Returns how the last worker ended, if none runs and no replacement is scheduled.
    pub(crate) fn given_up(&self) -> Option<Exit> {
        match self.state {
            State::Empty(exit) => exit,
            _ => None,
        }
    }

    /// Returns how the worker ended, if it has ended.
    pub(crate) fn exit(&mut self) -> Option<Exit> {
        let now = Deadline::after(Duration::ZERO).ok()?;
        match self.running_mut()?.process.exit_until(now) {
            Ok(exit) => exit,
            Err(Errno::ECHILD) => Some(UNKNOWN),
            Err(_) => None,
        }
    }

    /// Removes the worker, which has ended in this way, and leaves the slot empty.
    pub(crate) fn remove_dead(&mut self, exit: Exit) -> Option<Dead<W>> {
        match std::mem::replace(&mut self.state, State::Empty(Some(exit))) {
            State::Running(Running { process, started, is_ready, worker }) => Some(Dead {
                pid: process.pid(),
                exit,
                uptime: started.elapsed(),
                was_ready: is_ready,
                worker,
            }),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Resets the death counts, because a worker of this slot has done useful work.
    pub(crate) fn forget_deaths(&mut self) {
        self.backoff = Backoff::default();
    }

    /// Counts a death and decides what happens to the slot.
    pub(crate) fn after_death(&mut self, dead: &Dead<W>) -> Next {
        self.backoff.after_death(dead.exit, dead.uptime, dead.was_ready, Instant::now())
    }
}
