//! A worker: one single-threaded event loop over the inherited listening sockets and its own
//! connections.
//!
//! Each pass of the loop is a round. It takes what the kernel has ready, prepares the batches that
//! are whole, commits them together, publishes what is durable, and only then answers it. An agency
//! that is slow, silent, or waits for the draw occupies an entry in a table, not a worker.

mod absence;
mod answers;
mod brief;
mod connection;
mod draw;
mod ending;
mod engine;
mod files;
mod handler;
mod intake;
mod large;
mod log_budget;
mod other_dialect;
mod pace;
mod places;
mod pressure;
mod reopening;
mod request;
mod round;
mod store;
mod table;
mod unpublished;
mod winners;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::{Outcome, info};
use conventions::logger;
use multiprocessing::Worker;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;

use self::absence::Absence;
use self::answers::Answers;
use self::connection::{Connection, Phase};
use self::handler::Handler;
use self::intake::Intake;
use self::large::LargeTurns;
use self::log_budget::LogBudget;
use self::places::Places;
use self::request::Requests;
use self::round::Round;
pub use self::store::Store;
use self::table::{Table, Token};
use crate::central::{Central, Fatal};
use crate::listener::Listener;
use crate::storage::FileError;

/// Bytes of a large request that are read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Time between two checks of the deadlines. A connection may outlive its deadline by this much.
const DEADLINE_CHECK: Duration = Duration::from_millis(250);
/// Time between two checks whether another program has deleted or replaced the files.
const NAMES_CHECK: Duration = Duration::from_millis(500);
/// Time between two checks of the deadlines during a stop.
const DRAINING_CHECK: Duration = Duration::from_millis(25);
/// How long a connection that has sent nothing may still begin a request during a stop: its bytes
/// may be on their way. A stop without requests takes about this long, which must fit well into the
/// shortest time that container engines wait, one second.
const LAST_CHANCE: Duration = Duration::from_millis(250);
/// How long a worker waits for the sync of another process before it commits what it has gathered,
/// and looks whether that process is dead.
const SYNC_CHECK: Duration = Duration::from_millis(5);
/// Connections from which on a worker gathers requests while another process syncs. With fewer,
/// the next sync begins earlier if they are committed at once.
const CROWD: usize = 4;
/// Maximum number of events taken from the kernel at once.
const EVENTS: usize = 256;

/// Token of the supervisor's requests.
const REQUESTS: u64 = u64::MAX;
/// Token of the eventfd that wakes every worker for the draw.
const DRAWN: u64 = u64::MAX - 1;
/// Token of the eventfd that wakes this worker when the sync of another process has ended.
const SYNCED: u64 = u64::MAX - 2;
/// Token of the descriptor of an engine.
const ENGINE: u64 = u64::MAX - 3;
/// First token of the listening sockets; [`ENGINE`] ends their range. Tokens of connections are
/// smaller, because their keys fit 32 bits, and no memory holds a table of 2^32 - 1 connections.
const LISTENERS: u64 = (u32::MAX as u64) << 32;

/// Limits of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time from the first byte of a request to the end of its reply. Where a connection carries
    /// one request, the time starts when it is accepted.
    pub request_timeout: Duration,
    /// Time that a connection may stay idle between two requests.
    pub idle_timeout: Duration,
    /// Time after which a batch is no longer in flight if it arrives too slowly.
    pub stall_time: Duration,
    /// Connections that this worker may have.
    pub connections: usize,
    /// Log lines that one address may cause per period in this worker.
    pub log_lines: u32,
    /// True if a query for winners before the draw waits for it, even if the same message does not
    /// say that the agency has finished.
    pub early_queries_wait: bool,
    /// Time that a stop may take before the supervisor kills the worker.
    pub grace: Duration,
}

/// Why a worker exits without being asked to stop.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The process can no longer rely on the storage or the shared memory.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// A file of the storage cannot be opened now. Another worker may be able to.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel refused something that the event loop needs.
    #[error("event loop: {0}")]
    System(#[from] Errno),
}

/// Serves until asked to stop. After an error the process must exit.
pub fn serve<S: Store>(
    worker: &Worker,
    listeners: Vec<Listener>,
    drawn: Arc<EventFd>,
    central: &mut Central<S>,
    mut limits: Limits,
    log_file: Option<&Path>,
) -> Result<(), WorkerError> {
    limits.connections = intake::max_connections(limits.connections);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(worker.stop_fd(), EpollEvent::new(EpollFlags::EPOLLIN, REQUESTS))?;
    // Edge-triggered: each write wakes every worker, and no worker has to read the shared counter.
    let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll.add(&*drawn, EpollEvent::new(edge, DRAWN))?;
    let kept = S::open(central, worker.slot(), &epoll, drawn)?;
    let dialects = listeners.iter().map(|listener| listener.dialect);
    let answering = dialects.filter(|dialect| dialect.waits_for_draw).collect();
    let intakes = (LISTENERS..)
        .zip(listeners)
        .map(|(token, listener)| Intake::new(listener, token, &epoll, limits.connections));
    let intakes = intakes.collect::<Result<_, _>>()?;
    let (slot, log) = (worker.slot(), LogBudget::new(limits.log_lines));
    let reopened = central.shared().reopened.load();
    let (round, answers) = (Round::default(), Answers::new());
    let requests = Requests { slot, central, limits, answering, round, kept, answers, log };
    let mut event_loop = EventLoop {
        epoll: &epoll,
        intakes,
        table: Table::new(&epoll),
        handler: Handler::new(requests),
        reopened,
        places: Places::new(),
        large: LargeTurns::new(),
        published: (0, 0, false),
        has_requests: false,
        log_file,
        is_announced: false,
        retiring: false,
    };
    let _held = logger::hold();
    event_loop.run(worker)
}

/// The event loop of a worker, and the owners of its state.
struct EventLoop<'a, S: Store> {
    epoll: &'a Epoll,
    /// One per listening socket.
    intakes: Vec<Intake>,
    table: Table<'a>,
    handler: Handler<'a, S>,
    /// Number of times that bets were reopened, as far as this worker has seen.
    reopened: u32,
    /// Connections that may lose their places.
    places: Places,
    large: LargeTurns,
    /// Numbers of connections and of waiting ones, and whether there is no room for another, as
    /// last written to shared memory.
    published: (usize, usize, bool),
    /// True if the supervisor has sent requests that are not handled yet.
    has_requests: bool,
    /// File that the log goes to; `None` for standard error.
    log_file: Option<&'a Path>,
    /// True once the supervisor knows that this worker accepts connections.
    is_announced: bool,
    /// True once newer workers have taken over: it serves its connections until the last one ends.
    retiring: bool,
}

impl<'a, S: Store> EventLoop<'a, S> {
    fn run(&mut self, worker: &Worker) -> Result<(), WorkerError> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut next_check = Instant::now() + DEADLINE_CHECK;
        let mut next_watch = Instant::now();
        let mut absence = Absence::new();
        loop {
            self.announce(worker);
            logger::flush();
            let ready = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno.into()),
            };
            self.central().beat();
            // Before anything is acknowledged: this worker may have waited, or been stopped, for
            // long.
            if Instant::now() >= next_watch {
                S::check_names(self.handler.requests.central)?;
                next_watch = Instant::now() + NAMES_CHECK;
            }
            if let Some(away) = absence.end(Instant::now())
                && !self.is_draining()
            {
                self.table.extend_deadlines(away);
            }
            // Before any event: an agency that finishes in this round does so after the reopening.
            self.follow_reopening()?;
            let is_held = S::is_held(&self.handler.requests);
            let queued = if is_held { Vec::new() } else { self.table.take_queued() };
            self.accept_due()?;
            for event in &events[..ready] {
                self.dispatch(event)?;
            }
            for token in queued {
                self.visit(token, Handler::advance_queued)?;
            }
            self.end_round()?;
            self.advance_turn()?;
            self.advance_draw()?;
            if std::mem::take(&mut self.has_requests) {
                self.handle_requests(worker)?;
            }
            let now = Instant::now();
            for intake in &mut self.intakes {
                intake.resume(self.epoll, self.table.len(), now);
            }
            if now >= next_check {
                self.close_overdue(now)?;
                S::check(&mut self.handler.requests)?;
                self.judge_paces(now)?;
                self.free_a_place()?;
                self.unblock_answers(now)?;
                self.handler.requests.log.advance(now);
                next_check = now + self.check_interval();
            }
            if (self.is_draining() || self.retiring) && self.is_done()? {
                S::give_up_draw(&mut self.handler.requests);
                self.handler.requests.log.report();
                info("close_connections", Outcome::Success).with("worker", worker.slot()).write();
                return Ok(());
            }
        }
    }

    fn central(&self) -> &Central<S> {
        self.handler.requests.central
    }

    fn is_draining(&self) -> bool {
        self.handler.draining.is_some()
    }

    fn check_interval(&self) -> Duration {
        if self.is_draining() { DRAINING_CHECK } else { DEADLINE_CHECK }
    }

    /// Returns how long to wait for events: not at all if there is work left, and not so long that
    /// this worker misses a deadline or the loss of a file, or the watchdog its heartbeat.
    fn timeout(&self) -> EpollTimeout {
        let accepts = self.intakes.iter().any(Intake::is_due);
        let requests = &self.handler.requests;
        if accepts || self.table.has_queued() && !S::is_held(requests) {
            return EpollTimeout::ZERO;
        }
        let paused = self.intakes.iter().filter_map(Intake::paused_until).min();
        let patience = S::patience(requests);
        let longest = patience.unwrap_or(Duration::MAX).min(self.check_interval());
        if longest.is_zero() {
            return EpollTimeout::ZERO;
        }
        let pause = paused.map_or(longest, |until| until.saturating_duration_since(Instant::now()));
        let has_turn = self.table.has_deferred() || self.handler.requests.answers.has_work();
        let turn = if has_turn { self.large.next_look() } else { longest };
        if turn.is_zero() {
            return EpollTimeout::ZERO;
        }
        // Rounded up, because a timeout of zero until the end would be busy waiting.
        let pause = pause.min(longest).min(turn) + Duration::from_millis(1);
        EpollTimeout::try_from(pause).unwrap_or(EpollTimeout::ZERO)
    }

    fn dispatch(&mut self, event: &EpollEvent) -> Result<(), WorkerError> {
        match event.data() {
            REQUESTS => {
                self.has_requests = true;
                Ok(())
            }
            DRAWN | SYNCED => Ok(()),
            ENGINE => {
                S::note_ready(&mut self.handler.requests.kept);
                Ok(())
            }
            token @ LISTENERS.. => self.accept((token - LISTENERS) as usize).map(drop),
            _ if event.events().contains(EpollFlags::EPOLLERR) => {
                self.visit(Token::of_event(event), Handler::reset)
            }
            _ => self.visit(Token::of_event(event), Handler::advance),
        }
    }

    /// Lets the handler handle a connection, then enforces the limits of the round and of the
    /// worker.
    fn visit(
        &mut self,
        token: Token,
        handle: impl FnOnce(&mut Handler<'a, S>, &mut Connection) -> Result<(), Fatal>,
    ) -> Result<(), WorkerError> {
        self.central().beat();
        self.table.with(token, |connection| handle(&mut self.handler, connection))?;
        if S::must_end(&self.handler.requests) {
            self.end_round()?;
        } else if self.handler.requests.round.is_full() {
            S::commit_full(&mut self.handler.requests)?;
        }
        self.make_room()?;
        self.publish_counts();
        Ok(())
    }

    fn close(&mut self, token: Token, reason: &str) -> Result<(), WorkerError> {
        self.table.with(token, |connection| {
            self.handler.close(connection, reason);
            Ok::<_, Fatal>(())
        })
    }

    /// Writes to shared memory how many connections there are, if that has changed.
    fn publish_counts(&mut self) {
        let is_full = self.intakes.iter().any(Intake::is_full);
        let counts = (self.table.len(), self.table.waiting(), is_full);
        if counts != self.published {
            self.published = counts;
            let (shared, slot) = (self.central().shared(), self.handler.requests.slot);
            shared.worker_connections.store(slot, counts.0 as u32);
            shared.worker_waiting.store(slot, counts.1 as u32);
            shared.worker_full.store(slot, counts.2.into());
        }
    }

    /// Commits what this round has prepared, publishes what is durable, then answers its tickets.
    fn end_round(&mut self) -> Result<(), WorkerError> {
        let is_crowded = self.table.len() >= CROWD;
        for answerable in self.handler.requests.end_round(is_crowded)? {
            let token = answerable.0.connection;
            self.visit(token, |handler, connection| handler.answer(connection, answerable))?;
        }
        Ok(())
    }

    /// Does this round's part of the draw, and answers the agencies that have waited for it.
    fn advance_draw(&mut self) -> Result<(), WorkerError> {
        if self.handler.draining.is_none() {
            S::advance_draw(&mut self.handler.requests)?;
        }
        self.answer_waiting()
    }

    /// Closes the connections whose deadline has passed.
    fn close_overdue(&mut self, now: Instant) -> Result<(), WorkerError> {
        let is_draining = self.is_draining();
        // A large request that waits for its turn is judged after it: the wait may not be the
        // client's.
        let is_overdue = |connection: &Connection| {
            connection.deadline.is_some_and(|deadline| now >= deadline)
                && (is_draining || !matches!(connection.phase, Phase::Deferred { .. }))
        };
        let reason = if is_draining {
            "the central is stopping".to_owned()
        } else {
            format!("not done within {}", GoDuration(self.handler.requests.limits.request_timeout))
        };
        for token in self.table.select(is_overdue) {
            self.close(token, &reason)?;
        }
        self.publish_counts();
        Ok(())
    }
}
