//! The supervisor's loop: it waits for signals and for its workers, and never touches what a living worker owns.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpid, pipe2, read};

use super::backoff::{Backoff, Next};
use super::worker::Worker;
use super::{CANNOT_SERVE, IGNORED, Outcome, PoolError, PoolEvent, PoolOptions, Repair, Workload};
use crate::process::Process;
use crate::sys::child::{ended_child, reap_unknown};
use crate::sys::deadline::LONGEST_WAIT;
use crate::sys::exit::Exit;
use crate::sys::fork::SpawnError;
use crate::sys::signal::set_disposition;

/// Signals that stop the pool in order; a second one of them, in haste.
const STOP: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
/// Least pause between two attempts to kill what a stop left over.
const KILL_PAUSE: Duration = Duration::from_secs(1);
/// The end of a worker that somebody else reaped.
const UNKNOWN: Exit = Exit::Code(255);
/// Pause between two attempts to repair what a dead worker left.
const REPAIR_PAUSE: Duration = Duration::from_millis(100);
/// Pause after a fork that failed: the machine is out of processes or memory.
const SPAWN_PAUSE: Duration = Duration::from_millis(500);

/// The moment this far away.
fn moment_after(wait: Duration) -> Instant {
    Instant::now() + wait.min(LONGEST_WAIT)
}

/// A supervised pool of workers. Make it first thing in `main`: from then on no signal is lost, whatever is set up before
/// [`run`](Self::run).
#[derive(Debug)]
pub struct Pool {
    options: PoolOptions,
    signals: SignalFd,
    ready_reader: OwnedFd,
    ready_writer: OwnedFd,
}

/// One place in the pool.
#[derive(Debug, Default)]
struct Slot {
    state: State,
    backoff: Backoff,
}

#[derive(Debug, Default)]
enum State {
    /// Nobody here, and nobody shall be.
    #[default]
    Empty,
    /// A new worker is due at this time.
    Due(Instant),
    /// What the last worker left is not put right yet.
    Unrepaired {
        exit: Exit,
        /// When it is tried again.
        retry: Instant,
        /// When a new worker is due then.
        due: Instant,
    },
    Running {
        process: Process,
        since: Instant,
        ready: bool,
    },
}

impl Slot {
    fn is_running(&self, pid: Pid) -> bool {
        matches!(&self.state, State::Running { process, .. } if process.pid() == pid)
    }
}

impl Pool {
    /// Blocks the signals a pool reacts to, so that they wait for [`run`](Self::run), and makes the supervisor's descriptors.
    ///
    /// # Errors
    /// [`PoolError::System`] when the system is out of descriptors.
    pub fn new(options: PoolOptions) -> Result<Self, PoolError> {
        let mask: SigSet =
            STOP.into_iter().chain(IGNORED).chain([Signal::SIGQUIT, Signal::SIGCHLD]).collect();
        mask.thread_block()
            .map_err(|source| PoolError::System { action: "blocking signals", source })?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags)
            .map_err(|source| PoolError::System { action: "making a signal descriptor", source })?;
        let (ready_reader, ready_writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .map_err(|source| PoolError::System { action: "making a pipe", source })?;
        // A log line into a closed pipe must not end the supervisor, nor a write that makes a file larger than its limit: both
        // are errors of the write. And whoever started it may ignore SIGCHLD, which is inherited: the kernel would reap the
        // workers itself and tell nobody.
        set_disposition(Signal::SIGPIPE, SigHandler::SigIgn)
            .and_then(|()| set_disposition(Signal::SIGXFSZ, SigHandler::SigIgn))
            .and_then(|()| set_disposition(Signal::SIGCHLD, SigHandler::SigDfl))
            .map_err(|source| PoolError::System { action: "settling signals", source })?;
        Ok(Self { options, signals, ready_reader, ready_writer })
    }

    /// Starts the workers and watches over them until the pool has ended. SIGTERM, SIGINT and SIGHUP stop it in order; a second one
    /// of them, or SIGQUIT, kills what is left.
    ///
    /// # Errors
    /// [`PoolError::Start`] when the first workers cannot be forked.
    pub fn run(self, workload: &mut impl Workload) -> Result<Outcome, PoolError> {
        let slots = (0..self.options.workers.get()).map(|_| Slot::default()).collect();
        Watch {
            pool: &self,
            workload,
            slots,
            announced: false,
            stop: None,
            outcome: Outcome::Stopped,
        }
        .run()
    }
}

/// A running pool.
struct Watch<'a, W> {
    pool: &'a Pool,
    workload: &'a mut W,
    slots: Vec<Slot>,
    /// Whether [`PoolEvent::AllReady`] was told.
    announced: bool,
    /// When workers that have not ended are killed; `None` while serving.
    stop: Option<Instant>,
    outcome: Outcome,
}

impl<W: Workload> Watch<'_, W> {
    fn run(mut self) -> Result<Outcome, PoolError> {
        for slot in 0..self.slots.len() {
            if let Err(source) = self.start(slot) {
                self.kill_all();
                while self.running() > 0 {
                    self.wait(None);
                    self.reap();
                }
                return Err(PoolError::Start { slot, source });
            }
        }
        loop {
            self.wait(self.next_deadline());
            self.handle_ready();
            self.handle_signals();
            self.reap();
            if self.stop.is_some() && self.running() == 0 {
                return Ok(self.outcome);
            }
            self.keep_time();
        }
    }

    /// Sleeps until a signal, a worker's message, or the deadline.
    fn wait(&self, deadline: Option<Instant>) {
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // One more millisecond, since poll cuts fractions and would wake just before the deadline, again and again.
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut sources = [
            PollFd::new(self.pool.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.pool.ready_reader.as_fd(), PollFlags::POLLIN),
        ];
        // Whatever it returns, everything is looked at.
        let _ = poll(&mut sources, timeout);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let due = self.slots.iter().filter_map(|slot| match slot.state {
            State::Due(at) | State::Unrepaired { retry: at, .. } => Some(at),
            State::Empty | State::Running { .. } => None,
        });
        due.chain(self.stop).min()
    }

    /// Does what is due: kills the stragglers of a stop, or starts workers whose pause is over.
    fn keep_time(&mut self) {
        let now = Instant::now();
        if let Some(deadline) = self.stop {
            if now >= deadline {
                self.kill_all();
                // SIGKILL cannot be refused; what is left of the wait is the kernel's.
                self.stop = Some(moment_after(self.pool.options.grace.max(KILL_PAUSE)));
            }
            return;
        }
        for slot in 0..self.slots.len() {
            if let State::Unrepaired { exit, retry, due } = self.slots[slot].state
                && now >= retry
            {
                self.repair(slot, exit, due);
            }
            if matches!(self.slots[slot].state, State::Due(at) if now >= at)
                && let Err(error) = self.start(slot)
            {
                self.slots[slot].state = State::Due(now + SPAWN_PAUSE);
                self.workload.observe(&PoolEvent::SpawnFailed { slot, reason: error.to_string() });
            }
        }
    }

    fn start(&mut self, slot: usize) -> Result<(), SpawnError> {
        let writer = self.pool.ready_writer.try_clone().map_err(|error| {
            SpawnError::Fork(error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw))
        })?;
        let Self { workload, slots, .. } = self;
        let process = Process::spawn_masked(&Worker::mask(), || {
            // Its copies of the siblings' descriptors: every worker shall have the same ones, whenever it started.
            slots.clear();
            match Worker::new(slot, writer) {
                Ok(worker) => workload.work(&worker),
                Err(errno) => errno as i32,
            }
        })?;
        let pid = process.pid();
        self.slots[slot].state = State::Running { process, since: Instant::now(), ready: false };
        self.workload.observe(&PoolEvent::Started { slot, pid });
        Ok(())
    }

    /// Reads which workers have become ready.
    fn handle_ready(&mut self) {
        let mut message = [0; size_of::<u32>()];
        while let Ok(4) = read(&self.pool.ready_reader, &mut message) {
            // Workers sign with their pid, not their slot: what a dead one said must not count for its successor.
            let pid = Pid::from_raw(u32::from_ne_bytes(message).cast_signed());
            let Some(slot) = self.slots.iter().position(|slot| slot.is_running(pid)) else {
                continue;
            };
            if let State::Running { ready: ready @ false, .. } = &mut self.slots[slot].state {
                *ready = true;
                self.workload.observe(&PoolEvent::Ready { slot });
            }
        }
        let all_ready = |slot: &Slot| matches!(slot.state, State::Running { ready: true, .. });
        if !self.announced && self.stop.is_none() && self.slots.iter().all(all_ready) {
            self.announced = true;
            self.workload.observe(&PoolEvent::AllReady);
        }
    }

    fn handle_signals(&mut self) {
        while let Ok(Some(info)) = self.pool.signals.read_signal() {
            let Ok(signal) = Signal::try_from(info.ssi_signo.cast_signed()) else { continue };
            match signal {
                Signal::SIGCHLD => {}
                Signal::SIGQUIT => self.stop_now(signal),
                _ if STOP.contains(&signal) && self.stop.is_some() => self.stop_now(signal),
                _ if STOP.contains(&signal) => self.stop_in_order(Some(signal)),
                _ => self.workload.observe(&PoolEvent::Ignored { signal }),
            }
        }
    }

    /// Asks every worker to finish.
    fn stop_in_order(&mut self, signal: Option<Signal>) {
        if self.stop.is_some() {
            return;
        }
        self.stop = Some(moment_after(self.pool.options.grace));
        self.workload.observe(&PoolEvent::Stopping { signal });
        for slot in &mut self.slots {
            match &slot.state {
                State::Running { process, .. } => {
                    // It may be dead already; then it is reaped in a moment.
                    let _ = process.terminate();
                }
                State::Due(_) | State::Unrepaired { .. } => slot.state = State::Empty,
                State::Empty => {}
            }
        }
    }

    fn stop_now(&mut self, signal: Signal) {
        self.stop_in_order(Some(signal));
        self.kill_all();
    }

    fn kill_all(&mut self) {
        let mut workers = 0;
        for slot in &self.slots {
            if let State::Running { process, .. } = &slot.state {
                workers += 1;
                // As in `stop_in_order`.
                let _ = process.kill();
            }
        }
        if workers > 0 {
            self.workload.observe(&PoolEvent::Killed { workers });
        }
    }

    /// Takes note of everybody who has ended.
    fn reap(&mut self) {
        self.reap_workers();
        if getpid() != Pid::from_raw(1) {
            return;
        }
        // As the first process of a container, the supervisor inherits everybody's orphans, and nobody else waits for them. They
        // are looked at before they are reaped: a worker that has ended in this moment must not be taken for one.
        while let Some(pid) = ended_child() {
            if self.slots.iter().any(|slot| slot.is_running(pid)) {
                self.reap_workers();
            } else {
                reap_unknown(pid);
            }
        }
    }

    fn reap_workers(&mut self) {
        for slot in 0..self.slots.len() {
            let State::Running { process, .. } = &mut self.slots[slot].state else { continue };
            let exit = match process.join_timeout(Duration::ZERO) {
                Ok(Some(exit)) => exit,
                // The workload waits for any child, it seems: how this one ended is lost.
                Err(Errno::ECHILD) => UNKNOWN,
                Ok(None) | Err(_) => continue,
            };
            // It may have said that it was ready just before it ended.
            self.handle_ready();
            let State::Running { process, since, ready } = &self.slots[slot].state else {
                continue;
            };
            let (pid, uptime, was_ready) = (process.pid(), since.elapsed(), *ready);
            self.bury(slot, pid, exit, uptime, was_ready);
        }
    }

    fn bury(&mut self, slot: usize, pid: Pid, exit: Exit, uptime: Duration, was_ready: bool) {
        let stopping = self.stop.is_some();
        let next = match exit {
            _ if stopping => Next::Stay,
            Exit::Code(CANNOT_SERVE) => Next::CannotServe,
            _ => self.slots[slot].backoff.after_death(exit, uptime, was_ready),
        };
        match next {
            Next::Restart => self.repair(slot, exit, Instant::now()),
            Next::RestartAfter(pause) => self.repair(slot, exit, Instant::now() + pause),
            // The pool ends: there is no next worker that could trip over what this one left, and no time to try again.
            Next::GiveUp | Next::CannotServe | Next::Stay => {
                self.slots[slot].state = State::Empty;
                self.workload.repair(slot, exit);
            }
        }
        if !(stopping && exit.is_success()) {
            self.workload.observe(&PoolEvent::Died { slot, pid, exit, uptime, next });
        }
        match next {
            Next::GiveUp => self.outcome = Outcome::CrashLoop { slot, exit },
            Next::CannotServe => self.outcome = Outcome::CannotServe { slot },
            Next::Restart | Next::RestartAfter(_) | Next::Stay => return,
        }
        self.stop_in_order(None);
    }

    /// Puts right what a dead worker left; its successor is due at `due`, or later if that takes longer.
    fn repair(&mut self, slot: usize, exit: Exit, due: Instant) {
        self.slots[slot].state = match self.workload.repair(slot, exit) {
            Repair::Done => State::Due(due),
            Repair::Again => State::Unrepaired { exit, retry: Instant::now() + REPAIR_PAUSE, due },
        };
    }

    fn running(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot.state, State::Running { .. })).count()
    }
}
