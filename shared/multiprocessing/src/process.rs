//! A child process that runs a function, like Python's `multiprocessing.Process`.

mod function;
pub(crate) mod hook;
mod returned;
mod spawn;

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::function::ProgramFunction;
pub use self::hook::init;
use self::returned::report;
pub use self::returned::{JoinError, Return};
use crate::pipe::{Connection, Ends, PipeError, pipe, release_all_but};
use crate::sync::barrier::leave_all;
use crate::sync::participant::Identity;
use crate::sys::child::{pidfd_open, pidfd_send_signal, reap};
use crate::sys::deadline::Deadline;
use crate::sys::exit::Exit;
use crate::sys::fork::fork_child;
use crate::sys::spawn_error::SpawnError;
use crate::sys::wait::poll_until;

/// A child process, running or ended. It ends when its parent ends for any reason, unless one of
/// them has changed its user (see [`fork_safety`](crate::guide::fork_safety)). Dropping the handle
/// neither ends nor joins the child. A child that is never joined stays a zombie, once it has
/// ended, until the parent ends.
///
/// The function named when it is created is its start method:
///
/// | | [`fork`](Self::fork) | [`spawn`](Self::spawn) |
/// |---|---|---|
/// | the child | is a copy of the parent | executes the program again |
/// | it runs | a closure, with all values of the parent | a function, with an argument that serde encodes |
/// | the parent | must have one thread | may have threads and async runtimes |
/// | the program | needs nothing | calls [`init`] first in `main` |
///
/// `R` is what the function of the child returns, and decides what a join returns: see [`Return`].
///
/// ```
/// use multiprocessing::{JoinError, Process};
///
/// fn parse(text: String) -> Result<u64, std::num::ParseIntError> {
///     let number: u64 = text.parse()?;
///     Ok(number + 1)
/// }
///
/// multiprocessing::init();
/// assert_eq!(Process::spawn(parse, "41".to_owned())?.join()?, 42);
/// let failed = Process::fork(|| parse("many".to_owned()))?.join();
/// assert_eq!(failed, Err(JoinError::Failed("invalid digit found in string".to_owned())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Process<R = i32> {
    pid: Pid,
    /// Readable once the child has ended.
    ended: OwnedFd,
    exit: Option<Exit>,
    /// Where the result of the child arrives, until it is received.
    messages: Option<Connection>,
    /// The result of the child, encoded, so that every join can return it.
    message: Option<Vec<u8>>,
    returns: PhantomData<fn() -> R>,
}

impl<R: Return> Process<R> {
    /// Forks a child that runs `body`. A panic in it is printed, and the child exits with 101. The
    /// child inherits the signal mask: a child of a [`Pool`](crate::Pool)'s supervisor or worker
    /// has SIGTERM, SIGUSR1 and SIGUSR2 blocked. The child drops what the closure owns, but no
    /// other values of its parent. The page on [fork safety](crate::guide::fork_safety) lists the
    /// rest.
    ///
    /// # Errors
    /// [`SpawnError::ManyThreads`] if the parent has more than one thread, as every `#[test]` has.
    pub fn fork(body: impl FnOnce() -> R) -> Result<Self, SpawnError> {
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
    /// use multiprocessing::{Connection, PipeError, Process, pipe};
    ///
    /// let (here, there) = pipe()?;
    /// let greet = |there: Connection| there.send("hello");
    /// let mut child = Process::fork_with(there, greet)?;
    /// assert_eq!(here.recv::<String>()?, "hello");
    /// child.join()?;
    /// assert!(here.recv::<String>().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as for [`fork`](Self::fork). The ends are closed then.
    pub fn fork_with<E: Ends>(ends: E, body: impl FnOnce(E) -> R) -> Result<Self, SpawnError> {
        let mask = SigSet::thread_get_mask().map_err(SpawnError::Fork)?;
        let (here, there) = Self::result_pipe()?;
        let release = release_all_but(&ends, there.as_ref()).map_err(SpawnError::Fork)?;
        Self::start(&mask, here, there, || {
            // The child would keep ends open without knowing of them, which is worse than not
            // starting.
            release.in_child()?;
            Ok(body(ends))
        })
    }

    /// Works like [`fork`](Self::fork), with this signal mask in the child.
    pub(crate) fn fork_masked(mask: &SigSet, body: impl FnOnce() -> R) -> Result<Self, SpawnError> {
        let (here, there) = Self::result_pipe()?;
        Self::start(mask, here, there, || Ok(body()))
    }

    /// Executes this program again in a child, which calls the function with the argument. The
    /// program may have threads and async runtimes, and `spawn` may be called in any of them. It
    /// waits until the child is about to call the function, usually for a few milliseconds.
    ///
    /// The child gets control in [`init`], which must be the first line of `main`. In
    /// tests, [`test_hook`](crate::test_hook) takes its place. The page on [start
    /// methods](crate::guide::start_methods) lists what the child inherits.
    ///
    /// The function captures nothing. The argument may have any type that serde encodes, such as a
    /// tuple. Shared memory crosses as a [`SegmentName`](crate::SegmentName), by which the child
    /// opens the segment. Ends of pipes in the argument move into the child.
    ///
    /// ```
    /// use multiprocessing::{Connection, PipeError, Process, pipe};
    ///
    /// fn greet((end, name): (Connection, String)) -> Result<(), PipeError> {
    ///     end.send(&format!("hello {name}"))
    /// }
    ///
    /// multiprocessing::init();
    /// let runtime = std::thread::spawn(std::thread::park);
    /// let (here, there) = pipe()?;
    /// let mut child = Process::spawn(greet, (there, "spawn".to_owned()))?;
    /// assert_eq!(here.recv::<String>()?, "hello spawn");
    /// child.join()?;
    /// # runtime.thread().unpark();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SpawnError::NoHook`] if the program has not called [`init`]. Ends of pipes
    /// are closed after any error.
    pub fn spawn<A>(function: fn(A) -> R, argument: A) -> Result<Self, SpawnError>
    where
        A: Serialize + DeserializeOwned,
    {
        let encoded = spawn::encode(&argument)?;
        // The child has the ends of pipes for itself once the parent has closed its own.
        drop(argument);
        spawn::spawn(&SigSet::empty(), function, encoded)
    }

    /// Works like [`spawn`](Self::spawn), with this signal mask in the child. The argument is
    /// encoded as `A`, and may borrow what the child owns.
    pub(crate) fn spawn_masked<A: DeserializeOwned>(
        mask: &SigSet,
        function: fn(A) -> R,
        argument: &impl Serialize,
    ) -> Result<Self, SpawnError> {
        spawn::spawn(mask, function, spawn::encode(argument)?)
    }

    /// Creates the pipe of the result, if the child returns one.
    fn result_pipe() -> Result<(Option<Connection>, Option<Connection>), SpawnError> {
        if !R::SENDS {
            return Ok((None, None));
        }
        let (here, there) = pipe().map_err(|error| match error {
            PipeError::System(errno) => SpawnError::Fork(errno),
            _ => SpawnError::Fork(Errno::EIO),
        })?;
        Ok((Some(here), Some(there)))
    }

    fn start(
        mask: &SigSet,
        messages: Option<Connection>,
        parent: Option<Connection>,
        body: impl FnOnce() -> Result<R, Errno>,
    ) -> Result<Self, SpawnError> {
        // A child leaves its barriers only when its body returns. After a panic the barriers must
        // see a dead party.
        let body = || match Identity::own().and_then(|_| body()) {
            Ok(returned) => {
                let code = report(returned, parent.as_ref());
                leave_all();
                code
            }
            Err(errno) => errno as i32,
        };
        let pid = fork_child(mask, body)?;
        let ended = pidfd_open(pid).map_err(|errno| Self::undo(pid, SpawnError::Fork(errno)))?;
        Ok(Self { pid, ended, exit: None, messages, message: None, returns: PhantomData })
    }

    /// Waits for the end of the child, and returns its result. Later calls return the same.
    ///
    /// # Errors
    /// [`JoinError::System`] with [`Errno::ECHILD`] if the child was reaped by other code of this
    /// process. The other errors depend on what the function returns: see [`Return`].
    pub fn join(&mut self) -> Result<R::Joined, JoinError> {
        // Cannot happen: a wait without a deadline ends only with the child.
        self.join_until(Deadline::NEVER)?.ok_or(JoinError::System(Errno::EAGAIN))
    }

    /// Waits for the end of the child at most this long. Returns `None` if the time is over.
    /// Signals do not change the length of the wait.
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<Option<R::Joined>, JoinError> {
        self.join_until(Deadline::after(timeout)?)
    }

    fn join_until(&mut self, deadline: Deadline) -> Result<Option<R::Joined>, JoinError> {
        let Some(exit) = self.exit_until(deadline)? else { return Ok(None) };
        if let Some(messages) = self.messages.take() {
            self.message = match messages.recv_bytes_timeout(Duration::ZERO) {
                Ok(message) => message,
                Err(PipeError::Closed) => None,
                // It needs a descriptor, and this process has none left.
                Err(error) => Some(returned::failure(&error)),
            };
        }
        R::joined(exit, self.message.as_deref()).map(Some)
    }
}

impl<R> Process<R> {
    /// Ends a child of which the parent has no process descriptor. Without it no wait for the child
    /// could have a timeout.
    fn undo(pid: Pid, error: SpawnError) -> SpawnError {
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
        error
    }

    /// Returns the process id of the child.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns how the child ended, if a join has already waited for it.
    pub fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Returns true if the child still runs.
    pub fn is_alive(&mut self) -> bool {
        Deadline::after(Duration::ZERO).is_ok_and(|now| matches!(self.exit_until(now), Ok(None)))
    }

    /// Waits for the end of the child until the deadline, and returns how it ended.
    pub(crate) fn exit_until(&mut self, deadline: Deadline) -> Result<Option<Exit>, Errno> {
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

impl<R> AsFd for Process<R> {
    /// Returns a descriptor that is readable once the child has ended (Python's `sentinel`), for
    /// poll.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}
