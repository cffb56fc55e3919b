//! Signals: a flag that one of them has arrived, and waits that end as soon as it does.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};

/// How long after a signal a batch that has been sent may still be answered. When it passes, the batch is in doubt and the
/// program ends with the signal's exit code. Below the 10 s after which container engines kill.
pub(crate) const FINISH_LIMIT: Duration = Duration::from_secs(5);

/// How long after a signal the program may still exist, whatever it is stuck in (a file system that hangs, a pipe nobody
/// reads). When it passes, it ends on the spot with the signal's exit code.
const END_LIMIT: Duration = Duration::from_secs(7);

/// No signal has arrived.
const NONE: i32 = 0;

/// The receiving side of the signals SIGTERM, SIGINT and SIGHUP.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Shared with the threads that take the signals.
    inbox: Arc<Inbox>,
    /// Becomes readable with the first signal and stays so: it is never read, so that every later wait ends at once.
    woken: UnixStream,
}

/// Where a signal is noted.
#[derive(Debug)]
struct Inbox {
    /// Number of the first signal, or [`NONE`]. Written once.
    first: AtomicI32,
    /// The other end of [`Stop::woken`]; a byte is written to it with the first signal.
    wake: UnixStream,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// What was waited for is there (or has failed, which reading or writing will tell).
    Ready,
    /// The deadline passed.
    TimedOut,
    /// A signal asks to stop.
    Stopped,
}

/// Whether a wait ends when a signal arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heed {
    /// It does.
    Signals,
    /// It does not: the signal is known, and what is in hand is to be finished.
    Nothing,
}

impl Stop {
    /// Begins to listen. To be called once, before any thread is started.
    ///
    /// # Errors
    /// When the system refuses a descriptor, a thread or the handler.
    pub(crate) fn install() -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let inbox = Arc::new(Inbox { first: AtomicI32::new(NONE), wake });

        // ctrlc runs one closure for all three signals and does not tell which one came, but the exit codes differ. So only
        // SIGTERM is left to it: the other two are blocked in every thread (a new one inherits the mask) and waited for.
        let keyboard = SigSet::from_iter([Signal::SIGINT, Signal::SIGHUP]);
        keyboard.thread_block()?;
        let shared = Arc::clone(&inbox);
        ctrlc::set_handler(move || shared.note(Signal::SIGTERM)).map_err(io::Error::other)?;
        let shared = Arc::clone(&inbox);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            while let Ok(signal) = keyboard.wait() {
                shared.note(signal);
            }
        })?;
        Ok(Self { inbox, woken })
    }

    /// The first signal that arrived, if any did.
    pub(crate) fn requested(&self) -> Option<Signal> {
        Signal::try_from(self.inbox.first.load(Ordering::Acquire)).ok()
    }

    /// The name of that signal, for a log line.
    pub(crate) fn signal_name(&self) -> &'static str {
        self.requested().map_or("none", Signal::as_str)
    }

    /// Waits for some time, or until a signal arrives.
    pub(crate) fn sleep(&self, time: Duration) -> Wake {
        let deadline = Some(Instant::now() + time);
        // Waiting for one descriptor cannot fail, but if it did, going on at once would be the lesser evil.
        self.poll(&mut [], Heed::Signals, deadline).unwrap_or(Wake::TimedOut)
    }

    /// Waits until `descriptor` can be read or written as `events` says, until `deadline` if there is one, or until a signal
    /// arrives.
    ///
    /// # Errors
    /// When the system cannot wait (no memory).
    pub(crate) fn wait(
        &self,
        descriptor: BorrowedFd<'_>,
        events: PollFlags,
        heed: Heed,
        deadline: Option<Instant>,
    ) -> io::Result<Wake> {
        self.poll(&mut [PollFd::new(descriptor, events)], heed, deadline)
    }

    fn poll(
        &self,
        wanted: &mut [PollFd<'_>],
        heed: Heed,
        deadline: Option<Instant>,
    ) -> io::Result<Wake> {
        let mut all = Vec::with_capacity(2);
        if heed == Heed::Signals {
            all.push(PollFd::new(self.woken.as_fd(), PollFlags::POLLIN));
        }
        all.extend_from_slice(wanted);
        loop {
            let rest = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match poll(&mut all, rest.map_or(PollTimeout::NONE, timeout)) {
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
                Ok(0) if rest.is_some_and(|rest| rest.is_zero()) => return Ok(Wake::TimedOut),
                Ok(0) => {}
                Ok(_) if heed == Heed::Signals && all[0].any() == Some(true) => {
                    return Ok(Wake::Stopped);
                }
                Ok(_) => return Ok(Wake::Ready),
            }
        }
    }
}

impl Inbox {
    /// Notes a signal: the first asks to stop, a second one ends the program on the spot.
    fn note(&self, signal: Signal) {
        let first = self
            .first
            .compare_exchange(NONE, signal as i32, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !first {
            std::process::exit(exit_code(signal).into());
        }
        // The socket's buffer is empty: it takes the byte.
        let _taken = (&self.wake).write(&[1]);
        let _started = thread::Builder::new().name("last resort".to_owned()).spawn(move || {
            thread::sleep(END_LIMIT);
            // Nothing is logged: whoever holds the lock of standard output may be what is stuck.
            std::process::exit(exit_code(signal).into());
        });
    }
}

/// The exit code of a program that a signal cut short, as shells report it: 143 for SIGTERM, 130 for SIGINT.
pub(crate) fn exit_code(signal: Signal) -> u8 {
    128 + signal as u8
}

/// A time as poll wants it: whole milliseconds, rounded up so that a wait of less than one does not spin.
fn timeout(rest: Duration) -> PollTimeout {
    let milliseconds = rest.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}
