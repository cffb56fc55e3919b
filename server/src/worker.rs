//! A worker: one single-threaded event loop over the inherited listening socket and this worker's own connections.
//!
//! Each round takes what the kernel has ready, stores the batches that are whole, publishes them together (one sync for all that
//! waited), and only then answers them. A slow or silent agency costs a place in a table, not a worker.

mod intake;
mod requests;

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::{Outcome, debug, error, info};
use multiprocessing::Worker;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use slab::Slab;

use self::intake::Intake;
use crate::central::{Central, CentralError, WorkerState};
use crate::connection::{Connection, Phase, Watched};

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

/// Token of the listening socket.
const LISTENER: u64 = u64::MAX;
/// Token of the stop request.
const STOP: u64 = u64::MAX - 1;

/// Limits a worker keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time from accepting a connection to its end.
    pub request_timeout: Duration,
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
    listener: TcpListener,
    central: &mut Central,
    limits: Limits,
) -> Result<(), WorkerError> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(worker.stop_fd(), EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
    let intake = Intake::new(listener, &epoll)?;
    let slot = worker.slot();
    let mut service = Service {
        slot,
        central,
        epoll,
        limits,
        intake,
        connections: Slab::new(),
        serial: 0,
        buffered: 0,
        scratch: vec![0; READ_BYTES].into_boxed_slice(),
        settled: Vec::new(),
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
    intake: Intake,
    connections: Slab<Connection>,
    /// Number of the last connection accepted, wrapping.
    serial: u32,
    /// Bytes the connections keep in memory.
    buffered: usize,
    /// Where bytes are read to.
    scratch: Box<[u8]>,
    /// Connections whose batch was stored in this round, with their replies.
    settled: Vec<Settled>,
    /// When draining ends; `None` while serving.
    draining: Option<Instant>,
}

/// A stored batch that is not answered yet.
#[derive(Debug)]
struct Settled {
    key: usize,
    reply: Vec<u8>,
    bets: usize,
    /// The peer has sent more than the request.
    linger: bool,
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
            for event in &events[..ready] {
                match event.data() {
                    LISTENER => self.accept()?,
                    STOP => {}
                    token => self.advance_token(token, event.events())?,
                }
            }
            self.settle()?;
            if self.draining.is_none() && worker.stop_requested() {
                self.drain()?;
            }
            let now = Instant::now();
            self.intake.resume(&self.epoll, self.connections.len(), now);
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

    /// How long to wait for the kernel: for ever only when nothing can become overdue.
    fn patience(&self) -> EpollTimeout {
        if self.connections.is_empty() && self.intake.is_open() {
            EpollTimeout::NONE
        } else {
            EpollTimeout::try_from(DEADLINE_CHECK).unwrap_or(EpollTimeout::ZERO)
        }
    }

    /// Accepts what waits, a limited number so that those accepted before are not kept waiting.
    fn accept(&mut self) -> Result<(), WorkerError> {
        for _ in 0..ACCEPTS {
            let accepted = self.intake.accept(&self.epoll, self.connections.len());
            let Some((stream, peer)) = accepted else { return Ok(()) };
            self.serial = self.serial.wrapping_add(1);
            let deadline = Instant::now() + self.limits.request_timeout;
            debug("accept_connections", Outcome::Success)
                .with("ip", peer.ip())
                .with("puerto", peer.port())
                .write();
            let key = self.connections.insert(Connection::new(stream, peer, self.serial, deadline));
            self.note_connections();
            // Most often the request is there already.
            self.advance(key)?;
        }
        Ok(())
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
                _ => self.close(key, "reset by peer"),
            }
            return Ok(());
        }
        self.advance(key)
    }

    /// Publishes the batches stored in this round, then answers them.
    fn settle(&mut self) -> Result<(), WorkerError> {
        if self.settled.is_empty() {
            return Ok(());
        }
        let ended = u16::try_from(self.settled.len()).unwrap_or(u16::MAX);
        self.central.publish(self.slot, ended)?;
        let settled = std::mem::take(&mut self.settled);
        for Settled { key, reply, bets, linger } in settled {
            self.central.shared().worker_batches.fetch_add(self.slot, 1);
            self.central.shared().worker_bets.fetch_add(self.slot, bets as u64);
            info("apuesta_recibida", Outcome::Success).with("cantidad", bets).write();
            self.answer(key, reply, linger)?;
        }
        Ok(())
    }

    /// Begins to stop: takes what the kernel has queued, then nothing new.
    fn drain(&mut self) -> Result<(), WorkerError> {
        self.central.shared().worker_state.store(self.slot, WorkerState::Draining as u8);
        loop {
            let before = self.serial;
            self.accept()?;
            self.settle()?;
            if self.serial == before {
                break;
            }
        }
        self.intake.close(&self.epoll);
        info("cerrar_socket_escucha", Outcome::Success).with("worker", self.slot).write();
        let now = Instant::now();
        let grace = self.limits.grace.saturating_sub(GRACE_RESERVE).max(self.limits.grace / 2);
        let end = now + grace;
        self.draining = Some(end);
        for (_, connection) in &mut self.connections {
            let said_all = matches!(connection.phase, Phase::Lingering { .. });
            let chance = if said_all || connection.is_idle() { now + LAST_CHANCE } else { end };
            connection.deadline = connection.deadline.min(chance);
        }
        Ok(())
    }

    fn close_overdue(&mut self, now: Instant) {
        let is_overdue =
            |(key, connection): (usize, &Connection)| (now >= connection.deadline).then_some(key);
        let overdue: Vec<_> = self.connections.iter().filter_map(is_overdue).collect();
        let reason = if self.draining.is_some() {
            "the central is stopping".to_owned()
        } else {
            format!("not done within {}", GoDuration(self.limits.request_timeout))
        };
        for key in overdue {
            self.close(key, &reason);
        }
    }

    /// Registers or re-registers what a connection waits for.
    fn watch(&mut self, key: usize, wanted: Watched) -> Result<(), WorkerError> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        let flags = match wanted {
            Watched::Input => EpollFlags::EPOLLIN,
            Watched::Output => EpollFlags::EPOLLOUT,
            Watched::Nothing => EpollFlags::empty(),
        };
        let mut event = EpollEvent::new(flags, token(key, connection.serial));
        match (connection.watched, wanted) {
            (before, after) if before == after => {}
            (Watched::Nothing, _) => self.epoll.add(connection.as_fd(), event)?,
            _ => self.epoll.modify(connection.as_fd(), &mut event)?,
        }
        connection.watched = wanted;
        Ok(())
    }

    /// Closes a connection that is done.
    fn finish(&mut self, key: usize) {
        let Some(connection) = self.connections.try_remove(key) else { return };
        self.buffered -= connection.buffered();
        if connection.in_flight {
            self.central.abandon(self.slot);
        }
        self.note_connections();
        // The kernel forgets a closed descriptor by itself: no process has a copy of it.
    }

    /// Closes a connection before its time, saying why unless it was only saying goodbye.
    fn close(&mut self, key: usize, reason: &str) {
        let Some(connection) = self.connections.get(key) else { return };
        if !matches!(connection.phase, Phase::Lingering { .. }) {
            let silent = connection.is_idle() && self.draining.is_some();
            if !silent {
                self.refused(connection.peer, reason);
            }
        }
        self.finish(key);
    }

    fn note_connections(&self) {
        self.central.shared().worker_connections.store(self.slot, self.connections.len() as u32);
    }

    fn refused(&self, peer: std::net::SocketAddr, reason: &str) {
        self.central.shared().worker_refused.fetch_add(self.slot, 1);
        error("receive_message", Outcome::Fail)
            .with("ip", peer.ip())
            .with("puerto", peer.port())
            .with("error", reason)
            .write();
    }
}

/// The kernel gives this back with every event of a connection.
fn token(key: usize, serial: u32) -> u64 {
    (key as u64) << 32 | u64::from(serial)
}

fn parse_token(token: u64) -> (usize, u32) {
    ((token >> 32) as usize, token as u32)
}
