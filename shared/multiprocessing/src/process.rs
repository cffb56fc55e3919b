//! A child process that runs a function, like Python's `multiprocessing.Process`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::exit::Exit;
use crate::fork::{SpawnError, fork_child, pidfd_open, reap};

/// Longer waits than this are the same as for ever, and the sum of clock and wait must not overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(1 << 32);

/// The moment this far away.
pub(crate) fn moment_after(wait: Duration) -> Instant {
    Instant::now() + wait.min(LONGEST_WAIT)
}

/// A running or ended child. It ends when its parent ends, however that happens. Dropping the handle leaves the child running
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
    /// Destructors of the parent's values do not run in the child.
    ///
    /// # Errors
    /// [`SpawnError`]; among them a parent with more than one thread, which every `#[test]` has.
    pub fn spawn(body: impl FnOnce() -> i32) -> Result<Self, SpawnError> {
        let mask = SigSet::thread_get_mask().map_err(SpawnError::Fork)?;
        Self::spawn_masked(&mask, body)
    }

    /// As [`spawn`](Self::spawn), with these signals blocked in the child.
    pub(crate) fn spawn_masked(mask: &SigSet, body: impl FnOnce() -> i32) -> Result<Self, SpawnError> {
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
        loop {
            // A wait without end in slices keeps one code path with the timed form.
            if let Some(exit) = self.join_timeout(Duration::from_secs(3600))? {
                return Ok(exit);
            }
        }
    }

    /// Waits for the end of the child at most this long; `None` when the time is over. Signals do not shorten or lengthen it.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<Option<Exit>, Errno> {
        if self.exit.is_some() || !self.wait_for_end(timeout)? {
            return Ok(self.exit);
        }
        self.exit = reap(self.pid)?;
        Ok(self.exit)
    }

    /// Waits until the child has ended, without reaping it. Whether it has.
    fn wait_for_end(&self, timeout: Duration) -> Result<bool, Errno> {
        let deadline = moment_after(timeout);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up: poll has whole milliseconds, and waking early would make this loop spin.
            let milliseconds = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
            let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.ended.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) if Instant::now() >= deadline => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Asks the child to end (SIGTERM). No effect once it was joined.
    ///
    /// # Errors
    /// As kill(2), [`Errno::EPERM`] when the child changed its user.
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

    /// Sends the child a signal, unless it was joined: its pid may belong to somebody else by then.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Errno> {
        match self.exit {
            Some(_) => Ok(()),
            None => kill(self.pid, signal),
        }
    }
}

impl AsFd for Process {
    /// A descriptor that is readable once the child has ended (Python's `sentinel`), for use with poll.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}
