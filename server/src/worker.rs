//! A worker: one single-threaded event loop over the inherited listening sockets and this worker's own connections.
//!
//! Each round takes what the kernel has ready, stores the batches that are whole, publishes them together (one sync for all that
//! waited), and only then answers them. A slow or silent agency, or one that waits for the draw, costs a place in a table, not a
//! worker.

mod desk;
mod intake;
mod lottery_draw;
mod replies;
mod requests;
mod settling;
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, debug, info};
use multiprocessing::Worker;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use slab::Slab;

use self::intake::Intake;
use self::lottery_draw::DrawAttempt;
use self::settling::Settled;
use self::table::parse_token;
use crate::central::{Central, CentralError, WorkerState};
use crate::connection::{Connection, Phase};
use crate::listener::Listener;

/// Bytes read at a time. A whole batch of an agency of ours (8 kB) fits and needs no buffer of its own.
const READ_BYTES: usize = 64 * 1024;
/// Bytes all connections of a worker may keep in memory together. When passed, the connection that keeps most is closed.
const MAX_BUFFERED_BYTES: usize = 64 * 1024 * 1024;
/// How often deadlines are looked at while there are connections: how much longer than allowed one may live.
const DEADLINE_CHECK: Duration = Duration::from_millis(250);
/// Part of the grace kept back when stopping, for ending in order before the supervisor kills.
const GRACE_RESERVE: Duration = Duration::from_millis(500);
/// How long a connection that has sent nothing may still begin a request when stopping: its bytes may be on their way.
const LAST_CHANCE: Duration = Duration::from_millis(500);
/// Connections accepted at a time.
const ACCEPTS: usize = 64;
/// Events taken from the kernel at a time.
const EVENTS: usize = 256;

/// Token of the stop request.
const STOP: u64 = u64::MAX;
/// Token of the news that the draw was held.
const DRAWN: u64 = u64::MAX - 1;
/// Tokens of the listening sockets: from here up, below [`DRAWN`]. A connection's token is smaller, for its key fits 32 bits and a
/// table of 2^32 - 1 connections does not fit any memory.
const LISTENERS: u64 = (u32::MAX as u64) << 32;

/// Limits a worker keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time from the first byte of a request to the end of its reply; where a connection carries one request, from its acceptance.
    pub request_timeout: Duration,
    /// Time a connection may be silent between two requests.
    pub idle_timeout: Duration,
    /// Whether whoever asks for winners before the draw, and has not finished with the same message, waits for it.
    pub early_queries_wait: bool,
    /// Time a stop may take before the supervisor kills.
    pub grace: Duration,
}

/// Why a worker ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The central cannot go on.
    #[error(transparent)]
    Central(#[from] CentralError),
    /// The kernel refused something without which no loop runs.
    #[error("event loop: {0}")]
    System(#[from] Errno),
}

/// Serves until asked to stop.
///
/// # Errors
/// [`WorkerError`]; the process must end.
pub fn serve(
    worker: &Worker,
    listeners: Vec<Listener>,
    drawn: Arc<EventFd>,
    central: &mut Central,
    limits: Limits,
) -> Result<(), WorkerError> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(worker.stop_fd(), EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
    // By edge: every worker is woken by each write, and none has to read what all share.
    epoll.add(&*drawn, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, DRAWN))?;
    let intakes =
        (LISTENERS..).zip(listeners).map(|(token, listener)| Intake::new(listener, token, &epoll));
    let intakes = intakes.collect::<Result<_, _>>()?;
    let slot = worker.slot();
    let mut service = Service {
        slot,
        central,
        epoll,
        limits,
        intakes,
        connections: Slab::new(),
        serial: 0,
        buffered: 0,
        scratch: vec![0; READ_BYTES].into_boxed_slice(),
        settled: Vec::new(),
        unread: Vec::new(),
        waiting: 0,
        draw: DrawAttempt::new(drawn),
        draining: None,
    };
    service.central.shared().worker_state.store(slot, WorkerState::Ready as u8);
    worker.ready();
    service.run(worker)
}

/// A worker at work.
struct Service<'a> {
    slot: usize,
    central: &'a mut Central,
    epoll: Epoll,
    limits: Limits,
    /// One for each listening socket.
    intakes: Vec<Intake>,
    connections: Slab<Connection>,
    /// Number of the last connection accepted, wrapping.
    serial: u32,
    /// Bytes the connections keep in memory.
    buffered: usize,
    /// Where bytes are read to.
    scratch: Box<[u8]>,
    /// Connections whose request was carried out in this round and is not published yet.
    settled: Vec<Settled>,
    /// Connections that have more requests in their buffers, for the next round: one that sends many at once must not keep the
    /// others waiting.
    unread: Vec<(usize, u32)>,
    /// Connections that wait for the draw.
    waiting: usize,
    /// This worker's part in the draw.
    draw: DrawAttempt,
    /// When draining ends; `None` while serving.
    draining: Option<Instant>,
}

impl Service<'_> {
    fn run(&mut self, worker: &Worker) -> Result<(), WorkerError> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut deadlines_due = Instant::now() + DEADLINE_CHECK;
        loop {
            let ready = match self.epoll.wait(&mut events, self.patience()) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno.into()),
            };
            let unread = std::mem::take(&mut self.unread);
            for event in &events[..ready] {
                match event.data() {
                    STOP | DRAWN => {}
                    token @ LISTENERS.. => self.accept((token - LISTENERS) as usize)?,
                    token => self.advance_token(token, event.events())?,
                }
            }
            for (key, serial) in unread {
                // An event of this round may have carried the next request out already.
                let receives =
                    |connection: &Connection| matches!(connection.phase, Phase::Receiving);
                if self.connections.get(key).is_some_and(|c| c.serial == serial && receives(c)) {
                    self.advance(key)?;
                }
            }
            self.settle()?;
            self.attend_draw()?;
            if self.draining.is_none() && worker.stop_requested() {
                self.drain()?;
            }
            let now = Instant::now();
            for intake in &mut self.intakes {
                intake.resume(&self.epoll, self.connections.len(), now);
            }
            if now >= deadlines_due {
                self.close_overdue(now);
                deadlines_due = now + DEADLINE_CHECK;
            }
            if self.draining.is_some() && self.connections.is_empty() {
                info("cerrar_conexiones", Outcome::Success).with("worker", self.slot).write();
                return Ok(());
            }
        }
    }

    /// How long to wait for the kernel: for ever only when nothing can become overdue, not at all when there is work at hand.
    fn patience(&self) -> EpollTimeout {
        if !self.unread.is_empty() || self.draw.is_under_way() {
            return EpollTimeout::ZERO;
        }
        let quiet = self.connections.is_empty() && !self.draw.is_due(self.central);
        if quiet && self.intakes.iter().all(Intake::is_open) {
            return EpollTimeout::NONE;
        }
        let paused = self.intakes.iter().filter_map(Intake::paused_until).min();
        let pause =
            paused.map_or(DEADLINE_CHECK, |until| until.saturating_duration_since(Instant::now()));
        // Rounded up: waiting for no time at all until the last millisecond is over would be busy waiting.
        let pause = pause.min(DEADLINE_CHECK) + Duration::from_millis(1);
        EpollTimeout::try_from(pause).unwrap_or(EpollTimeout::ZERO)
    }

    /// Accepts what waits: a limited number, so that those accepted before are not kept waiting, and no more than a worker's share
    /// of those that stay.
    fn accept(&mut self, index: usize) -> Result<(), WorkerError> {
        for _ in 0..ACCEPTS {
            let shares = self.intakes[index].stays && self.draining.is_none();
            let others_have_fewer = shares && self.others_have_fewer();
            let intake = &mut self.intakes[index];
            if others_have_fewer && intake.leaves_it_to_others(&self.epoll) {
                return Ok(());
            }
            let Some((stream, peer)) = intake.accept(&self.epoll, self.connections.len()) else {
                return Ok(());
            };
            self.serial = self.serial.wrapping_add(1);
            let Limits { request_timeout, idle_timeout, .. } = self.limits;
            let kept = intake.dialect.keeps_connections();
            let deadline = Instant::now() + if kept { idle_timeout } else { request_timeout };
            debug("accept_connections", Outcome::Success)
                .with("ip", peer.ip())
                .with("puerto", peer.port())
                .write();
            let connection = Connection::new(stream, peer, self.serial, intake.dialect, deadline);
            let key = self.connections.insert(connection);
            self.note_connections();
            // Most often the request is there already.
            self.advance(key)?;
        }
        Ok(())
    }

    /// Whether another worker that accepts has fewer connections.
    fn others_have_fewer(&self) -> bool {
        let shared = self.central.shared();
        let mut slots = (0..shared.worker_state.len()).filter(|slot| *slot != self.slot);
        slots.any(|slot| {
            shared.worker_state.load(slot) == WorkerState::Ready as u8
                && (shared.worker_connections.load(slot) as usize) < self.connections.len()
        })
    }

    fn advance_token(&mut self, token: u64, events: EpollFlags) -> Result<(), WorkerError> {
        let (key, serial) = parse_token(token);
        // Closed earlier in this round, and perhaps another has its place by now.
        if self.connections.get(key).is_none_or(|connection| connection.serial != serial) {
            return Ok(());
        }
        if events.contains(EpollFlags::EPOLLERR) {
            match self.connections.get(key) {
                // As for one that connects and leaves: nobody to tell, nothing lost.
                Some(connection) if connection.is_idle() => self.finish(key),
                Some(Connection { phase: Phase::Waiting { .. }, .. }) => return self.advance(key),
                _ => self.close(key, "reset by peer"),
            }
            return Ok(());
        }
        self.advance(key)
    }

    /// Begins to stop: takes what the kernel has queued, then nothing new.
    fn drain(&mut self) -> Result<(), WorkerError> {
        self.central.shared().worker_state.store(self.slot, WorkerState::Draining as u8);
        for intake in 0..self.intakes.len() {
            loop {
                let before = self.serial;
                self.accept(intake)?;
                self.settle()?;
                if self.serial == before {
                    break;
                }
            }
            self.intakes[intake].close(&self.epoll);
        }
        info("cerrar_socket_escucha", Outcome::Success).with("worker", self.slot).write();
        self.leave_draw();
        let now = Instant::now();
        let grace = self.limits.grace.saturating_sub(GRACE_RESERVE).max(self.limits.grace / 2);
        let end = now + grace;
        self.draining = Some(end);
        for (_, connection) in &mut self.connections {
            let chance = match connection.phase {
                // Its draw is not held by this run any more; it can come back to the next.
                Phase::Waiting { .. } => now,
                Phase::Lingering { .. } => now + LAST_CHANCE,
                _ if connection.is_idle() => now + LAST_CHANCE,
                _ => end,
            };
            connection.deadline =
                Some(connection.deadline.map_or(chance, |deadline| deadline.min(chance)));
        }
        self.close_overdue(now);
        Ok(())
    }
}
