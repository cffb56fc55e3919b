//! The table of a worker's connections. It registers each with epoll as its phase requires, and
//! counts what they keep in memory and how many wait for the draw.
//!
//! [`Table::with`] lends a connection to a function once per event. It then updates the
//! registration and the counts, in this one place.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use lottery::protocol::Dialect;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use slab::Slab;

use super::WorkerError;
use super::brief::Brief;
use super::connection::{Connection, Phase, Watched};

/// Names a connection: its key in the table, and a serial number that a later connection with the
/// same key does not share. Events and tickets carry it, because the connection may be gone by
/// then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(u64);

impl Token {
    fn new(key: usize, serial: u32) -> Self {
        Self((key as u64) << 32 | u64::from(serial))
    }

    /// Returns the token in an event.
    pub fn of_event(event: &EpollEvent) -> Self {
        Self(event.data())
    }

    fn key(self) -> usize {
        (self.0 >> 32) as usize
    }
}

/// The connections of a worker.
#[derive(Debug)]
pub struct Table<'e> {
    epoll: &'e Epoll,
    connections: Slab<Connection>,
    /// Serial number of the last connection, wrapping.
    serial: u32,
    /// The dialects whose connections end after one reply.
    pub brief: Brief,
    /// Bytes that all connections keep in memory.
    buffered: usize,
    /// Connections that wait for the draw.
    waiting: usize,
    /// Connections whose buffer may hold another request. They take turns in the next round, so
    /// that one that sends many requests at once does not hold up the others.
    queued: Vec<Token>,
    /// Connections with a large request, in the order of their turns.
    deferred: VecDeque<Token>,
}

impl<'e> Table<'e> {
    /// Returns an empty table.
    pub fn new(epoll: &'e Epoll) -> Self {
        Self {
            epoll,
            connections: Slab::new(),
            serial: 0,
            brief: Brief::default(),
            buffered: 0,
            waiting: 0,
            queued: Vec::new(),
            deferred: VecDeque::new(),
        }
    }

    /// Adds a connection. It is registered with epoll only if it is still open after the first
    /// [`with`](Self::with), because most are served before they have to wait.
    pub fn insert(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        dialect: &'static Dialect,
        deadline: Instant,
    ) -> Token {
        self.serial = self.serial.wrapping_add(1);
        let entry = self.connections.vacant_entry();
        let token = Token::new(entry.key(), self.serial);
        entry.insert(Connection::new(stream, peer, token, dialect, deadline));
        token
    }

    /// Calls `handle` with a connection, then updates its registration and the counts for its new
    /// phase, or removes it if it is closed. Does nothing if the connection is gone.
    pub fn with<E: Into<WorkerError>>(
        &mut self,
        token: Token,
        handle: impl FnOnce(&mut Connection) -> Result<(), E>,
    ) -> Result<(), WorkerError> {
        let found = self.connections.get_mut(token.key());
        let Some(connection) = found.filter(|found| found.token == token) else { return Ok(()) };
        self.buffered -= connection.buffered();
        self.waiting -= usize::from(is_waiting(connection));
        let before = connection.replies;
        let handled = handle(connection);
        let ended = matches!(connection.phase, Phase::Closed);
        self.brief.count(connection.dialect, before, connection.replies, ended);
        if ended {
            // Closing the descriptor unregisters it: no other process has a copy.
            self.connections.remove(token.key());
            return handled.map_err(Into::into);
        }
        self.buffered += connection.buffered();
        self.waiting += usize::from(is_waiting(connection));
        match connection.phase {
            Phase::Queued | Phase::Held if !connection.in_queue => {
                connection.in_queue = true;
                self.queued.push(token);
            }
            Phase::Deferred { .. } if !connection.in_queue => {
                connection.in_queue = true;
                self.deferred.push_back(token);
            }
            _ => {}
        }
        handled.map_err(Into::into)?;
        Ok(watch(self.epoll, connection)?)
    }

    /// Returns a connection, if it is not gone.
    pub fn get(&self, token: Token) -> Option<&Connection> {
        self.connections.get(token.key()).filter(|found| found.token == token)
    }

    /// Returns all connections.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().map(|(_, connection)| connection)
    }

    /// Returns how many connections were accepted after this one.
    pub fn age(&self, token: Token) -> u32 {
        self.serial.wrapping_sub(token.0 as u32)
    }

    /// Returns the number of connections.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Returns true if there is no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Returns the bytes that all connections keep in memory.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Returns the number of connections that wait for the draw.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns true if a connection is queued for the next round.
    pub fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Takes the connections that were queued for this round. An event may have handled one of them
    /// by the time its turn comes.
    pub fn take_queued(&mut self) -> Vec<Token> {
        for token in &self.queued {
            // A later connection with the same key may be in the other queue.
            let found = self.connections.get_mut(token.key());
            if let Some(connection) = found.filter(|found| found.token == *token) {
                connection.in_queue = false;
            }
        }
        std::mem::take(&mut self.queued)
    }

    /// Returns true if a connection with a large request waits for its turn.
    pub fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Takes the connection with a large request that is next.
    pub fn take_deferred(&mut self) -> Option<Token> {
        while let Some(token) = self.deferred.pop_front() {
            let found = self.connections.get_mut(token.key());
            if let Some(connection) = found.filter(|found| found.token == token) {
                connection.in_queue = false;
                return Some(token);
            }
        }
        None
    }

    /// Makes the connection that was deferred last the next one.
    pub fn defer_first(&mut self) {
        if let Some(last) = self.deferred.pop_back() {
            self.deferred.push_front(last);
        }
    }

    /// Returns the connections for which `wanted` returns true.
    pub fn select(&self, wanted: impl Fn(&Connection) -> bool) -> Vec<Token> {
        self.iter().filter(|connection| wanted(connection)).map(|found| found.token).collect()
    }

    /// Returns the connections that wait for the draw.
    pub fn select_waiting(&self) -> Vec<Token> {
        self.select(is_waiting)
    }

    /// Moves each deadline, and the pace of each batch, to a later time.
    pub fn extend_deadlines(&mut self, by: Duration) {
        for (_, connection) in &mut self.connections {
            connection.deadline = connection.deadline.and_then(|deadline| deadline.checked_add(by));
            connection.pace.extend(by);
            if let Phase::Deferred { since, .. } = &mut connection.phase {
                *since = since.checked_add(by).unwrap_or(*since);
            }
        }
    }

    /// Moves each deadline to the time that `latest` returns, unless it is earlier.
    pub fn shorten_deadlines(&mut self, latest: impl Fn(&Connection) -> Instant) {
        for (_, connection) in &mut self.connections {
            let latest = latest(connection);
            let deadline = connection.deadline.map_or(latest, |deadline| deadline.min(latest));
            connection.deadline = Some(deadline);
        }
    }
}

fn is_waiting(connection: &Connection) -> bool {
    matches!(connection.phase, Phase::Waiting { .. })
}

/// Registers a connection with epoll for what its phase requires, if that changes anything.
fn watch(epoll: &Epoll, connection: &mut Connection) -> Result<(), Errno> {
    let wanted = connection.wants();
    if wanted == connection.watched {
        return Ok(());
    }
    let flags = match wanted {
        Some(Watched::Input) => EpollFlags::EPOLLIN,
        Some(Watched::Output) => EpollFlags::EPOLLOUT,
        Some(Watched::Hangup) => EpollFlags::EPOLLRDHUP,
        Some(Watched::Errors) | None => EpollFlags::empty(),
    };
    let mut event = EpollEvent::new(flags, connection.token.0);
    match connection.watched {
        None => epoll.add(&*connection, event)?,
        Some(_) => epoll.modify(&*connection, &mut event)?,
    }
    connection.watched = wanted;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use lottery::protocol::DIALECTS;
    use nix::sys::epoll::{EpollCreateFlags, EpollTimeout};

    use super::*;

    fn epoll() -> Epoll {
        Epoll::new(EpollCreateFlags::empty()).unwrap()
    }

    /// Adds a connection and returns its peer.
    fn connect(table: &mut Table<'_>) -> (TcpStream, Token) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, address) = listener.accept().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        (peer, table.insert(stream, address, &DIALECTS[0], deadline))
    }

    fn set(table: &mut Table<'_>, token: Token, phase: Phase) {
        let set = |connection: &mut Connection| {
            connection.phase = phase;
            Ok::<_, Errno>(())
        };
        table.with(token, set).unwrap();
    }

    /// Returns the connections that epoll reports within a moment.
    fn events(table: &Table<'_>, wait: u16) -> Vec<Token> {
        let mut events = [EpollEvent::empty(); 8];
        let ready = table.epoll.wait(&mut events, EpollTimeout::from(wait)).unwrap();
        events[..ready].iter().map(Token::of_event).collect()
    }

    #[test]
    fn a_closed_connection_is_removed_and_its_token_does_not_name_a_later_one() {
        let epoll = epoll();
        let mut table = Table::new(&epoll);
        let (_peer, first) = connect(&mut table);
        set(&mut table, first, Phase::Closed);
        assert!(table.is_empty());
        let (_peer, second) = connect(&mut table);
        assert_eq!((first.key(), first == second), (second.key(), false));
        let gone = table.with(first, |_| -> Result<(), Errno> { panic!("another connection") });
        gone.unwrap();
    }

    #[test]
    fn counts_follow_what_happens_to_a_connection() {
        let epoll = epoll();
        let mut table = Table::new(&epoll);
        let (_peer, token) = connect(&mut table);
        let fill = |connection: &mut Connection| {
            connection.buffer = Vec::with_capacity(1000);
            connection.phase = Phase::Waiting { agency: 1 };
            Ok::<_, Errno>(())
        };
        table.with(token, fill).unwrap();
        assert_eq!((table.buffered(), table.waiting()), (1000, 1));
        assert_eq!(table.select_waiting(), [token]);
        set(&mut table, token, Phase::Closed);
        assert_eq!((table.buffered(), table.len()), (0, 0));
    }

    #[test]
    fn a_queued_connection_is_queued_once_per_round() {
        let epoll = epoll();
        let mut table = Table::new(&epoll);
        let (_peer, token) = connect(&mut table);
        for _ in 0..3 {
            set(&mut table, token, Phase::Queued);
            set(&mut table, token, Phase::Queued);
            assert_eq!(table.take_queued(), [token]);
        }
        set(&mut table, token, Phase::Receiving);
        assert!(!table.has_queued());
    }

    #[test]
    fn a_large_request_has_one_turn_even_if_its_key_was_queued_for_an_earlier_connection() {
        let epoll = epoll();
        let mut table = Table::new(&epoll);
        let (_peer, first) = connect(&mut table);
        set(&mut table, first, Phase::Queued);
        set(&mut table, first, Phase::Closed);
        let (_peer, second) = connect(&mut table);
        assert_eq!(first.key(), second.key());
        let deferred = || Phase::Deferred { muted: false, since: Instant::now() };
        set(&mut table, second, deferred());
        table.take_queued();
        set(&mut table, second, deferred());
        assert_eq!((table.take_deferred(), table.take_deferred()), (Some(second), None));
    }

    #[test]
    fn a_muted_connection_wakes_the_worker_again_only_once_it_receives() {
        let epoll = epoll();
        let mut table = Table::new(&epoll);
        let (mut peer, token) = connect(&mut table);
        set(&mut table, token, Phase::Receiving);
        peer.write_all(b"more").unwrap();
        assert_eq!(events(&table, 1000), [token]);
        set(&mut table, token, Phase::Committing { muted: true });
        assert_eq!(events(&table, 20), []);
        set(&mut table, token, Phase::Receiving);
        assert_eq!(events(&table, 1000), [token]);
    }
}
