//! The supervisor's loop: it waits for signals and for its workers, and never touches what a living worker owns.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpid, pipe2, read};

use super::backoff::Next;
use super::slot::{Dead, Running, SPAWN_PAUSE, Slot};
use super::worker::Worker;
use super::{
    CANNOT_SERVE, IGNORED, Outcome, PoolError, PoolEvent, PoolOptions, RepairOutcome, Workload,
};
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
            .map_err(|source| PoolError::System {
                action: "setting signal dispositions",
                source,
            })?;
        Ok(Self { options, signals, ready_reader, ready_writer })
    }

    /// Starts the workers and watches over them until the pool has ended. SIGTERM, SIGINT and SIGHUP stop it in order; a second one
    /// of them, or SIGQUIT, kills what is left.
    ///
    /// # Errors
    /// [`PoolError::Start`] when the first workers cannot be forked.
    pub fn run(self, workload: &mut impl Workload) -> Result<Outcome, PoolError> {
        let slots = (0..self.options.workers.get()).map(|_| Slot::empty()).collect();
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
    slots: Vec<Slot<()>>,
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
                while self.running().next().is_some() {
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
            if self.stop.is_some() && self.running().next().is_none() {
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
        self.slots.iter().filter_map(Slot::next_due).chain(self.stop).min()
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
            if let Some(exit) = self.slots[slot].repair_due(now) {
                self.repair(slot, exit);
            }
            if self.slots[slot].is_due(now)
                && let Err(error) = self.start(slot)
            {
                self.slots[slot].due_after(SPAWN_PAUSE);
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
        self.slots[slot].start(process, ());
        self.workload.observe(&PoolEvent::Started { slot, pid });
        Ok(())
    }

    /// Reads which workers have become ready.
    fn handle_ready(&mut self) {
        let mut message = [0; size_of::<u32>()];
        while let Ok(4) = read(&self.pool.ready_reader, &mut message) {
            // Workers sign with their pid, not their slot: what a dead one said must not count for its successor.
            let pid = Pid::from_raw(u32::from_ne_bytes(message).cast_signed());
            let running = self.slots.iter_mut().map(Slot::running_mut).enumerate();
            let signed = |running: &Running<()>| running.process.pid() == pid && !running.is_ready;
            let mut newly = running.filter_map(|(slot, running)| Some((slot, running?)));
            let Some((slot, running)) = newly.find(|(_, running)| signed(running)) else {
                continue;
            };
            running.is_ready = true;
            self.workload.observe(&PoolEvent::Ready { slot });
        }
        let ready = self.running().filter(|running| running.is_ready).count();
        if !self.announced && self.stop.is_none() && ready == self.slots.len() {
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
            slot.stop();
            if let Some(running) = slot.running() {
                // It may be dead already; then it is reaped in a moment.
                let _ = running.process.terminate();
            }
        }
    }

    fn stop_now(&mut self, signal: Signal) {
        self.stop_in_order(Some(signal));
        self.kill_all();
    }

    fn kill_all(&mut self) {
        let mut workers = 0;
        for running in self.running() {
            workers += 1;
            // As in `stop_in_order`.
            let _ = running.process.kill();
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
            if self.running().any(|running| running.process.pid() == pid) {
                self.reap_workers();
            } else {
                reap_unknown(pid);
            }
        }
    }

    fn reap_workers(&mut self) {
        for slot in 0..self.slots.len() {
            let Some(exit) = self.slots[slot].exit() else { continue };
            // It may have reported that it is ready just before it ended.
            self.handle_ready();
            if let Some(dead) = self.slots[slot].remove_dead(exit) {
                self.handle_death(slot, &dead);
            }
        }
    }

    fn handle_death(&mut self, slot: usize, dead: &Dead<()>) {
        let Dead { pid, exit, uptime, .. } = *dead;
        let stopping = self.stop.is_some();
        let next = match exit {
            _ if stopping => Next::Stay,
            Exit::Code(CANNOT_SERVE) => Next::CannotServe,
            _ => self.slots[slot].after_death(dead),
        };
        if let Some(pause) = next.pause() {
            self.slots[slot].repair_then_due_after(exit, pause);
            self.repair(slot, exit);
        } else {
            // The pool stops: no worker follows that could find what this one left, and there is no
            // time for another attempt.
            self.workload.repair(slot, exit);
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

    /// Tries to repair what a dead worker left. Its successor starts only after that.
    fn repair(&mut self, slot: usize, exit: Exit) {
        let outcome = self.workload.repair(slot, exit);
        self.slots[slot].repaired(outcome == RepairOutcome::Done);
    }

    fn running(&self) -> impl Iterator<Item = &Running<()>> {
        self.slots.iter().filter_map(Slot::running)
    }
}
