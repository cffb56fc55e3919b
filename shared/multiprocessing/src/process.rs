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
use crate::sys::child::{pidfd_open, pidfd_send_signal, reap};
use crate::sys::deadline::Deadline;
use crate::sys::exit::Exit;
use crate::sys::fork::{SpawnError, fork_child};
use crate::sys::wait::poll_until;

/// A running or ended child. It ends when its parent ends, however that happens, unless one of them changed its user meanwhile (see
/// [`fork_safety`](crate::guide::fork_safety)). Dropping the handle leaves the child running
/// and, once it has ended, a zombie until the parent ends: join it.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    /// Readable once the child has ended.
    ended: OwnedFd,
    exit: Option<Exit>,
}

impl Process {
    /// Forks a child that runs `body` and exits with the code it returns (its low 8 bits). A panic in it is printed and exits
    /// with 101. It inherits the signal mask: a child of a [`Pool`](crate::Pool)'s supervisor or worker has SIGTERM blocked.
    /// The child drops what the closure owns, and nothing else of its parent's. What else to mind fills a page:
    /// [fork safety](crate::guide::fork_safety).
    ///
    /// # Errors
    /// [`SpawnError`]; among them a parent with more than one thread, which every `#[test]` has.
    pub fn spawn(body: impl FnOnce() -> i32) -> Result<Self, SpawnError> {
        let mask = SigSet::thread_get_mask().map_err(SpawnError::Fork)?;
        Self::spawn_masked(&mask, body)
    }

    /// As [`spawn`](Self::spawn), and hands ends of pipes over: these are the child's, no longer the parent's, and of every other
    /// end that the parent has, the child keeps none. So each end is open in one process, and when that is killed, whoever waits
    /// at the other end is told. With [`spawn`](Self::spawn) the child inherits all of them instead, and an end that somebody
    /// holds without using it keeps up the wait for ever.
    ///
    /// ```
    /// use multiprocessing::{Process, pipe};
    ///
    /// let (here, there) = pipe()?;
    /// let mut child = Process::spawn_with(there, |there| i32::from(there.send("hello").is_err()))?;
    /// assert_eq!(here.recv::<String>()?, "hello");
    /// assert!(child.join()?.is_success());
    /// assert!(here.recv::<String>().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn). The ends are closed then.
    pub fn spawn_with<E: Ends>(ends: E, body: impl FnOnce(E) -> i32) -> Result<Self, SpawnError> {
        let release = release_all_but(&ends).map_err(SpawnError::Fork)?;
        Self::spawn(move || match release.in_child() {
            Ok(()) => body(ends),
            // It would keep up waits that it knows nothing of, which is worse than not starting.
            Err(errno) => errno as i32,
        })
    }

    /// As [`spawn`](Self::spawn), with these signals blocked in the child.
    pub(crate) fn spawn_masked(
        mask: &SigSet,
        body: impl FnOnce() -> i32,
    ) -> Result<Self, SpawnError> {
        // Leaving a barrier is for an orderly return. After a panic the barrier must see a dead party.
        let body = || {
            let code = body();
            leave_all();
            code
        };
        let pid = fork_child(mask, body)?;
        match pidfd_open(pid) {
            Ok(ended) => Ok(Self { pid, ended, exit: None }),
            Err(errno) => {
                // Without the descriptor nobody could wait for it with a timeout: undo.
                let _ = kill(pid, Signal::SIGKILL);
                let _ = waitpid(pid, None);
                Err(SpawnError::Fork(errno))
            }
        }
    }

    /// The child's process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// How the child ended, as far as a join has found out.
    pub fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Whether the child still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.join_timeout(Duration::ZERO), Ok(None))
    }

    /// Waits for the end of the child. Asked again, it answers the same.
    ///
    /// # Errors
    /// [`Errno::ECHILD`] when somebody else reaped the child.
    pub fn join(&mut self) -> Result<Exit, Errno> {
        // A wait without end never ends in vain; this keeps the types honest without a panic.
        self.join_until(Deadline::NEVER)?.ok_or(Errno::EAGAIN)
    }

    /// Waits for the end of the child at most this long; `None` when the time is over. Signals do not shorten or lengthen it.
    ///
    /// # Errors
    /// As [`join`](Self::join).
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

    /// Asks the child to end (SIGTERM). No effect once it was joined.
    ///
    /// # Errors
    /// [`Errno::EPERM`] when the child changed its user, [`Errno::ESRCH`] when it has ended and somebody else reaped it.
    pub fn terminate(&self) -> Result<(), Errno> {
        self.signal(Signal::SIGTERM)
    }

    /// Ends the child at once (SIGKILL). No effect once it was joined.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate).
    pub fn kill(&self) -> Result<(), Errno> {
        self.signal(Signal::SIGKILL)
    }

    /// Sends the child a signal, unless it was joined.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Errno> {
        match self.exit {
            Some(_) => Ok(()),
            None => pidfd_send_signal(self.ended.as_fd(), signal),
        }
    }
}

impl AsFd for Process {
    /// A descriptor that is readable once the child has ended (Python's `sentinel`), for use with poll.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}
