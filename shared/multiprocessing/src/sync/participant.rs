//! The identity of a participant: how a table in shared memory names a process, so that any other
//! process can detect its death.

use std::process;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::memory::element::Shareable;
use crate::memory::layout::ROW_BYTES;
use crate::sys::generation::generation;
use crate::sys::proc::{Stamp, has_ended, stamp};

/// A process, identified by its pid and its start time, so that it is never confused with a later
/// one that has the same pid. The program that it executes is part of the identity: what a process
/// holds does not survive an exec(3).
#[derive(Clone, Copy, Debug, Shareable)]
#[repr(C)]
pub(crate) struct Identity {
    pid: u32,
    /// [`Stamp::image`]; 0 if it is unknown.
    image: u32,
    /// The start time in clock ticks since boot.
    started: u64,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.pid == other.pid && !self.stamp().differs_from(other.stamp())
    }
}

/// The identity of the process of this generation, which a forked child does not have.
static OWN: Own = Own {
    generation: AtomicU32::new(0),
    pid: AtomicU32::new(0),
    image: AtomicU32::new(0),
    started: AtomicU64::new(0),
};

struct Own {
    generation: AtomicU32,
    pid: AtomicU32,
    image: AtomicU32,
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
            return Ok(Self {
                pid: OWN.pid.load(Ordering::Relaxed),
                image: OWN.image.load(Ordering::Relaxed),
                started: OWN.started.load(Ordering::Relaxed),
            });
        }
        Self::read(generation)
    }

    /// Reads the identity of the calling process. If several threads do this, all store the same.
    #[cold]
    fn read(generation: u32) -> Result<Self, Errno> {
        let Stamp { started, image } = Stamp::own()?;
        let own = Self { pid: process::id(), image, started };
        OWN.pid.store(own.pid, Ordering::Relaxed);
        OWN.image.store(own.image, Ordering::Relaxed);
        OWN.started.store(own.started, Ordering::Relaxed);
        OWN.generation.store(generation, Ordering::Release);
        Ok(own)
    }

    /// Returns a number that no forked child shares with its parent, not even a child that gets the
    /// pid of a dead ancestor.
    pub(crate) fn key(self) -> u64 {
        u64::from(self.pid) << 32 | u64::from(generation())
    }

    /// Returns the process that has this number now, if there is one. It may be about to execute
    /// another program.
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        Some(Self {
            pid: u32::try_from(pid.as_raw()).ok()?,
            image: 0,
            started: stamp(pid)?.started,
        })
    }

    /// Returns what distinguishes it from other processes with its pid.
    pub(crate) fn stamp(self) -> Stamp {
        Stamp { started: self.started, image: self.image }
    }

    /// Returns the number, which may belong to another process if this one is dead.
    pub(crate) fn pid(self) -> Pid {
        Pid::from_raw(self.pid.cast_signed())
    }

    /// Returns true if the process has certainly ended, or executes another program.
    pub(crate) fn is_dead(self) -> bool {
        has_ended(self.pid(), self.stamp())
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
