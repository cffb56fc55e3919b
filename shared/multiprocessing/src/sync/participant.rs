//! The identity of a participant: how a table in shared memory names a process, so that any other
//! process can detect its death.

use std::process;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::memory::element::Shareable;
use crate::memory::layout::ROW_BYTES;
use crate::sys::generation::generation;
use crate::sys::proc::{has_ended, own_start_ticks, start_ticks};

/// A process, identified by its pid and its start time, so that it is never confused with a later
/// one that has the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Shareable)]
#[repr(C)]
pub(crate) struct Identity {
    pid: u64,
    /// The start time in clock ticks since boot.
    started: u64,
}

/// The identity of the process of this generation, which a forked child does not have.
static OWN: Own =
    Own { generation: AtomicU32::new(0), pid: AtomicU64::new(0), started: AtomicU64::new(0) };

struct Own {
    generation: AtomicU32,
    pid: AtomicU64,
    started: AtomicU64,
}

impl Identity {
    /// Returns the identity of the calling process. It is read once per process, because that needs
    /// a free descriptor. A segment does this when it is created or opened, and a child when it
    /// starts. An unknown identity is never used: a table would name the process by it, and the
    /// process would not find its own row later.
    ///
    /// # Errors
    /// Only in the first call of a process.
    pub(crate) fn own() -> Result<Self, Errno> {
        let generation = generation();
        if OWN.generation.load(Ordering::Acquire) == generation {
            let (pid, started) = (&OWN.pid, &OWN.started);
            let number = |of: &AtomicU64| of.load(Ordering::Relaxed);
            return Ok(Self { pid: number(pid), started: number(started) });
        }
        Self::read(generation)
    }

    /// Reads the identity of the calling process. If several threads do this, all store the same.
    #[cold]
    fn read(generation: u32) -> Result<Self, Errno> {
        let own = Self { pid: process::id().into(), started: own_start_ticks()? };
        OWN.pid.store(own.pid, Ordering::Relaxed);
        OWN.started.store(own.started, Ordering::Relaxed);
        OWN.generation.store(generation, Ordering::Release);
        Ok(own)
    }

    /// Returns a number that no forked child shares with its parent, not even a child that gets the
    /// pid of a dead ancestor.
    pub(crate) fn key(self) -> u64 {
        self.pid << 32 | u64::from(generation())
    }

    /// Returns the process that has this number now, if there is one.
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        Some(Self { pid: u64::try_from(pid.as_raw()).ok()?, started: start_ticks(pid)? })
    }

    /// Returns the number, which may belong to another process if this one is dead.
    pub(crate) fn pid(self) -> Pid {
        Pid::from_raw(self.pid as i32)
    }

    /// Returns true if the process has certainly ended.
    pub(crate) fn is_dead(self) -> bool {
        has_ended(self.pid(), self.started)
    }
}

/// One row of a table of participants. Each primitive gives the numbers its own meaning.
#[derive(Clone, Copy, Debug, Shareable)]
#[repr(C)]
pub(crate) struct Row {
    pub(crate) who: Identity,
    pub(crate) count: u64,
    pub(crate) mark: u64,
}

const _: () = assert!(size_of::<Row>() == ROW_BYTES);
