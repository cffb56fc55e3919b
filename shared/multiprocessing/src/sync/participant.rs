//! The identity of a participant: how a table in shared memory names a process, so that any other
//! process can detect its death.

use std::cell::Cell;
use std::process;

use nix::unistd::{Pid, gettid};

use crate::memory::element::Shareable;
use crate::memory::layout::ROW_BYTES;
use crate::sys::generation::generation;
use crate::sys::proc::{has_ended, start_ticks};

/// A process, identified by its pid and its start time, so that it is never confused with a later
/// one that has the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Shareable)]
#[repr(C)]
pub(crate) struct Identity {
    pid: u64,
    /// The start time in clock ticks since boot; 0 without `/proc`.
    started: u64,
}

thread_local! {
    /// The process that the thread of this number belongs to, in the process of this generation. A
    /// forked child inherits this entry and finds that its own thread has another number. If the
    /// number is reused, the generation differs.
    static KNOWN: Cell<Option<(Pid, u32, Identity)>> = const { Cell::new(None) };
}

impl Identity {
    /// Returns the identity of the calling process. Its number costs a system call, but most
    /// callers have just locked a mutex, whose word holds the thread id: they pass that.
    pub(crate) fn of_thread(thread: Pid) -> Self {
        match KNOWN.get() {
            Some((known, forks, own)) if known == thread && forks == generation() => own,
            _ => {
                let started = start_ticks(Pid::this()).unwrap_or(0);
                let own = Self { pid: u64::from(process::id()), started };
                KNOWN.set(Some((thread, generation(), own)));
                own
            }
        }
    }

    /// Returns the identity of the calling process.
    pub(crate) fn own() -> Self {
        Self::of_thread(gettid())
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
