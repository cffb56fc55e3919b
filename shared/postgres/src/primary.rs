//! One connection to the primary, which an event loop drives.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rand::RngExt;

use crate::attempt::Attempt;
use crate::connection::Connection;
use crate::error::{Fault, HostFault, Lost, ServerError};
use crate::reply::Replies;
use crate::request::Request;
use crate::servers::Servers;

/// The first pause after a round over all servers without a primary. Each round doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What [`Primary::advance`] reports.
#[derive(Debug)]
pub enum Event {
    /// A connection to the primary is ready for requests.
    Connected(Connected),
    /// The established connection ended. The next call of [`Primary::advance`] starts the search
    /// for the primary.
    Lost(Lost),
    /// No server of the list is a primary that accepts connections. The search starts again after
    /// a pause. Each server has its reason.
    NoPrimary(Vec<HostFault>),
    /// The reply to the request, or the error of the server that undid it.
    Done(Result<Replies, ServerError>),
    /// A notification of a channel that the connection listens to.
    Notification {
        /// Name of the channel.
        channel: String,
        /// The payload, which may be empty.
        payload: String,
        /// Process of the server that sent it.
        process: i32,
    },
}

/// The server of a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Host and port.
    pub host: String,
    /// Version of the server, like `15.8 (Debian 15.8-0+deb12u1)`.
    pub version: String,
    /// Process of the server that serves this connection (`pg_backend_pid()`).
    pub process: i32,
}

/// What the event loop has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Wait until the socket is readable.
    pub read: bool,
    /// Wait until the socket is writable.
    pub write: bool,
}

/// Keeps one connection to the primary of a cluster.
///
/// No method blocks. The caller waits until [`Primary::fd`] is ready for [`Primary::interest`] or
/// until [`Primary::wake_at`], whichever is first, and then calls [`Primary::advance`] until it
/// returns `None`. All three may change with each call of `advance`, `request` or `disconnect`.
///
/// The servers are tried in turn. Each has the connect timeout of the URL. After a round without a
/// primary there is a pause of 50 ms, which doubles with each round up to 1 s, less a random part
/// of up to a half. A lost connection starts a round with the server after the lost one.
///
/// A new `Primary` does nothing before the first call of `advance`.
pub struct Primary {
    servers: Servers,
    state: State,
    /// Index of the server that is connected or tried, or is tried next.
    server: usize,
    /// Why the servers of this round failed.
    faults: Vec<HostFault>,
    pause: Duration,
    generation: u64,
    /// True if the connection has answered a request.
    has_served: bool,
}

/// Progress of the connection.
enum State {
    /// The next attempt begins at this time.
    Waiting(Instant),
    /// An attempt is under way.
    Attempting(Box<Attempt>),
    /// The connection is ready.
    Connected(Box<Connection>),
}

impl Primary {
    /// Returns a primary that is not connected.
    pub fn new(servers: Servers) -> Self {
        Self {
            servers,
            state: State::Waiting(Instant::now()),
            server: 0,
            faults: Vec::new(),
            pause: FIRST_PAUSE,
            generation: 0,
            has_served: false,
        }
    }

    /// Returns the socket, or `None` between two attempts.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Waiting(_) => None,
            State::Attempting(attempt) => Some(attempt.fd()),
            State::Connected(connection) => Some(connection.fd()),
        }
    }

    /// Returns a number that changes with every new socket. An event loop that sees another number
    /// has to register [`Primary::fd`] anew, even if the descriptor has the same number as before:
    /// the system has removed the closed one from every epoll set.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns what to wait for. The event loop has to be level-triggered.
    pub fn interest(&self) -> Interest {
        match &self.state {
            State::Waiting(_) => Interest { read: false, write: false },
            State::Attempting(attempt) => attempt.interest(),
            State::Connected(connection) => connection.interest(),
        }
    }

    /// Returns when [`Primary::advance`] has something to do although the socket is not ready, or
    /// `None` if the connection is idle.
    pub fn wake_at(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(until) => Some(*until),
            State::Attempting(attempt) => Some(attempt.deadline()),
            State::Connected(connection) => connection.deadline(),
        }
    }

    /// Does what is possible without blocking, and returns the next event. Call it until it
    /// returns `None`.
    pub fn advance(&mut self, now: Instant) -> Option<Event> {
        loop {
            let fault = match &mut self.state {
                State::Waiting(until) if now < *until => return None,
                State::Waiting(_) => {
                    self.generation += 1;
                    let server = &self.servers.list[self.server];
                    match Attempt::begin(server, &self.servers, now) {
                        Ok(attempt) => {
                            self.state = State::Attempting(Box::new(attempt));
                            continue;
                        }
                        Err(fault) => fault,
                    }
                }
                State::Attempting(attempt) => match attempt.advance(now) {
                    Ok(None) => return None,
                    Ok(Some(connected)) => return Some(self.connected(connected, now)),
                    Err(fault) => fault,
                },
                State::Connected(connection) => match connection.advance(now) {
                    Ok(event) => {
                        if matches!(event, Some(Event::Done(_))) {
                            self.has_served = true;
                            self.pause = FIRST_PAUSE;
                        }
                        return event;
                    }
                    Err(fault) => return Some(self.lost(fault, now)),
                },
            };
            if let Some(event) = self.failed(fault, now) {
                return Some(event);
            }
        }
    }

    /// Returns why the servers of the round under way failed. An attempt under way fails now, after
    /// `waited`.
    pub(crate) fn give_up(mut self, waited: Duration) -> Vec<HostFault> {
        if let State::Attempting(attempt) = &self.state {
            let host = self.servers.list[self.server].host.clone();
            let fault = Fault::Deadline(attempt.step(), waited);
            self.faults.push(HostFault { host, fault });
        }
        self.faults
    }

    /// Uses the socket of the attempt that succeeded.
    fn connected(&mut self, connected: Connected, now: Instant) -> Event {
        let attempt = std::mem::replace(&mut self.state, State::Waiting(now));
        if let State::Attempting(attempt) = attempt {
            let connection = Connection::new(attempt.into_transport());
            self.state = State::Connected(Box::new(connection));
        }
        self.faults.clear();
        self.has_served = false;
        Event::Connected(connected)
    }

    /// Goes on to the next server after a failed attempt. Returns an event after the last one of a
    /// round.
    fn failed(&mut self, fault: Fault, now: Instant) -> Option<Event> {
        let host = self.servers.list[self.server].host.clone();
        self.faults.push(HostFault { host, fault });
        self.next_server();
        if self.faults.len() < self.servers.list.len() {
            self.state = State::Waiting(now);
            return None;
        }
        self.pause_from(now);
        Some(Event::NoPrimary(std::mem::take(&mut self.faults)))
    }

    /// Ends the established connection.
    fn lost(&mut self, fault: Fault, now: Instant) -> Event {
        let under_way = !self.is_idle();
        let host = self.servers.list[self.server].host.clone();
        self.next_server();
        if self.has_served {
            self.state = State::Waiting(now);
        } else {
            // A server that accepts connections and ends them must not be tried without a pause.
            self.pause_from(now);
        }
        Event::Lost(Lost { cause: HostFault { host, fault }, under_way })
    }

    fn next_server(&mut self) {
        self.server = (self.server + 1) % self.servers.list.len();
    }

    /// Waits before the next attempt.
    fn pause_from(&mut self, now: Instant) {
        // The processes of a host must not all try at the same moment.
        let part = rand::rng().random_range(0.5..=1.0);
        self.state = State::Waiting(now + self.pause.mul_f64(part));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Returns true if the connection is established and no request is under way.
    pub fn is_idle(&self) -> bool {
        matches!(&self.state, State::Connected(connection) if connection.is_idle())
    }

    /// Returns true if the connection is established.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }

    /// Returns true if the last request left a transaction open, which the next one continues. A
    /// transaction in which a statement failed is rolled back before the error is reported.
    pub fn in_transaction(&self) -> bool {
        matches!(&self.state, State::Connected(connection) if connection.in_transaction())
    }

    /// Returns an empty request that uses the memory of the previous one, so that requests of
    /// similar size allocate nothing.
    pub fn new_request(&mut self) -> Request {
        Request::in_buffer(match &mut self.state {
            State::Connected(connection) => connection.take_buffer(),
            _ => BytesMut::new(),
        })
    }

    /// Sends a request. Call [`Primary::advance`] afterwards, until it returns `None`.
    ///
    /// Without a complete reply at the deadline the connection is closed ([`Event::Lost`]). The
    /// server may still execute the request, even after a later one on a new connection: the
    /// caller has to fence it, for example by a number that each connection increments.
    ///
    /// # Panics
    ///
    /// Panics unless [`Primary::is_idle`].
    pub fn request(&mut self, request: Request, deadline: Instant) {
        match &mut self.state {
            State::Connected(connection) if connection.is_idle() => {
                connection.request(request, deadline);
            }
            _ => panic!("a request while the connection is not idle"),
        }
    }

    /// Closes the connection and gives up its request, whose outcome is unknown. There is no event.
    /// The next call of [`Primary::advance`] connects again, first to the same server.
    pub fn disconnect(&mut self) {
        self.state = State::Waiting(Instant::now());
        self.faults.clear();
    }
}
