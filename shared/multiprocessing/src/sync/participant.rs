//! Who takes part in something: a process as a table in shared memory names it, so that its death can be found out by anybody.

use std::cell::Cell;
use std::process;

use nix::unistd::{Pid, gettid};

use crate::memory::element::Shareable;
use crate::memory::layout::ROW_BYTES;
use crate::sys::fork::generation;
use crate::sys::proc::{has_ended, start_ticks};

/// A process, never to be taken for another one: its number and when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Shareable)]
#[repr(C)]
pub(crate) struct Identity {
    pid: u64,
    /// Clock ticks since boot; 0 where there is no `/proc` to tell.
    started: u64,
}

thread_local! {
    /// Who the thread of this number, in the process of this generation, belongs to. A forked child inherits what its parent knew,
    /// and finds that it is another thread; and where numbers are used again, that more forks are behind it.
    static KNOWN: Cell<Option<(Pid, u32, Identity)>> = const { Cell::new(None) };
}

impl Identity {
    /// The calling process. Its number is a system call away, and most callers have just had a mutex whose word says which thread
    /// they are: so that is asked for.
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

    /// The calling process.
    pub(crate) fn own() -> Self {
        Self::of_thread(gettid())
    }

    /// A number that no forked child shares with its parent, not even one that gets the pid of a dead ancestor.
    pub(crate) fn key(self) -> u64 {
        self.pid << 32 | u64::from(generation())
    }

    /// A process of this number that lives now; `None` when there is none.
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        Some(Self { pid: u64::try_from(pid.as_raw()).ok()?, started: start_ticks(pid)? })
    }

    /// Its number, which may be another process's when it is dead.
    pub(crate) fn pid(self) -> Pid {
        Pid::from_raw(self.pid as i32)
    }

    /// Whether it has ended for certain.
    pub(crate) fn is_dead(self) -> bool {
        has_ended(self.pid(), self.started)
    }
}

/// One row of a table of participants. What the numbers mean is up to the primitive.
#[derive(Clone, Copy, Debug, Shareable)]
#[repr(C)]
pub(crate) struct Row {
    pub(crate) who: Identity,
    pub(crate) count: u64,
    pub(crate) mark: u64,
}

const _: () = assert!(size_of::<Row>() == ROW_BYTES);
