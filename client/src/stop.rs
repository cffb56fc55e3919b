//! Stop signals, and waits that end when one arrives.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};

/// Time after a signal in which a batch that has been sent may still be acknowledged. When it
/// passes, the batch is in doubt and the program exits with the signal's exit code. It is below the
/// 10 s after which container engines kill.
pub(crate) const FINISH_LIMIT: Duration = Duration::from_secs(5);

/// Time after a signal in which the program must exit. When it passes, a thread ends the process
/// with the signal's exit code, even if another thread hangs in a system call (a file system that
/// does not respond, a full pipe without a reader).
const END_LIMIT: Duration = Duration::from_secs(7);

/// Time after the first signal before another one ends the program at once. One stop often
/// sends several signals: to the process and to its group, by `timeout` and by a service manager.
const REPEAT_COUNTS_AFTER: Duration = Duration::from_secs(1);

/// Length of one sleep of a thread that waits for a signal only. It sleeps again afterwards, so the
/// value has no effect.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// Value of [`FirstSignal::number`] before any signal.
const NONE: i32 = 0;

/// Receives the signals SIGTERM, SIGINT and SIGHUP.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Shared with the threads that receive the signals.
    first: Arc<FirstSignal>,
    /// Readable from the first signal on. It is never read, so every later wait ends at once.
    woken: UnixStream,
}

/// Record of the first signal.
#[derive(Debug)]
struct FirstSignal {
    /// Number of the signal, or [`NONE`]. Written once.
    number: AtomicI32,
    /// When it arrived. Written once, after the number.
    time: OnceLock<Instant>,
    /// The other end of [`Stop::woken`]. One byte is written to it with the first signal.
    wake: UnixStream,
}

/// Result of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The descriptor is ready. It may have failed; the next read or write reports that.
    Ready,
    /// The deadline passed.
    TimedOut,
    /// A signal has arrived.
    Stopped,
}

/// Effect of a signal on a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The wait ends.
    OnSignal,
    /// The wait continues: the caller knows of the signal and finishes its work first.
    Never,
}

impl Stop {
    /// Installs the signal handlers. Must be called once, before any thread is started.
    pub(crate) fn install() -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let first =
            Arc::new(FirstSignal { number: AtomicI32::new(NONE), time: OnceLock::new(), wake });

        // ctrlc runs one closure for all three signals without their number, but the exit codes
        // differ. So ctrlc handles only SIGTERM. The other two are blocked in every thread, since
        // new threads inherit the mask, and one thread waits for them.
        let keyboard = SigSet::from_iter([Signal::SIGINT, Signal::SIGHUP]);
        keyboard.thread_block()?;
        let shared = Arc::clone(&first);
        ctrlc::set_handler(move || shared.record(Signal::SIGTERM)).map_err(io::Error::other)?;
        let shared = Arc::clone(&first);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            while let Ok(signal) = keyboard.wait() {
                shared.record(signal);
            }
        })?;
        Ok(Self { first, woken })
    }

    /// Returns the first signal that has arrived, if any.
    pub(crate) fn requested(&self) -> Option<Signal> {
        Signal::try_from(self.first.number.load(Ordering::Acquire)).ok()
    }

    /// Returns the name of the first signal, for a log line.
    pub(crate) fn signal_name(&self) -> &'static str {
        self.requested().map_or("none", Signal::as_str)
    }

    /// Waits for `time` or until a signal arrives.
    pub(crate) fn sleep(&self, time: Duration) -> Wake {
        let deadline = Some(Instant::now() + time);
        // poll on one descriptor cannot fail; if it did, a shorter pause would do no harm.
        self.poll(&mut [], Interrupt::OnSignal, deadline).unwrap_or(Wake::TimedOut)
    }

    /// Waits until `descriptor` is ready for `events`, the deadline passes, or a signal arrives.
    pub(crate) fn wait(
        &self,
        descriptor: BorrowedFd<'_>,
        events: PollFlags,
        interrupt: Interrupt,
        deadline: Option<Instant>,
    ) -> io::Result<Wake> {
        self.poll(&mut [PollFd::new(descriptor, events)], interrupt, deadline)
    }

    fn poll(
        &self,
        wanted: &mut [PollFd<'_>],
        interrupt: Interrupt,
        deadline: Option<Instant>,
    ) -> io::Result<Wake> {
        let mut all = Vec::with_capacity(2);
        if interrupt == Interrupt::OnSignal {
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
                Ok(_) if interrupt == Interrupt::OnSignal && all[0].any() == Some(true) => {
                    return Ok(Wake::Stopped);
                }
                Ok(_) => return Ok(Wake::Ready),
            }
        }
    }
}

impl FirstSignal {
    /// Records a signal. The first one wakes the program. Another one ends it at once, unless it
    /// belongs to the same stop.
    fn record(&self, signal: Signal) {
        let first = self
            .number
            .compare_exchange(NONE, signal as i32, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !first {
            // Without a time, the other thread is recording the first signal at this moment.
            if self.time.get().is_some_and(|time| time.elapsed() >= REPEAT_COUNTS_AFTER) {
                std::process::exit(exit_code(signal).into());
            }
            return;
        }
        // Cannot fail: only the first signal gets here.
        let _set = self.time.set(Instant::now());
        // Cannot fail: the socket's buffer is empty.
        let _written = (&self.wake).write(&[1]);
        let _started = thread::Builder::new().name("end limit".to_owned()).spawn(move || {
            thread::sleep(END_LIMIT);
            // Nothing is logged: the thread that hangs may hold the lock of standard output.
            std::process::exit(exit_code(signal).into());
        });
    }
}

/// Returns the exit code that shells report for a signal: 143 for SIGTERM, 130 for SIGINT.
pub(crate) fn exit_code(signal: Signal) -> u8 {
    128 + signal as u8
}

/// Converts a time for poll: whole milliseconds, rounded up so that a wait of less than one
/// millisecond does not spin.
fn timeout(rest: Duration) -> PollTimeout {
    let milliseconds = rest.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}
