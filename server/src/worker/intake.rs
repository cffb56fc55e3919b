//! Where connections come in: an inherited listening socket, opened and closed as there is room.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, warn};
use lottery::protocol::{ConnectionUse, Dialect};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, getrlimit};

use crate::listener::Listener;

/// Connections a worker has at most; further ones wait in the kernel's queue, or another worker takes them.
const MAX_CONNECTIONS: usize = 8192;
/// Descriptors that connections leave free: for the files, the listening sockets, the epoll and the draw, which opens some more.
const RESERVED_DESCRIPTORS: usize = 64;

/// Connections this process may have: as many as a worker has at most, or as the limit of descriptors allows.
fn max_connections() -> usize {
    let descriptors =
        getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(soft, _)| soft as usize);
    // With hardly any descriptors at all, half of them.
    descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(descriptors / 2).min(MAX_CONNECTIONS)
}
/// First pause after accepting failed for lack of descriptors or memory; doubles with each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a worker that has more connections than another leaves a new one to it.
const LEFT_TO_OTHERS: Duration = Duration::from_millis(2);
/// A lack of room is told once in this time, however often it is felt.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// A listening socket of one worker.
#[derive(Debug)]
pub struct Intake {
    /// What is spoken on its connections.
    pub dialect: &'static Dialect,
    /// The kernel gives this back with its events.
    token: u64,
    /// Connections this worker has at most.
    max_connections: usize,
    /// Its connections stay for long, as a rule.
    pub stays: bool,
    /// What came in last was left to the other workers.
    has_left_it: bool,
    /// `None` once the worker takes nothing new.
    socket: Option<TcpListener>,
    /// Whether the kernel tells about new connections.
    open: bool,
    /// Accepting is tried again at this time.
    paused_until: Option<Instant>,
    pause: Duration,
    reported: Option<Instant>,
}

impl Intake {
    /// Starts watching the socket.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(listener: Listener, token: u64, epoll: &Epoll) -> Result<Self, Errno> {
        let stays = listener.dialect.connections.first() == Some(&ConnectionUse::Kept);
        watch(epoll, &listener.socket, token, stays)?;
        Ok(Self {
            dialect: listener.dialect,
            token,
            max_connections: max_connections(),
            stays,
            has_left_it: false,
            socket: Some(listener.socket),
            open: true,
            paused_until: None,
            pause: FIRST_PAUSE,
            reported: None,
        })
    }

    /// Whether the kernel tells about new connections, or never will again: in both cases there is nothing to wait for.
    pub fn is_open(&self) -> bool {
        self.open || self.socket.is_none()
    }

    /// Takes the next connection from the queue, if there is one and there is room for it: `connections` are open now.
    pub fn accept(&mut self, epoll: &Epoll, connections: usize) -> Option<(TcpStream, SocketAddr)> {
        if connections >= self.max_connections {
            self.shut(epoll);
            self.report(&format!("{connections} connections are open in this worker"));
            return None;
        }
        loop {
            match self.socket.as_ref()?.accept() {
                Ok(accepted) => {
                    self.has_left_it = false;
                    self.pause = FIRST_PAUSE;
                    return Some(accepted);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if is_exhausted(&error) => {
                    // Without a pause the loop would spin: the connection stays in the queue and is told again at once.
                    self.shut(epoll);
                    self.paused_until = Some(Instant::now() + self.pause);
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                    self.report(&error.to_string());
                    return None;
                }
                // The peer gave up while it waited in the queue (ECONNABORTED and the like): the next one may be fine.
                Err(_) => {}
            }
        }
    }

    /// Watches the socket again when the pause is over and there is room.
    pub fn resume(&mut self, epoll: &Epoll, connections: usize, now: Instant) {
        let paused = self.paused_until.is_some_and(|until| now < until);
        if self.open || paused || connections >= self.max_connections {
            return;
        }
        if let Some(socket) = &self.socket {
            self.paused_until = None;
            // Tried again in the next round if the kernel has no memory for it now.
            self.open = watch(epoll, socket, self.token, self.stays).is_ok();
        }
    }

    /// Whether what comes in now is left to a worker with fewer connections: for a moment, and once. If it is still there then,
    /// the others are busy, or worse.
    pub fn leaves_it_to_others(&mut self, epoll: &Epoll) -> bool {
        if std::mem::take(&mut self.has_left_it) {
            return false;
        }
        self.has_left_it = true;
        self.shut(epoll);
        self.paused_until = Some(Instant::now() + LEFT_TO_OTHERS);
        true
    }

    /// When accepting is tried again, if it is not now.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until.filter(|_| !self.open)
    }

    /// Takes nothing new any more.
    pub fn close(&mut self, epoll: &Epoll) {
        self.shut(epoll);
        self.socket = None;
    }

    fn shut(&mut self, epoll: &Epoll) {
        if let Some(socket) = self.socket.as_ref().filter(|_| self.open) {
            // The socket itself stays open in the other processes, so the kernel would not forget it by itself.
            let _ = epoll.delete(socket);
            self.open = false;
        }
    }

    fn report(&mut self, reason: &str) {
        if self.reported.is_none_or(|reported| reported.elapsed() >= REPORT_EVERY) {
            self.reported = Some(Instant::now());
            warn("accept_connections", Outcome::Fail).with("error", reason).write();
        }
    }
}

/// A connection that will be gone in a moment wakes one worker. One that stays wakes all, so that the one with the fewest takes it:
/// woken alone, always the same would get it, for the kernel asks in the same order each time.
fn watch(epoll: &Epoll, socket: &TcpListener, token: u64, all: bool) -> Result<(), Errno> {
    let exclusive = if all { EpollFlags::empty() } else { EpollFlags::EPOLLEXCLUSIVE };
    epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN | exclusive, token))
}

/// Whether accepting failed because this process or machine has no room for another connection.
fn is_exhausted(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}
