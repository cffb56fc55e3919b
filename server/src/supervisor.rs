//! The supervisor of the central: sets everything up and forks the workers. Then it watches the
//! workers, repairs what a dead one left, and stops the central gracefully.
//!
//! It serves no clients, and takes locks only to repair, for a limited time.

mod error;
mod lines;
mod manager;
mod monitor;
mod reload;
mod watchdog;

use std::sync::Arc;
use std::time::{Duration, Instant};

use central_view::death_counter;
use conventions::log_line::{Line, Outcome, error, info, warn};
use conventions::settings::Settings;
use multiprocessing::{
    CANNOT_SERVE, Exit, Next, Pool, PoolEvent, PoolOptions, Progress, RepairOutcome, Worker,
    Workload,
};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use postgres_link::Url;

pub use self::error::StartError;
use self::lines::{log_config, log_event, log_recovery, ready_lines, reopen_log};
use self::manager::Manager;
use self::monitor::Monitor;
use self::reload::Reloader;
use self::watchdog::Watchdog;
use crate::central::{Central, Fatal, Phase, RepairError, Shared, Wakers, WorkerState, unix_ms};
use crate::config::{Config, Flags, StorageChoice};
use crate::engine::{self, Engine, EngineError, Expected, Identity};
use crate::exit_code::ExitCode;
use crate::listener::{Listener, addresses_of};
use crate::storage::Storage;
use crate::worker::{self, Limits, Store, WorkerError};

/// Time between two log lines about a repair that a living process blocks. The repair itself is
/// retried many times per second.
const LOG_BLOCKED_EVERY: Duration = Duration::from_secs(5);

/// Slots per worker, and slots in addition. They allow several reloads while old workers finish,
/// and a growing number of workers.
const SLOTS_PER_WORKER: usize = 2;
const SPARE_SLOTS: usize = 6;

/// What a central is started with.
struct Start<'a> {
    flags: &'a Flags,
    settings: &'a Settings,
    config: Config,
    pool: Pool,
    slots: usize,
}

/// Runs a central until it is stopped. `flags` are the sources of its settings at a reload.
pub fn run(flags: &Flags, settings: &Settings, config: Config) -> Result<ExitCode, StartError> {
    let slots = SLOTS_PER_WORKER * config.workers.get() + SPARE_SLOTS;
    // Create the pool first: it blocks signals, so from here on a signal waits until the pool runs
    // and can stop gracefully.
    let options = PoolOptions { workers: config.workers, slots, grace: config.grace };
    let pool = Pool::new(options)?;
    allow_many_descriptors();
    let start = Start { flags, settings, config, pool, slots };
    match start.config.storage.clone() {
        StorageChoice::Files => start.on_files(),
        StorageChoice::Engine { url, lottery, central } => {
            start.on_engine(&url, &lottery, &central)
        }
    }
}

impl Start<'_> {
    fn on_files(self) -> Result<ExitCode, StartError> {
        let config = &self.config;
        // Lock the storage before binding the port. After a kill -9, the last workers of the
        // previous central still hold both, and opening the storage waits until they have exited.
        let keyed = config.listen_addresses.iter().any(|address| address.dialect.has_keys);
        let (storage, recovery) = Storage::open(&config.storage_dir, config.durability, keyed)?;
        log_recovery(&recovery);
        let (listeners, shared) = self.listen()?;
        let wakers = Wakers::new()?;
        let (totals, agencies) = (recovery.ledger, config.agencies);
        let roster = config.roster.clone();
        let central = Central::new(shared, storage, totals, agencies, roster, wakers)?;
        if central.was_drawn() {
            let advice = "the draw of this storage has been held, so bets are closed; a new \
                          lottery needs another SERVER_STORAGE_DIR";
            info("sorteo", Outcome::InProgress).with("reason", advice).write();
        }
        central.shared().log_missing_confirmation();
        self.serve(central, listeners)
    }

    fn on_engine(self, url: &Url, lottery: &str, central: &str) -> Result<ExitCode, StartError> {
        let config = &self.config;
        // Resolved before the fork: a worker must not wait for a name server.
        let servers = url.resolve().map_err(EngineError::from)?;
        let identity = Identity::new(lottery, central).map_err(EngineError::Name)?;
        let engine = Engine { servers, identity, slots: self.slots };
        let started = engine::start(&engine, &Expected::of(config))?;
        let Some(started) = started else {
            info("exit", Outcome::Success).write();
            return Ok(ExitCode::Done);
        };
        let (listeners, shared) = self.listen()?;
        let central = Central::on_engine(shared, engine, config.roster.clone(), &started)?;
        self.serve(central, listeners)
    }

    /// Binds the ports and creates the shared memory.
    fn listen(&self) -> Result<(Vec<Listener>, Shared), StartError> {
        let config = &self.config;
        let ips = addresses_of(&config.ip);
        let bind = |address| Listener::bind(&ips, address, config.backlog);
        let listeners = config.listen_addresses.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        let listeners: Vec<_> = listeners.into_iter().flatten().collect();
        let port = listeners.first().map_or(0, |listener| listener.address.port());
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.address).collect();
        let shared = Shared::create_reclaiming(&Shared::name(port)?, self.slots, addresses.len())?;
        shared.port.store(port);
        shared.set_listening(&addresses);
        shared.beat_as_supervisor();
        shared.needs_confirmation.store(config.draw_needs_confirmation.into());
        Ok((listeners, shared))
    }

    fn serve<S: Store>(
        self,
        central: Central<S>,
        listeners: Vec<Listener>,
    ) -> Result<ExitCode, StartError> {
        let Self { flags, settings, config, pool, slots } = self;
        let port = central.shared().port.load();
        log_config(&config, port);
        let mut supervisor = Supervisor {
            central,
            ready: ready_lines(&config, &listeners),
            listeners,
            // Never read, so its counter only grows. An overflow would take 2^64 writes.
            drawn: Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?),
            reloader: Reloader::new(flags, settings),
            manager: Manager::from_environment(),
            watchdog: Watchdog::new(config.heartbeat_timeout),
            generation: 1,
            workers: config.workers.get(),
            monitor: config.monitor.map(|listen| Monitor::new(listen, port)),
            config,
            died: vec![false; slots],
            served: vec![0; slots],
            logged_blocked: None,
        };
        supervisor.publish_workers();
        let outcome = pool.run(&mut supervisor)?;
        Ok(supervisor.end(outcome))
    }
}

/// What the pool runs: the original in the supervisor, a copy in each worker.
struct Supervisor<'a, S: Store> {
    central: Central<S>,
    /// The supervisor's own handles, closed when the pool stops so that the ports become free.
    listeners: Vec<Listener>,
    /// Wakes every worker when the draw has been held or must be taken over.
    drawn: Arc<EventFd>,
    /// The settings that apply now.
    config: Config,
    reloader: Reloader<'a>,
    /// The service manager that has started the central.
    manager: Manager,
    /// Says which workers were ended, and why.
    watchdog: Watchdog,
    /// The monitor, if the settings ask for one.
    monitor: Option<Monitor>,
    /// Generation of the workers that start now.
    generation: u32,
    /// Number of workers in it.
    workers: usize,
    /// Logged once every worker accepts; one line per listening socket.
    ready: Vec<Line>,
    /// Per slot: true once a worker of it has died.
    died: Vec<bool>,
    /// Per slot: batches stored and queries answered when its last worker started.
    served: Vec<u64>,
    /// When it last logged that a living process blocks a repair.
    logged_blocked: Option<Instant>,
}

impl<S: Store> Workload for Supervisor<'_, S> {
    fn work(&mut self, worker: &Worker) -> i32 {
        self.central.become_worker(worker.slot());
        self.central.shared().worker_state.store(worker.slot(), WorkerState::Starting as u8);
        let (listeners, drawn) = (std::mem::take(&mut self.listeners), Arc::clone(&self.drawn));
        let limits = Limits {
            request_timeout: self.config.request_timeout,
            idle_timeout: self.config.idle_timeout,
            stall_time: self.config.stall_time,
            connections: self.config.connections,
            log_lines: self.config.log_lines,
            early_queries_wait: self.config.early_queries_wait,
            grace: self.config.grace,
        };
        let log_file = self.config.log_file.as_deref();
        match worker::serve(worker, listeners, drawn, &mut self.central, limits, log_file) {
            Ok(()) => 0,
            Err(reason) => {
                error("worker", Outcome::Fail)
                    .with("worker", worker.slot())
                    .with("error", &reason)
                    .write();
                match reason {
                    // Another worker would fail in the same way.
                    WorkerError::Fatal(_) => CANNOT_SERVE,
                    WorkerError::File(_) | WorkerError::System(_) => 1,
                }
            }
        }
    }

    fn repair(&mut self, slot: usize, _exit: Exit) -> RepairOutcome {
        let Err(reason) = S::repair(&self.central, slot) else { return RepairOutcome::Done };
        // The process that found the storage unusable has logged it.
        if matches!(reason, RepairError::Fatal(Fatal::Failed(_))) {
            return RepairOutcome::Done;
        }
        // A stopped process may be continued later. No other error here goes away by waiting.
        let again = matches!(reason, RepairError::Busy(_));
        if !again || self.logged_blocked.is_none_or(|time| time.elapsed() >= LOG_BLOCKED_EVERY) {
            self.logged_blocked = Some(Instant::now());
            error("repair", Outcome::Fail).with("worker", slot).with("error", &reason).write();
        }
        if again { RepairOutcome::Again } else { RepairOutcome::Done }
    }

    fn has_worked(&mut self, slot: usize) -> bool {
        self.central.shared().served(slot) > self.served[slot]
    }

    fn reload(&mut self, options: PoolOptions) -> Option<PoolOptions> {
        let Config { workers, grace, .. } = *self.reloader.read()?;
        Some(PoolOptions { workers, grace, ..options })
    }

    fn observe(&mut self, event: &PoolEvent) {
        match event {
            PoolEvent::Started { slot, pid } => self.record_start(*slot, *pid),
            PoolEvent::AllReady => {
                self.publish_workers();
                self.central.shared().phase.store(Phase::Serving as u8);
                self.ready.drain(..).for_each(|line| line.write());
                self.manager.ready(self.workers);
            }
            PoolEvent::Died { slot, next, exit, .. } => {
                self.died[*slot] = true;
                let shared = self.central.shared();
                shared.deaths.fetch_add(1);
                shared.death_reasons.fetch_add(death_counter(reason_of(*exit)), 1);
                self.central.shared().last_death_ms.store(unix_ms());
                if *next == Next::Replaced {
                    self.release_slot(*slot);
                }
            }
            PoolEvent::Retired { slot, .. } | PoolEvent::NotReplaced { slot } => {
                self.release_slot(*slot);
            }
            PoolEvent::Reloading { workers } => {
                self.generation += 1;
                self.workers = *workers;
                self.manager.reloading();
                self.reloader.apply(&mut self.config, &mut self.central, self.generation);
                self.watchdog.limit(self.config.heartbeat_timeout);
            }
            PoolEvent::Resized { workers } => {
                self.workers = *workers;
                // During a reload the old workers still count.
                if self.central.shared().generation.load() == self.generation {
                    self.publish_workers();
                }
            }
            PoolEvent::Refused { .. } => self.reloader.discard(),
            PoolEvent::Reopen => reopen_log(self.config.log_file.as_deref()),
            PoolEvent::Stopping { .. } => {
                self.central.shared().phase.store(Phase::Draining as u8);
                self.manager.stopping();
                self.listeners.clear();
            }
            _ => {}
        }
        log_event(event, self.generation, &mut self.watchdog, self.central.shared());
    }

    fn tick(&mut self) {
        self.central.shared().beat_as_supervisor();
        // During a stop the monitor still shows the workers that drain.
        if let Some(monitor) = &mut self.monitor {
            monitor.tick();
        }
        self.manager.beat();
    }

    fn heartbeat_timeout(&self) -> Option<Duration> {
        self.watchdog.timeout()
    }

    fn progress(&self, slot: usize) -> Progress {
        self.central.shared().progress(slot)
    }
}

impl<S: Store> Supervisor<'_, S> {
    /// Writes the generation and the number of its workers to the shared state.
    fn publish_workers(&self) {
        let shared = self.central.shared();
        shared.workers.store(u32::try_from(self.workers).unwrap_or(u32::MAX));
        shared.generation.store(self.generation);
    }

    /// Writes the worker that was started in a slot to the shared state.
    fn record_start(&mut self, slot: usize, pid: Pid) {
        let shared = self.central.shared();
        shared.worker_generation.store(slot, self.generation);
        shared.worker_pid.store(slot, pid.as_raw().unsigned_abs());
        shared.worker_started_ms.store(slot, unix_ms());
        shared.worker_restarts.fetch_add(slot, u32::from(self.died[slot]));
        self.served[slot] = shared.served(slot);
    }

    /// Removes a worker that is not replaced from the shared state.
    fn release_slot(&mut self, slot: usize) {
        self.died[slot] = false;
        self.central.shared().worker_generation.store(slot, 0);
        self.central.shared().worker_pid.store(slot, 0);
    }

    /// Closes the storage and returns the exit code, after every worker has exited.
    fn end(mut self, outcome: multiprocessing::Outcome) -> ExitCode {
        if let Some(monitor) = &mut self.monitor {
            monitor.end();
        }
        let closed = S::close(&mut self.central);
        let failed = self.central.shared().storage_failure().is_some();
        let code = match outcome {
            multiprocessing::Outcome::Stopped if closed.is_ok() => ExitCode::Done,
            multiprocessing::Outcome::Stopped if failed => ExitCode::WorkerCannotServe,
            multiprocessing::Outcome::Stopped => ExitCode::Failed,
            multiprocessing::Outcome::CannotServe { slot } => {
                error("shutdown", Outcome::Fail)
                    .with("worker", slot)
                    .with("error", "a worker cannot serve, see above")
                    .write();
                ExitCode::WorkerCannotServe
            }
            multiprocessing::Outcome::CrashLoop { slot, exit } => {
                let reason = format!("the workers of this slot keep dying, the last one by {exit}");
                error("shutdown", Outcome::Fail).with("worker", slot).with("error", reason).write();
                ExitCode::CrashLoop
            }
        };
        if let Err(reason) = closed {
            error("close_storage", Outcome::Fail).with("error", reason).write();
        }
        if code == ExitCode::Done {
            info("exit", Outcome::Success).write();
        }
        code
    }
}

/// Returns the reason under which a death is counted.
fn reason_of(exit: Exit) -> &'static str {
    match exit {
        Exit::Code(_) => "exit",
        Exit::Signal { signal, .. } => signal.as_str(),
    }
}

/// Raises the limit of open descriptors to the maximum that the system allows, because each
/// waiting agency needs one.
fn allow_many_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(errno) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        warn("config", Outcome::Fail)
            .with("error", format!("raising the descriptor limit: {errno}"))
            .write();
    }
}
