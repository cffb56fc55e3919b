//! What a worker does with one connection when it is ready: reads and decodes requests, sends
//! replies, closes.

use std::net::SocketAddr;
use std::time::Instant;

use conventions::log_line::{Outcome, debug, error};
use lottery::protocol::Then;

use super::answers::ReplyBytes;
use super::connection::{Connection, Phase, Read, Sent};
use super::large::LARGE_BYTES;
use super::log_budget::Subject;
use super::other_dialect::other_dialect;
use super::pace::{Mark, Pace};
use super::request::{Origin, RequestOutcome, Requests, answer};
use super::round::{Answerable, Pending, Ticket};
use super::store::Store;
use super::{LAST_CHANCE, READ_BYTES};
use crate::central::Fatal;

/// The way out if a dialect cannot encode the winners of an agency.
const OTHER_DIALECTS: &str = "close without an answer; line and framed have no such limit: add one \
                              to SERVER_PROTOCOL and restart, or read draw.csv";
/// Reads in a slice of a large request.
const SLICE_READS: usize = 4;

/// Handles the connections of a worker, one at a time.
pub struct Handler<'a, S: Store> {
    /// The path of a request.
    pub requests: Requests<'a, S>,
    /// When draining ends; `None` while serving.
    pub draining: Option<Instant>,
    /// Buffer for reads, shared by all connections.
    scratch: Box<[u8]>,
}

impl<'a, S: Store> Handler<'a, S> {
    /// Returns a handler that is not draining.
    pub fn new(requests: Requests<'a, S>) -> Self {
        Self { requests, draining: None, scratch: vec![0; READ_BYTES].into_boxed_slice() }
    }

    /// Advances a connection as far as possible without blocking.
    pub fn advance(&mut self, connection: &mut Connection) -> Result<(), Fatal> {
        match &mut connection.phase {
            Phase::Receiving | Phase::Queued => return self.receive(connection),
            Phase::Answering { .. } => return self.send(connection),
            Phase::Lingering { .. } => {
                if connection.discard(&mut self.scratch) {
                    self.finish(connection);
                }
            }
            Phase::Waiting { .. } => {
                // In this phase epoll reports only that the peer has closed.
                debug("consulta_ganadores", Outcome::Fail)
                    .with("error", "the agency left before the draw")
                    .write();
                self.finish(connection);
            }
            Phase::Committing { muted } | Phase::Deferred { muted, .. } => *muted = true,
            Phase::Held | Phase::Closed => {}
        }
        Ok(())
    }

    /// Decodes the next request of a queued connection, unless an event of this round has done so.
    pub fn advance_queued(&mut self, connection: &mut Connection) -> Result<(), Fatal> {
        match connection.phase {
            Phase::Queued | Phase::Held => self.receive(connection),
            _ => Ok(()),
        }
    }

    /// Ends a connection after epoll has reported an error.
    pub fn reset(&mut self, connection: &mut Connection) -> Result<(), Fatal> {
        match connection.phase {
            Phase::Waiting { .. } => return self.advance(connection),
            // The peer connected and left without sending anything.
            _ if connection.is_idle() => self.finish(connection),
            _ => self.close(connection, "reset by peer"),
        }
        Ok(())
    }

    /// Answers a ticket of a connection.
    pub fn answer(
        &mut self,
        connection: &mut Connection,
        answerable: Answerable,
    ) -> Result<(), Fatal> {
        if matches!(answerable, (Ticket { request: Pending::Finish, .. }, Ok(_))) {
            connection.finished = true;
        }
        let outcome = answer(answerable, &mut *connection.codec);
        self.apply(connection, outcome)
    }

    fn receive(&mut self, connection: &mut Connection) -> Result<(), Fatal> {
        if S::is_held(&self.requests) {
            connection.phase = Phase::Held;
            return Ok(());
        }
        connection.phase = Phase::Receiving;
        // The bytes of an earlier read come first.
        let mut outcome = match connection.buffer.is_empty() {
            true => RequestOutcome::Incomplete,
            false => self.decode(connection, 0, false)?,
        };
        while let RequestOutcome::Incomplete = outcome {
            if connection.buffer.len() >= LARGE_BYTES {
                connection.phase = Phase::Deferred { muted: false, since: Instant::now() };
                return Ok(());
            }
            outcome = match self.read(connection, LARGE_BYTES)? {
                Some(outcome) => outcome,
                None => return Ok(()),
            };
        }
        self.apply(connection, outcome)
    }

    /// Reads the next slice of a large request.
    pub fn receive_large(&mut self, connection: &mut Connection) -> Result<(), Fatal> {
        let Phase::Deferred { since, .. } = connection.phase else { return Ok(()) };
        connection.phase = Phase::Receiving;
        let waited = since.elapsed();
        for read in 0..SLICE_READS {
            let Some(outcome) = self.read(connection, READ_BYTES)? else {
                // Judged here too: each byte that arrives makes it wait for its turn again.
                let window = self.requests.limits.stall_time;
                if connection.mark != Mark::None && connection.pace.is_over(window, Instant::now())
                {
                    self.judge_pace(connection)?;
                }
                return Ok(());
            };
            if read == 0 {
                // The client was not slower than its turns, so the wait is not part of its time. A
                // client that sends a few bytes per turn must not gain time from each of them.
                connection.deadline =
                    connection.deadline.and_then(|deadline| deadline.checked_add(waited));
            }
            if !matches!(outcome, RequestOutcome::Incomplete) {
                return self.apply(connection, outcome);
            }
        }
        let now = Instant::now();
        connection.pace = Pace::new(now);
        connection.phase = Phase::Deferred { muted: false, since: now };
        Ok(())
    }

    /// Reads at most `most` bytes once, and decodes. Returns `None` if the request is incomplete
    /// and nothing more has arrived, or if the connection is closed.
    fn read(
        &mut self,
        connection: &mut Connection,
        most: usize,
    ) -> Result<Option<RequestOutcome>, Fatal> {
        match connection.read(&mut self.scratch[..most]) {
            Read::Blocked => return Ok(None),
            Read::Ended | Read::Broken(_) if connection.is_idle() => {
                // The peer connected and left without sending anything.
                self.finish(connection);
            }
            Read::Ended => match self.decode(connection, 0, true)? {
                RequestOutcome::Incomplete => {
                    self.close(connection, "closed before the end of its request");
                }
                outcome => return Ok(Some(outcome)),
            },
            Read::Broken(errno) => self.close(connection, errno.desc()),
            Read::Bytes(read) => {
                let outcome = self.decode(connection, read, false)?;
                // A short read has emptied the socket. Another read would only cost a system call.
                if read == most || !matches!(outcome, RequestOutcome::Incomplete) {
                    return Ok(Some(outcome));
                }
            }
        }
        Ok(None)
    }

    /// Decodes the connection's bytes, the last `read` of which are in the scratch buffer, and
    /// starts the first request among them. `ended` is true if no more bytes will arrive.
    fn decode(
        &mut self,
        connection: &mut Connection,
        read: usize,
        ended: bool,
    ) -> Result<RequestOutcome, Fatal> {
        let arrived = &self.scratch[..read];
        // A request that arrives whole, as most do, is never copied.
        let buffered = !connection.buffer.is_empty();
        if buffered {
            connection.buffer.extend_from_slice(arrived);
        }
        let bytes = if buffered { connection.buffer.as_slice() } else { arrived };
        let mut origin = Origin {
            connection: connection.token,
            ip: connection.peer.ip(),
            mark: connection.mark,
        };
        let codec = &mut *connection.codec;
        let (used, mut outcome) = self.requests.decode(bytes, ended, &mut origin, codec)?;
        match &mut outcome {
            RequestOutcome::Incomplete => connection.greeting.extend_from_slice(&bytes[..used]),
            RequestOutcome::Refuse { reason, .. } if !connection.has_spoken => {
                reason.push_str(&other_dialect(connection.dialect, &connection.greeting, bytes));
            }
            _ => {}
        }
        connection.has_spoken |= !matches!(outcome, RequestOutcome::Incomplete);
        let began = connection.mark == Mark::None;
        connection.mark = origin.mark;
        if matches!(outcome, RequestOutcome::Incomplete) && connection.mark != Mark::None {
            self.keep_pace(connection, began, read);
        }
        if buffered {
            connection.buffer.drain(..used);
        } else {
            connection.buffer.extend_from_slice(&arrived[used..]);
        }
        if connection.buffer.is_empty() {
            connection.buffer = Vec::new();
        }
        let is_first = match outcome {
            RequestOutcome::Incomplete => !connection.buffer.is_empty() && (!buffered || used > 0),
            _ => !buffered,
        };
        if is_first && connection.dialect.keeps_connections() && self.draining.is_none() {
            // From the first bytes of a request on, the request timeout replaces the idle timeout.
            connection.deadline = Some(Instant::now() + self.requests.limits.request_timeout);
        }
        Ok(outcome)
    }

    pub(super) fn apply(
        &mut self,
        connection: &mut Connection,
        outcome: RequestOutcome,
    ) -> Result<(), Fatal> {
        match outcome {
            RequestOutcome::Incomplete => Ok(()),
            RequestOutcome::Committing => {
                // From here on the ticket holds the mark, even if the connection closes.
                connection.mark = Mark::None;
                connection.phase = Phase::Committing { muted: false };
                Ok(())
            }
            RequestOutcome::Winners { agency } => self.answer_or_wait(connection, agency, false),
            RequestOutcome::Reply { bytes, then } => {
                self.reply(connection, ReplyBytes::Own(bytes), then, false)
            }
            RequestOutcome::Refuse { reason, bytes, then } => {
                self.release_mark(connection);
                self.log_refused(connection.peer, &reason);
                // More bytes of the refused request are probably on their way.
                self.reply(connection, ReplyBytes::Own(bytes), then, true)
            }
            RequestOutcome::Unencodable { agency, reason } => {
                if self.requests.log.allows(connection.peer.ip(), Subject::Other) {
                    let line = error("send_reply", Outcome::Fail);
                    let line = line.with("protocol", connection.dialect.name);
                    match agency {
                        None => line.with("error", reason),
                        Some(agency) => line
                            .with("agency", agency)
                            .with("error", reason)
                            .with("next", OTHER_DIALECTS),
                    }
                    .write();
                }
                self.reply(connection, ReplyBytes::Own(Vec::new()), Then::Close, true)
            }
            RequestOutcome::Close => {
                self.finish(connection);
                Ok(())
            }
        }
    }

    /// Starts to send a reply. `linger` is true if the peer may still be sending, so that closing
    /// has to wait.
    pub(super) fn reply(
        &mut self,
        connection: &mut Connection,
        reply: ReplyBytes,
        then: Then,
        linger: bool,
    ) -> Result<(), Fatal> {
        let linger = linger || !connection.buffer.is_empty();
        let now = Instant::now();
        connection.phase = Phase::Answering { reply, sent: 0, since: now, then, linger };
        let timeout = self.requests.limits.request_timeout;
        connection.deadline.get_or_insert(now + timeout);
        self.send(connection)
    }

    fn send(&mut self, connection: &mut Connection) -> Result<(), Fatal> {
        match connection.send() {
            Sent::Partly => {}
            Sent::Broken => self.close(connection, "left before its reply was sent"),
            Sent::Whole { then: Then::Continue, .. } => self.expect_next(connection),
            Sent::Whole { then: Then::Close, linger: true } => {
                connection.linger();
                return self.advance(connection);
            }
            Sent::Whole { then: Then::Close, linger: false } => self.finish(connection),
        }
        Ok(())
    }

    /// Continues with the next request of a kept connection.
    fn expect_next(&self, connection: &mut Connection) {
        let is_idle = connection.buffer.is_empty();
        connection.phase = if is_idle { Phase::Receiving } else { Phase::Queued };
        let (now, limits) = (Instant::now(), self.requests.limits);
        connection.deadline = Some(match self.draining {
            None if is_idle => now + limits.idle_timeout,
            None => now + limits.request_timeout,
            Some(end) => end.min(now + LAST_CHANCE),
        });
    }

    /// Closes a connection that is done.
    pub(super) fn finish(&self, connection: &mut Connection) {
        self.release_mark(connection);
        connection.phase = Phase::Closed;
    }

    /// Closes a connection before it is done. Logs the reason, unless this is a normal end: of a
    /// lingering connection, of an idle kept one, or of an idle or waiting one while draining.
    pub fn close(&mut self, connection: &mut Connection, reason: &str) {
        let silent = match connection.phase {
            Phase::Lingering { .. } => true,
            Phase::Waiting { .. } => self.draining.is_some(),
            _ => {
                connection.is_idle()
                    && (self.draining.is_some() || connection.dialect.keeps_connections())
            }
        };
        if !silent {
            let other = match connection.has_spoken {
                true => String::new(),
                false => {
                    other_dialect(connection.dialect, &connection.greeting, &connection.buffer)
                }
            };
            self.log_refused(connection.peer, &format!("{reason}{other}"));
        }
        self.finish(connection);
    }

    /// Counts bytes of an incomplete batch, which began with them if `began` is true. A batch whose
    /// mark has lapsed takes it again as soon as it keeps the rate.
    fn keep_pace(&self, connection: &mut Connection, began: bool, bytes: usize) {
        if began {
            connection.pace = Pace::new(Instant::now());
            return;
        }
        connection.pace.add(bytes);
        if connection.mark == Mark::Lapsed
            && connection.pace.is_kept(self.requests.limits.stall_time)
        {
            self.requests.begin(&mut connection.mark);
            connection.pace = Pace::new(Instant::now());
        }
    }

    /// Starts the next window of an incomplete batch, and releases its mark if too little has
    /// arrived in the last one.
    pub fn judge_pace(&mut self, connection: &mut Connection) -> Result<(), Fatal> {
        if !connection.pace.is_kept(self.requests.limits.stall_time) {
            self.requests.abandon(&mut connection.mark, Mark::Lapsed);
        }
        connection.pace = Pace::new(Instant::now());
        Ok(())
    }

    /// Releases the in-flight mark of a connection whose batch is not stored.
    fn release_mark(&self, connection: &mut Connection) {
        self.requests.abandon(&mut connection.mark, Mark::None);
    }

    /// Counts and logs a refused request or a connection that was closed early.
    fn log_refused(&mut self, peer: SocketAddr, reason: &str) {
        self.requests.central.shared().worker_refused.fetch_add(self.requests.slot, 1);
        if !self.requests.log.allows(peer.ip(), Subject::Other) {
            return;
        }
        error("receive_message", Outcome::Fail)
            .with("ip", peer.ip())
            .with("port", peer.port())
            .with("error", reason)
            .write();
    }
}
