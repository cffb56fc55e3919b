//! The supervisor's event loop. It reacts to signals and to workers, and never touches state that a
//! living worker owns.

mod reload;
mod start;
mod stop;
mod tick;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpid, pipe2, read};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::start::{StartWorker, fork_worker, spawn_worker};
use super::backoff::Next;
use super::slot::{Dead, Running, Slot};
use super::watchdog::{TICK, Watch};
use super::{
    CANNOT_SERVE, IGNORED, Outcome, PoolError, PoolEvent, PoolOptions, REOPEN, RepairOutcome,
    Workload,
};
use crate::sys::child::{ended_child, reap_unknown};
use crate::sys::deadline::LONGEST_WAIT;
use crate::sys::exit::Exit;
use crate::sys::signal::set_disposition;

/// Signals that request a graceful stop. A later one requests an immediate stop.
const STOP: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];
/// The other signals that change something.
const CONTROL: [Signal; 6] =
    [Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGTTIN, Signal::SIGTTOU, REOPEN, Signal::SIGCHLD];
/// Returns the time after this wait, capped so that the addition cannot overflow.
fn deadline_after(wait: Duration) -> Instant {
    Instant::now() + wait.min(LONGEST_WAIT)
}

/// A supervised pool of forked workers.
///
/// Create it first in `main`. Signals that arrive while the program sets itself up are then kept
/// for [`run`](Self::run).
#[derive(Debug)]
pub struct Pool {
    options: PoolOptions,
    /// Delivers the blocked signals as data.
    signals: SignalFd,
    /// Read end of the pipe on which workers report that they are ready.
    ready_reader: OwnedFd,
    /// Write end of that pipe. Each worker gets a duplicate.
    ready_writer: OwnedFd,
    /// Read end of the pipe to which aborting workers write their backtraces.
    backtrace_reader: OwnedFd,
    /// Write end of that pipe. Each worker gets a duplicate.
    backtrace_writer: OwnedFd,
}

impl Pool {
    /// Blocks the signals that a pool handles, so that they stay pending until [`run`](Self::run),
    /// and opens the supervisor's descriptors.
    pub fn new(options: PoolOptions) -> Result<Self, PoolError> {
        let mask: SigSet = STOP.into_iter().chain(IGNORED).chain(CONTROL).collect();
        mask.thread_block()
            .map_err(|source| PoolError::System { action: "blocking signals", source })?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags)
            .map_err(|source| PoolError::System { action: "making a signal descriptor", source })?;
        let pipe = || {
            pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
                .map_err(|source| PoolError::System { action: "making a pipe", source })
        };
        let (ready_reader, ready_writer) = pipe()?;
        let (backtrace_reader, backtrace_writer) = pipe()?;
        // A write to a closed pipe or beyond a file size limit must fail instead of killing the
        // supervisor. An ignored SIGCHLD, inherited from the process that started this one, would
        // make the kernel reap the workers and discard their exit status.
        set_disposition(Signal::SIGPIPE, SigHandler::SigIgn)
            .and_then(|()| set_disposition(Signal::SIGXFSZ, SigHandler::SigIgn))
            .and_then(|()| set_disposition(Signal::SIGCHLD, SigHandler::SigDfl))
            .map_err(|source| PoolError::System {
                action: "setting signal dispositions",
                source,
            })?;
        Ok(Self {
            options,
            signals,
            ready_reader,
            ready_writer,
            backtrace_reader,
            backtrace_writer,
        })
    }

    /// Starts the workers and supervises them until the pool has ended.
    ///
    /// SIGTERM and SIGINT request a graceful stop. Another one of them, at least a second after the
    /// first, or SIGQUIT kills the remaining workers. SIGHUP reloads ([`Workload::reload`]),
    /// SIGTTIN and SIGTTOU add and retire a worker, and SIGUSR1 reopens log files
    /// ([`PoolEvent::Reopen`]).
    ///
    /// # Errors
    /// [`PoolError::Start`] if one of the first workers cannot be forked. Later failures are
    /// retried.
    pub fn run(self, workload: &mut impl Workload) -> Result<Outcome, PoolError> {
        self.supervise(workload, fork_worker)
    }

    /// Works like [`run`](Self::run), but the workers execute this program again, as with
    /// [`Process::spawn`](crate::Process::spawn). Each worker calls [`Workload::work`] of a copy of
    /// the workload that serde makes when the worker starts. What is skipped there, such as the
    /// handles of a segment, `work` opens by name.
    ///
    /// The program may have threads and async runtimes if they start after [`new`](Self::new), so
    /// that they inherit the blocked signals. A signal to a thread that does not block it has its
    /// default action, which ends the program. `run_spawned` keeps its own thread busy until the
    /// pool has ended.
    ///
    /// # Errors
    /// [`PoolError::Start`] if one of the first workers cannot be started, with
    /// [`SpawnError::NoHook`](crate::SpawnError::NoHook) if the program has not called
    /// [`init`](crate::init).
    pub fn run_spawned<W>(self, workload: &mut W) -> Result<Outcome, PoolError>
    where
        W: Workload + Serialize + DeserializeOwned,
    {
        self.supervise(workload, spawn_worker)
    }

    fn supervise<W: Workload>(
        self,
        workload: &mut W,
        start_worker: StartWorker<W>,
    ) -> Result<Outcome, PoolError> {
        let options = self.options;
        let (workers, slots) = (options.workers.get(), options.slots.max(options.workers.get()));
        let slots =
            (0..slots).map(|slot| if slot < workers { Slot::empty() } else { Slot::free() });
        let slots = slots.collect();
        Supervisor {
            pool: &self,
            options,
            workload,
            start_worker,
            slots,
            all_ready_reported: false,
            repeat_counts_at: None,
            stopping: false,
            ticked: Instant::now(),
            outcome: Outcome::Stopped,
        }
        .run()
    }
}

/// The pool's data about a running worker.
#[derive(Debug)]
struct Supervised {
    watch: Watch,
    /// How long it may take to stop. A reload changes this for new workers only.
    grace: Duration,
    /// When it is killed. `None` unless the pool is stopping.
    kill_at: Option<Instant>,
}

/// A running pool.
struct Supervisor<'a, W> {
    pool: &'a Pool,
    /// The options that apply now.
    options: PoolOptions,
    workload: &'a mut W,
    start_worker: StartWorker<W>,
    slots: Vec<Slot<Supervised>>,
    /// True once [`PoolEvent::AllReady`] was reported for the newest generation.
    all_ready_reported: bool,
    /// When another request to stop kills the remaining workers. `None` before the first one.
    repeat_counts_at: Option<Instant>,
    /// True once the pool has begun to stop.
    stopping: bool,
    /// The last tick.
    ticked: Instant,
    /// The result of the run once all workers have ended.
    outcome: Outcome,
}

impl<W: Workload> Supervisor<'_, W> {
    fn run(mut self) -> Result<Outcome, PoolError> {
        for slot in 0..self.options.workers.get() {
            if let Err(source) = self.start(slot) {
                self.kill(|_| true);
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
            self.tick();
            if self.stopping && self.running().next().is_none() {
                return Ok(self.outcome);
            }
            self.handle_deadlines();
        }
    }

    /// Waits for a signal, a worker's message, or the deadline.
    fn wait(&self, deadline: Option<Instant>) {
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // poll takes whole milliseconds. Rounding down would busy-loop just before the
            // deadline.
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut sources = [
            PollFd::new(self.pool.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.pool.ready_reader.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.pool.backtrace_reader.as_fd(), PollFlags::POLLIN),
        ];
        // The caller checks every source, so the result does not matter.
        let _ = poll(&mut sources, timeout);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let due = self.slots.iter().filter_map(Slot::next_due);
        let kills = self.running().filter_map(|running| running.worker.kill_at);
        due.chain(kills).chain([self.ticked + TICK]).min()
    }

    /// Handles expired deadlines: kills the workers that outlive a stop, or runs the repairs and
    /// starts that are due.
    fn handle_deadlines(&mut self) {
        let now = Instant::now();
        if self.stopping {
            self.kill(|worker| worker.kill_at.is_some_and(|time| now >= time));
            return;
        }
        let mut blocked = false;
        for slot in 0..self.slots.len() {
            // What blocks one repair usually blocks the others. If each of them waited for it in
            // this pass, the watchdog would take the time for a suspension, and never end the
            // process that blocks them.
            if let Some(exit) = self.slots[slot].repair_due(now).filter(|_| !blocked) {
                blocked = !self.repair(slot, exit);
            }
            if self.slots[slot].is_due(now) {
                self.start_or_retry(slot);
            }
        }
    }

    /// Reads the reports of workers that have become ready.
    fn handle_ready(&mut self) {
        let mut message = [0; size_of::<u32>()];
        while let Ok(4) = read(&self.pool.ready_reader, &mut message) {
            // The report holds the pid, not the slot, so that the report of a dead worker does not
            // count for its replacement.
            let pid = Pid::from_raw(u32::from_ne_bytes(message).cast_signed());
            let running = self.slots.iter_mut().map(Slot::running_mut).enumerate();
            let is_sender =
                |running: &Running<Supervised>| running.process.pid() == pid && !running.is_ready;
            let mut running = running.filter_map(|(slot, running)| Some((slot, running?)));
            let Some((slot, running)) = running.find(|(_, running)| is_sender(running)) else {
                continue;
            };
            running.is_ready = true;
            self.workload.observe(&PoolEvent::Ready { slot });
        }
        if self.all_ready_reported || self.stopping {
            return;
        }
        let mut newest = self.slots.iter().filter(|slot| slot.is_current());
        if newest.all(|slot| slot.running().is_some_and(|running| running.is_ready)) {
            self.all_ready_reported = true;
            self.workload.observe(&PoolEvent::AllReady);
            self.retire_replaced();
        }
    }

    /// Reaps every child that has ended.
    fn reap(&mut self) {
        self.reap_workers();
        if getpid() != Pid::from_raw(1) {
            return;
        }
        // As the first process of a container, the supervisor becomes the parent of all orphans and
        // must reap them. It checks each pid first: a worker that has just ended is not an orphan.
        while let Some(pid) = ended_child() {
            if self.running().any(|running| running.process.pid() == pid) {
                self.reap_workers();
            } else {
                reap_unknown(pid);
            }
        }
    }

    fn reap_workers(&mut self) {
        while self.reap_ended_workers() {}
    }

    /// Returns false if no worker had ended.
    fn reap_ended_workers(&mut self) -> bool {
        let mut found = false;
        for slot in 0..self.slots.len() {
            let Some(exit) = self.slots[slot].exit() else { continue };
            found = true;
            // A signal to the whole group reached this process before the worker could end of it.
            // If it were handled later, the worker would count as one that died. This may take the
            // SIGCHLD of a worker in an earlier slot, so the caller looks at all slots again.
            self.handle_signals();
            // The worker may have sent these just before it ended.
            self.handle_ready();
            self.handle_backtraces();
            if let Some(dead) = self.slots[slot].remove_dead(exit) {
                self.handle_death(slot, &dead);
            }
        }
        found
    }

    fn handle_death(&mut self, slot: usize, dead: &Dead<Supervised>) {
        let Dead { pid, exit, uptime, .. } = *dead;
        let stopping = self.stopping;
        if self.workload.has_worked(slot) {
            self.slots[slot].forget_deaths();
        }
        let next = match exit {
            _ if stopping => Next::Stay,
            Exit::Code(CANNOT_SERVE) => Next::CannotServe,
            _ if !self.slots[slot].is_current() => Next::Replaced,
            _ => self.slots[slot].after_death(dead),
        };
        if next.pause().is_some() || next == Next::Replaced {
            let pause = next.pause().unwrap_or_default();
            self.slots[slot].repair_then_due_after(exit, pause);
            self.repair(slot, exit);
        } else {
            // The pool stops. There is no replacement that would see the unrepaired state, and a
            // retry would delay the stop.
            self.workload.repair(slot, exit);
        }
        if next == Next::Replaced && exit.is_success() {
            self.workload.observe(&PoolEvent::Retired { slot, pid, uptime });
        } else if !(stopping && exit.is_success()) {
            self.workload.observe(&PoolEvent::Died { slot, pid, exit, uptime, next });
        }
        match next {
            Next::GiveUp => self.outcome = Outcome::CrashLoop { slot, exit },
            Next::CannotServe => self.outcome = Outcome::CannotServe { slot },
            Next::Restart | Next::RestartAfter(_) | Next::Stay | Next::Replaced => return,
        }
        self.stop_gracefully(None);
    }

    /// Attempts to repair the state that a dead worker left. Its replacement starts only after a
    /// successful repair. Returns false if a living process blocks it.
    fn repair(&mut self, slot: usize, exit: Exit) -> bool {
        let done = self.workload.repair(slot, exit) == RepairOutcome::Done;
        self.slots[slot].repaired(done);
        done
    }

    fn running(&self) -> impl Iterator<Item = &Running<Supervised>> {
        self.slots.iter().filter_map(Slot::running)
    }
}
