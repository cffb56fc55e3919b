//! A child process that runs a function, like Python's `multiprocessing.Process`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::pipe::{Ends, release_all_but};
use crate::sync::barrier::leave_all;
use crate::sync::participant::Identity;
use crate::sys::child::{pidfd_open, pidfd_send_signal, reap};
use crate::sys::deadline::Deadline;
use crate::sys::exit::Exit;
use crate::sys::fork::{SpawnError, fork_child};
use crate::sys::wait::poll_until;

/// A child process, running or ended. It ends when its parent ends for any reason, unless one of
/// them has changed its user (see [`fork_safety`](crate::guide::fork_safety)). Dropping the handle
/// neither ends nor joins the child. A child that is never joined stays a zombie, once it has
/// ended, until the parent ends.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    /// Readable once the child has ended.
    ended: OwnedFd,
    exit: Option<Exit>,
}

impl Process {
    /// Forks a child that runs `body` and exits with the code it returns (its low 8 bits). A panic
    /// in it is printed, and the child exits with 101. The child inherits the signal mask: a child
    /// of a [`Pool`](crate::Pool)'s supervisor or worker has SIGTERM, SIGUSR1 and SIGUSR2 blocked.
    /// The child drops what the closure owns, but no other values of its parent. The page on [fork
    /// safety](crate::guide::fork_safety) lists the rest.
    ///
    /// # Errors
    /// [`SpawnError::ManyThreads`] if the parent has more than one thread, as every `#[test]` has.
    pub fn fork(body: impl FnOnce() -> i32) -> Result<Self, SpawnError> {
        let mask = SigSet::thread_get_mask().map_err(SpawnError::Fork)?;
        Self::fork_masked(&mask, body)
    }

    /// Works like [`fork`](Self::fork), and moves ends of pipes into the child. The parent closes
    /// these ends, and the child closes its copies of all other ends of the parent. So each end is
    /// open in one process only, and a waiter at the other end learns of the death of that process.
    /// With [`fork`](Self::fork) the child inherits all ends instead. A copy of an end in a
    /// process that does not use it would keep that waiter waiting forever.
    ///
    /// ```
    /// use multiprocessing::{Connection, Process, pipe};
    ///
    /// let (here, there) = pipe()?;
    /// let greet = |there: Connection| i32::from(there.send("hello").is_err());
    /// let mut child = Process::fork_with(there, greet)?;
    /// assert_eq!(here.recv::<String>()?, "hello");
    /// assert!(child.join()?.is_success());
    /// assert!(here.recv::<String>().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as for [`fork`](Self::fork). The ends are closed then.
    pub fn fork_with<E: Ends>(ends: E, body: impl FnOnce(E) -> i32) -> Result<Self, SpawnError> {
        let release = release_all_but(&ends).map_err(SpawnError::Fork)?;
        Self::fork(move || match release.in_child() {
            Ok(()) => body(ends),
            // The child would keep ends open without knowing of them, which is worse than not
            // starting.
            Err(errno) => errno as i32,
        })
    }

    /// Works like [`fork`](Self::fork), with this signal mask in the child.
    pub(crate) fn fork_masked(
        mask: &SigSet,
        body: impl FnOnce() -> i32,
    ) -> Result<Self, SpawnError> {
        // A child leaves its barriers only when its body returns. After a panic the barriers must
        // see a dead party.
        let body = || {
            if let Err(errno) = Identity::own() {
                return errno as i32;
            }
            let code = body();
            leave_all();
            code
        };
        let pid = fork_child(mask, body)?;
        match pidfd_open(pid) {
            Ok(ended) => Ok(Self { pid, ended, exit: None }),
            Err(errno) => {
                // Without the descriptor no wait for the child could have a timeout: undo the
                // start.
                let _ = kill(pid, Signal::SIGKILL);
                let _ = waitpid(pid, None);
                Err(SpawnError::Fork(errno))
            }
        }
    }

    /// Returns the process id of the child.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns how the child ended, if a join has already returned it.
    pub fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Returns true if the child still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.join_timeout(Duration::ZERO), Ok(None))
    }

    /// Waits for the end of the child. Later calls return the same result.
    ///
    /// # Errors
    /// [`Errno::ECHILD`] if the child was reaped by other code of this process.
    pub fn join(&mut self) -> Result<Exit, Errno> {
        // Cannot happen: a wait without a deadline ends only with the child.
        self.join_until(Deadline::NEVER)?.ok_or(Errno::EAGAIN)
    }

    /// Waits for the end of the child at most this long. Returns `None` if the time is over.
    /// Signals do not change the length of the wait.
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<Option<Exit>, Errno> {
        self.join_until(Deadline::after(timeout)?)
    }

    pub(crate) fn join_until(&mut self, deadline: Deadline) -> Result<Option<Exit>, Errno> {
        let ended = &mut [PollFd::new(self.ended.as_fd(), PollFlags::POLLIN)];
        if self.exit.is_none() && poll_until(ended, deadline)? {
            self.exit = reap(self.ended.as_fd())?;
        }
        Ok(self.exit)
    }

    /// Asks the child to end (SIGTERM). Has no effect once it was joined.
    ///
    /// # Errors
    /// [`Errno::EPERM`] if the child changed its user, [`Errno::ESRCH`] if it has ended and was
    /// reaped by other code of this process.
    pub fn terminate(&self) -> Result<(), Errno> {
        self.signal(Signal::SIGTERM)
    }

    /// Kills the child (SIGKILL). Has no effect once it was joined.
    pub fn kill(&self) -> Result<(), Errno> {
        self.signal(Signal::SIGKILL)
    }

    /// Sends a signal to the child, unless it was joined.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Errno> {
        match self.exit {
            Some(_) => Ok(()),
            None => pidfd_send_signal(self.ended.as_fd(), signal),
        }
    }
}

impl AsFd for Process {
    /// Returns a descriptor that is readable once the child has ended (Python's `sentinel`), for
    /// poll.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}
