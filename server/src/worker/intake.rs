//! A listening socket of a worker: accepts connections while there is room for them.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, warn};
use lottery::protocol::{ConnectionUse, Dialect};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, getrlimit};

use crate::listener::Listener;

/// Descriptors that connections must leave free for the files, the listening sockets, the epoll
/// instance and the draw, which opens more files.
const RESERVED_DESCRIPTORS: usize = 64;
/// First pause after accepting failed for lack of descriptors or memory. Each failure in a row
/// doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a worker leaves a new connection to workers that have fewer.
const DEFER_TIME: Duration = Duration::from_millis(2);
/// Pauses after each of which one connection is accepted. On a busy machine, the other workers may
/// need several to wake up.
const PATIENCE: u32 = 16;
/// Most connections that are accepted between two pauses: 2 to the power of this.
const LONGEST_RUN: u32 = 6;
/// Time between two log lines about a lack of room.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// A listening socket of one worker.
#[derive(Debug)]
pub struct Intake {
    /// The dialect of its connections.
    pub dialect: &'static Dialect,
    /// Names it in epoll events.
    token: u64,
    /// Maximum number of connections of this worker. Further ones wait in the kernel's queue, or
    /// another worker accepts them.
    max_connections: usize,
    /// True if its connections usually carry several requests.
    stays: bool,
    /// Connections that are accepted without leaving them to other workers once more.
    run: usize,
    /// Pauses since the queue was empty.
    pauses: u32,
    /// True if a pause is over in which other workers could take connections. Those that they have
    /// left must not wait behind all events of this worker.
    is_due: bool,
    /// `None` once the worker accepts nothing new.
    socket: Option<TcpListener>,
    /// True while epoll watches the socket.
    open: bool,
    /// When accepting is tried again.
    paused_until: Option<Instant>,
    /// The next pause after a failure.
    pause: Duration,
    /// True while there is no room for another connection.
    is_full: bool,
    /// When a lack of room was last logged.
    reported: Option<Instant>,
}

impl Intake {
    /// Starts to watch a socket.
    pub fn new(
        listener: Listener,
        token: u64,
        epoll: &Epoll,
        max_connections: usize,
    ) -> Result<Self, Errno> {
        let stays = usually_stay(listener.dialect);
        watch(epoll, &listener.socket, token, stays)?;
        Ok(Self {
            dialect: listener.dialect,
            token,
            max_connections,
            stays,
            run: 0,
            pauses: 0,
            is_due: false,
            socket: Some(listener.socket),
            open: true,
            paused_until: None,
            pause: FIRST_PAUSE,
            is_full: false,
            reported: None,
        })
    }

    /// Watches the socket for what its connections are like now. Returns true if they usually carry
    /// several requests: in a dialect that keeps connections, unless they are `brief`.
    pub fn adapt(&mut self, epoll: &Epoll, brief: bool) -> bool {
        let stays = usually_stay(self.dialect) && !brief;
        if stays != self.stays {
            self.stays = stays;
            if let Some(socket) = self.socket.as_ref().filter(|_| self.open) {
                // epoll cannot modify how a socket wakes workers.
                let _ = epoll.delete(socket);
                self.open = watch(epoll, socket, self.token, stays).is_ok();
            }
        }
        stays
    }

    /// Returns true if connections wait in the queue until there is room for them.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Accepts the next connection from the queue, if there is one and there is room for it.
    /// `connections` is the number of open ones.
    pub fn accept(&mut self, epoll: &Epoll, connections: usize) -> Option<(TcpStream, SocketAddr)> {
        self.is_due = false;
        if connections >= self.max_connections {
            self.shut(epoll);
            self.is_full = true;
            self.report(&format!("{connections} connections are open in this worker"));
            return None;
        }
        loop {
            match self.socket.as_ref()?.accept() {
                Ok((stream, peer)) => {
                    self.pause = FIRST_PAUSE;
                    // On a socket for both families, `::ffff:10.0.0.7` is the IPv4 peer 10.0.0.7.
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    return Some((stream, peer));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    (self.run, self.pauses) = (0, 0);
                    return None;
                }
                Err(error) if is_exhausted(&error) => {
                    // Without a pause the loop would spin: the connection stays in the queue, and
                    // epoll reports it again at once.
                    self.shut(epoll);
                    self.is_full = true;
                    self.paused_until = Some(Instant::now() + self.pause);
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                    self.report(&error.to_string());
                    return None;
                }
                // The peer gave up while it waited in the queue (ECONNABORTED and similar errors).
                // The next connection may be fine.
                Err(_) => {}
            }
        }
    }

    /// Watches the socket again if the pause is over and there is room.
    pub fn resume(&mut self, epoll: &Epoll, connections: usize, now: Instant) {
        let paused = self.paused_until.is_some_and(|until| now < until);
        if self.open || paused || connections >= self.max_connections {
            return;
        }
        if let Some(socket) = &self.socket {
            self.paused_until = None;
            self.is_full = false;
            // The next round tries again if the kernel has no memory for it now.
            self.open = watch(epoll, socket, self.token, self.stays).is_ok();
            self.is_due = self.open && self.run > 0;
        }
    }

    /// Pauses accepting for a moment, so that workers with fewer connections take the next ones.
    /// Returns false if it has paused before: if connections are still queued, the others are busy
    /// or stopped. At first a pause comes after each connection, later after two, four and so on,
    /// until the queue is empty. With a pause per connection, a thousand that arrive at once would
    /// wait for seconds.
    pub fn defer_to_others(&mut self, epoll: &Epoll) -> bool {
        if self.run > 0 {
            self.run -= 1;
            return false;
        }
        self.is_due = false;
        self.run = 1 << self.pauses.saturating_sub(PATIENCE).min(LONGEST_RUN);
        self.pauses += 1;
        self.shut(epoll);
        self.paused_until = Some(Instant::now() + DEFER_TIME);
        true
    }

    /// Returns true if it should accept in this round whether there is an event or not.
    pub fn is_due(&self) -> bool {
        self.is_due
    }

    /// Returns when accepting is tried again, if it is paused.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until.filter(|_| !self.open && self.socket.is_some())
    }

    /// Stops accepting for good.
    pub fn close(&mut self, epoll: &Epoll) {
        self.shut(epoll);
        self.socket = None;
    }

    fn shut(&mut self, epoll: &Epoll) {
        if let Some(socket) = self.socket.as_ref().filter(|_| self.open) {
            // The socket stays open in the other processes, so closing it would not unregister it.
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

/// Returns how many connections this process may have, at most `wanted`, under its descriptor
/// limit.
pub fn max_connections(wanted: usize) -> usize {
    let descriptors =
        getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(soft, _)| soft as usize);
    // Under a very low limit, connections get half of the descriptors.
    descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(descriptors / 2).min(wanted)
}

/// Returns true if the connections of a dialect carry several requests by default.
fn usually_stay(dialect: &Dialect) -> bool {
    dialect.connections.first() == Some(&ConnectionUse::Kept)
}

/// Watches a listening socket. A short-lived connection wakes one worker. With `all`, a connection
/// wakes all workers, so that the one with the fewest connections takes it. The kernel wakes in a
/// fixed order, so waking only one worker would always choose the same.
fn watch(epoll: &Epoll, socket: &TcpListener, token: u64, all: bool) -> Result<(), Errno> {
    let exclusive = if all { EpollFlags::empty() } else { EpollFlags::EPOLLEXCLUSIVE };
    epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN | exclusive, token))
}

/// Returns true if accepting failed because this process or machine has no room for another
/// connection.
fn is_exhausted(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

#[cfg(test)]
mod tests {
    use lottery::protocol::DIALECTS;
    use nix::sys::epoll::EpollCreateFlags;

    use super::*;

    /// Fewer than a queue holds by default.
    const QUEUED: usize = 100;

    /// Accepts the whole queue, while the other workers always have fewer connections. Returns the
    /// number of accepted connections and of pauses.
    fn accept_all(intake: &mut Intake, epoll: &Epoll) -> (usize, usize) {
        let (mut accepted, mut pauses) = (0, 0);
        loop {
            if intake.defer_to_others(epoll) {
                pauses += 1;
                intake.resume(epoll, 0, Instant::now() + DEFER_TIME);
                assert!(intake.is_due());
                continue;
            }
            if intake.accept(epoll, 0).is_none() {
                return (accepted, pauses);
            }
            accepted += 1;
        }
    }

    #[test]
    fn a_long_queue_takes_few_pauses_and_after_it_each_connection_is_left_to_others_first() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener { socket, dialect: &DIALECTS[0], address, backlog: 128 };
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let mut intake = Intake::new(listener, 1, &epoll, QUEUED).unwrap();
        let connect = |_| std::net::TcpStream::connect(address).unwrap();

        let _queued: Vec<_> = (0..QUEUED).map(connect).collect();
        // After the patient pauses, 1, 2, 4, 8, 16, 32 and 64 connections.
        assert_eq!(accept_all(&mut intake, &epoll), (QUEUED, PATIENCE as usize + 7));
        for _ in 0..2 {
            let _queued = connect(0);
            assert_eq!(accept_all(&mut intake, &epoll), (1, 2));
        }
    }
}
