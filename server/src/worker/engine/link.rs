//! The connection of a worker to the engine, inside its event loop.

use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, debug, info, warn};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use postgres_link::{Event, Interest, Primary, Replies, Request, Servers};

use crate::worker::ENGINE;

/// Time of a statement. After that the connection is closed, and the next one, to the server that
/// is the primary then, learns what became of it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest and longest pause after a refused statement.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What has happened to the connection.
#[derive(Debug)]
pub enum LinkEvent {
    /// There is a new connection.
    Connected,
    /// The connection is gone. The outcome of a request is unknown.
    Lost,
    /// The reply to a request.
    Done(Replies),
    /// The engine has refused a request and undone it.
    Refused,
    /// The state of a lottery has changed.
    Notified(String),
}

/// The connection of a worker.
pub struct Link {
    primary: Primary,
    /// Holds the socket. The event loop watches this set instead, because the socket changes.
    epoll: Epoll,
    registered: Option<(u64, Interest)>,
    /// True if the socket may be ready.
    is_ready: bool,
    slot: usize,
    /// True once the end of the connection was logged.
    is_down: bool,
    /// No request before this time, because the last one was refused, and the next pause.
    paused: Option<Instant>,
    pause: Duration,
    /// The last failure, and how often it has come.
    failed: (String, u64),
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Link {
    /// Returns a link that is not connected, and lets the event loop watch it.
    pub fn new(servers: Servers, slot: usize, event_loop: &Epoll) -> Result<Self, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        event_loop.add(&epoll.0, EpollEvent::new(EpollFlags::EPOLLIN, ENGINE))?;
        Ok(Self {
            primary: Primary::new(servers),
            epoll,
            registered: None,
            is_ready: true,
            slot,
            is_down: false,
            paused: None,
            pause: PAUSES.0,
            failed: (String::new(), 0),
        })
    }

    /// Notes that the socket may be ready.
    pub fn note_ready(&mut self) {
        self.is_ready = true;
    }

    /// Returns true if a request can be sent now.
    pub fn is_free(&self, now: Instant) -> bool {
        self.primary.is_idle() && self.paused.is_none_or(|until| now >= until)
    }

    /// Returns when the link has something to do although its socket is not ready.
    pub fn wake_at(&self) -> Option<Instant> {
        self.primary.wake_at().into_iter().chain(self.paused).min()
    }

    /// Returns an empty request.
    pub fn new_request(&mut self) -> Request {
        self.primary.new_request()
    }

    /// Sends a request.
    pub fn send(&mut self, request: Request, now: Instant) {
        self.primary.request(request, now + STATEMENT_TIMEOUT);
        self.is_ready = true;
    }

    /// Closes the connection, because the outcome of its last request is unknown.
    pub fn disconnect(&mut self) {
        self.primary.disconnect();
        self.is_ready = true;
    }

    /// Returns the next event, if there is one. Never blocks.
    pub fn advance(&mut self, now: Instant) -> Option<LinkEvent> {
        if self.paused.is_some_and(|until| now >= until) {
            self.paused = None;
        }
        let is_due = self.primary.wake_at().is_some_and(|time| now >= time);
        while self.is_ready || is_due {
            let Some(event) = self.primary.advance(now) else {
                self.is_ready = false;
                return None;
            };
            if let Some(event) = self.note(event, now) {
                return Some(event);
            }
        }
        None
    }

    fn note(&mut self, event: Event, now: Instant) -> Option<LinkEvent> {
        match event {
            Event::Connected(connected) => {
                self.is_ready = true;
                let line = if self.is_down { info } else { debug };
                line("engine", Outcome::Success)
                    .with("worker", self.slot)
                    .with("server", &connected.host)
                    .write();
                self.is_down = false;
                self.failed = (String::new(), 0);
                Some(LinkEvent::Connected)
            }
            Event::Lost(lost) => {
                self.log(lost.to_string());
                Some(LinkEvent::Lost)
            }
            Event::NoPrimary(faults) => {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                self.log(faults.join("; "));
                None
            }
            Event::Done(Ok(replies)) => {
                self.pause = PAUSES.0;
                Some(LinkEvent::Done(replies))
            }
            Event::Done(Err(error)) => {
                if !error.is_serialization_failure() {
                    self.log(error.to_string());
                    self.paused = Some(now + self.pause);
                    self.pause = (self.pause * 2).min(PAUSES.1);
                }
                Some(LinkEvent::Refused)
            }
            Event::Notification { payload, .. } => Some(LinkEvent::Notified(payload)),
        }
    }

    /// Logs a failure. If it repeats, logs its second, fourth, eighth time and so on, because it
    /// may last for days.
    fn log(&mut self, reason: String) {
        self.is_down = true;
        let (last, times) = &mut self.failed;
        if *last != reason {
            (*last, *times) = (reason, 0);
        }
        *times += 1;
        if times.is_power_of_two() {
            warn("engine", Outcome::Fail)
                .with("worker", self.slot)
                .with("error", last)
                .with("times", times)
                .with("next", "try again; nothing is acknowledged meanwhile")
                .write();
        }
    }

    /// Lets the event loop watch the socket for what the connection waits for.
    pub fn register(&mut self) -> Result<(), Errno> {
        let wanted =
            self.primary.fd().map(|_| (self.primary.generation(), self.primary.interest()));
        if wanted == self.registered {
            return Ok(());
        }
        if let (Some(socket), Some((generation, interest))) = (self.primary.fd(), wanted) {
            let mut flags = EpollFlags::empty();
            flags.set(EpollFlags::EPOLLIN, interest.read);
            flags.set(EpollFlags::EPOLLOUT, interest.write);
            let mut event = EpollEvent::new(flags, 0);
            match self.registered {
                Some((known, _)) if known == generation => self.epoll.modify(socket, &mut event)?,
                _ => self.epoll.add(socket, event)?,
            }
        }
        self.registered = wanted;
        Ok(())
    }
}
