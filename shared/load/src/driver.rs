//! The event loop of one thread: it drives its clients until the time is over.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::connection::{Connection, Progress};
use crate::conversation::Conversation;
use crate::run::{Load, LoadError};
use crate::tally::Tally;

/// Longest wait for an event. After it the thread looks at the time and for a stop.
const TICK_MS: u8 = 100;

/// Pause before failed requests are sent again.
const RETRY_MS: u8 = 1;

/// Time between two searches for clients whose reply is overdue.
const OVERDUE_SEARCH: Duration = Duration::from_millis(500);

/// Linux retransmits an unanswered SYN after one second. A connection that took nearly that long
/// has lost a SYN.
const LOST_SYN: Duration = Duration::from_millis(900);

/// Failures per client, one after the other and without an answer in between, after which the
/// thread gives up.
const MAX_CONSECUTIVE: u64 = 100;

/// Events per call.
const EVENTS: usize = 256;

/// Size of the buffer for replies.
const BUFFER_BYTES: usize = 64 << 10;

/// A client.
#[derive(Debug)]
struct Client<C> {
    conversation: C,
    connection: Option<Connection>,
    /// When the current request began.
    begun: Instant,
    /// True while a request is in flight.
    active: bool,
}

/// The clients of one thread.
pub(crate) struct Driver<'l, C> {
    load: &'l Load,
    stop: &'l (dyn Fn() -> bool + Sync),
    epoll: Epoll,
    clients: Vec<Client<C>>,
    /// Clients with a request in flight.
    active: usize,
    /// Clients whose last request failed.
    retries: Vec<usize>,
    /// Connections opened so far. The first value differs between threads.
    opened: u32,
    tally: Tally,
    buffer: Vec<u8>,
}

impl<'l, C: Conversation> Driver<'l, C> {
    pub(crate) fn new(
        load: &'l Load,
        stop: &'l (dyn Fn() -> bool + Sync),
        thread: usize,
        conversations: Vec<C>,
    ) -> Result<Self, LoadError> {
        let now = Instant::now();
        let client =
            |conversation| Client { conversation, connection: None, begun: now, active: false };
        Ok(Self {
            load,
            stop,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(io::Error::from)?,
            clients: conversations.into_iter().map(client).collect(),
            active: 0,
            retries: Vec::new(),
            opened: (thread as u32).wrapping_mul(31),
            tally: Tally::new()?,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Drives the clients until `end`, and then until every request in flight is answered or has
    /// failed.
    pub(crate) fn run(mut self, end: Instant) -> Result<Tally, LoadError> {
        for client in 0..self.clients.len() {
            self.begin(client, Instant::now());
        }
        let mut events = vec![EpollEvent::empty(); EVENTS];
        let mut next_search = Instant::now() + OVERDUE_SEARCH;
        loop {
            let timeout = if self.retries.is_empty() { TICK_MS } else { RETRY_MS };
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(io::Error::from(error).into()),
            };
            let stopped = (self.stop)();
            let is_over = |now: Instant| stopped || now >= end;
            for event in &events[..count] {
                let client = event.data() as usize;
                if let Some(now) = self.proceed(client, event.events())
                    && !is_over(now)
                {
                    self.begin(client, now);
                }
            }
            let now = Instant::now();
            if now >= next_search {
                self.fail_overdue(now);
                next_search = now + OVERDUE_SEARCH;
            }
            self.check()?;
            let retries = std::mem::take(&mut self.retries);
            if is_over(now) {
                if self.active == 0 {
                    return Ok(self.tally);
                }
            } else {
                retries.into_iter().for_each(|client| self.begin(client, now));
            }
        }
    }

    /// Gives up if the server answers nothing.
    fn check(&self) -> Result<(), LoadError> {
        let clients = self.clients.len() as u64;
        let limit = if self.tally.latencies.len() == 0 { 1 } else { MAX_CONSECUTIVE };
        if self.tally.consecutive < limit * clients {
            return Ok(());
        }
        Err(LoadError::Unanswered {
            answered: self.tally.latencies.len(),
            reason: self.tally.commonest().unwrap_or_default().to_owned(),
        })
    }

    /// Sends the client's current request, on a new connection if it has none.
    fn begin(&mut self, index: usize, now: Instant) {
        let client = &mut self.clients[index];
        client.begun = now;
        client.active = true;
        self.active += 1;
        let sent = match &mut client.connection {
            Some(connection) => {
                connection.next_request();
                let sent = connection.send(&mut client.conversation);
                // The socket's buffer holds a request unless the server does not read.
                match sent {
                    Ok(Progress::Sending) => self.watch(index, true, false),
                    other => other.map(drop),
                }
            }
            None => self.open(index),
        };
        if let Err(error) = sent {
            self.fail(index, error.to_string());
        }
    }

    /// Opens a connection and sends as much of the request as possible. Over the loopback interface
    /// a connection is open at once.
    fn open(&mut self, index: usize) -> io::Result<()> {
        let source = self.load.sources.address(self.opened);
        self.opened = self.opened.wrapping_add(1);
        let client = &mut self.clients[index];
        let mut connection = Connection::open(self.load.server, source)?;
        let progress = connection.send(&mut client.conversation)?;
        client.connection = Some(connection);
        self.watch(index, progress == Progress::Sending, true)
    }

    /// Sets the events that the connection waits for.
    fn watch(&self, index: usize, writable: bool, is_new: bool) -> io::Result<()> {
        let Some(connection) = &self.clients[index].connection else { return Ok(()) };
        let out = if writable { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN | out, index as u64);
        let socket = connection.socket.as_fd();
        if is_new {
            self.epoll.add(socket, event)?;
        } else {
            self.epoll.modify(socket, &mut event)?;
        }
        Ok(())
    }

    /// Continues a request after an event. Returns the time if the request is answered.
    fn proceed(&mut self, index: usize, events: EpollFlags) -> Option<Instant> {
        match self.try_to_proceed(index, events) {
            Ok(Progress::Answered) => {
                let now = Instant::now();
                let client = &mut self.clients[index];
                self.tally.answered(now - client.begun);
                client.conversation.advance();
                client.active = false;
                self.active -= 1;
                if !self.load.kept {
                    client.connection = None;
                }
                Some(now)
            }
            Ok(_) => None,
            Err(reason) => {
                self.fail(index, reason);
                None
            }
        }
    }

    fn try_to_proceed(&mut self, index: usize, events: EpollFlags) -> Result<Progress, String> {
        let client = &mut self.clients[index];
        let Some(connection) = &mut client.connection else { return Ok(Progress::Waiting) };
        if !client.active {
            return Err("the server ended an idle connection".to_owned());
        }
        if events.contains(EpollFlags::EPOLLOUT) {
            if connection.is_new() && client.begun.elapsed() >= LOST_SYN {
                self.tally.slow_connections += 1;
            }
            let sent = connection.send(&mut client.conversation);
            if sent.map_err(|error| error.to_string())? == Progress::Waiting {
                self.watch(index, false, false).map_err(|error| error.to_string())?;
            }
        }
        let client = &mut self.clients[index];
        let Some(connection) = &mut client.connection else { return Ok(Progress::Waiting) };
        if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return connection.receive(&mut client.conversation, &mut self.buffer);
        }
        Ok(Progress::Waiting)
    }

    /// Counts a failed request and closes its connection.
    fn fail(&mut self, index: usize, reason: String) {
        let client = &mut self.clients[index];
        client.connection = None;
        if client.active {
            client.active = false;
            self.active -= 1;
            self.tally.failed(reason);
            self.retries.push(index);
        }
    }

    /// Fails the requests whose reply is overdue.
    fn fail_overdue(&mut self, now: Instant) {
        let limit = self.load.reply_limit;
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            if client.active && now.saturating_duration_since(client.begun) > limit {
                self.fail(index, format!("no reply within {} s", limit.as_secs_f64()));
            }
        }
    }
}
