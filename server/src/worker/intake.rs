//! Where connections come in: an inherited listening socket, opened and closed as there is room.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, warn};
use lottery::protocol::Dialect;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use crate::listener::Listener;

/// Connections a worker has at most; further ones wait in the kernel's queue, or another worker takes them.
const MAX_CONNECTIONS: usize = 8192;
/// First pause after accepting failed for lack of descriptors or memory; doubles with each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A lack of room is told once in this time, however often it is felt.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// A listening socket of one worker.
#[derive(Debug)]
pub struct Intake {
    /// What is spoken on its connections.
    pub dialect: &'static Dialect,
    /// The kernel gives this back with its events.
    token: u64,
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
        watch(epoll, &listener.socket, token)?;
        Ok(Self {
            dialect: listener.dialect,
            token,
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
        if connections >= MAX_CONNECTIONS {
            self.shut(epoll);
            self.report(&format!("{MAX_CONNECTIONS} connections are open in this worker"));
            return None;
        }
        loop {
            match self.socket.as_ref()?.accept() {
                Ok(accepted) => {
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
        if self.open || paused || connections >= MAX_CONNECTIONS {
            return;
        }
        if let Some(socket) = &self.socket {
            self.paused_until = None;
            // Tried again in the next round if the kernel has no memory for it now.
            self.open = watch(epoll, socket, self.token).is_ok();
        }
    }

    /// Lets the next connection wake another worker, if one is idle. The kernel wakes the first of those that watch a socket, so
    /// without this one idle worker would get all connections that stay.
    pub fn give_way(&mut self, epoll: &Epoll) {
        self.shut(epoll);
        // Watching again puts this worker behind the others; `resume` does so if the kernel has no memory for it now.
        self.open = self.socket.as_ref().is_some_and(|socket| watch(epoll, socket, self.token).is_ok());
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

fn watch(epoll: &Epoll, socket: &TcpListener, token: u64) -> Result<(), Errno> {
    // Exclusive: one connection wakes one worker, not all.
    epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE, token))
}

/// Whether accepting failed because this process or machine has no room for another connection.
fn is_exhausted(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}
