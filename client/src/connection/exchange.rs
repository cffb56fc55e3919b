//! One request and its reply on their way: how far they have come and how long they may still take.

use std::io;
use std::time::{Duration, Instant};

use super::ConnectionError;
use crate::stop::{FINISH_LIMIT, Heed};

/// What a signal does to an exchange that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSignal {
    /// The reply is awaited a little longer ([`FINISH_LIMIT`]): without it nobody knows whether the request was carried out.
    Finish,
    /// It is given up: nothing is lost with it.
    Abandon,
}

/// What an exchange may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How long it may take, counted from the first byte of the request.
    pub(crate) limit: Duration,
    /// The reply may let itself be waited for without limit; only once it has begun, the rest of it has to come within `limit`.
    pub(crate) waits: bool,
    /// Most bytes of the reply: reading on would let a peer fill the memory.
    pub(crate) reply_bytes: usize,
    /// What a signal does.
    pub(crate) on_signal: OnSignal,
}

/// The state of an exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Bytes handed to the system, those before the request included.
    pub(super) sent: usize,
    /// Bytes that go before the request and are not of it.
    opening: usize,
    /// Bytes of the reply that came.
    received: usize,
    /// The limit that `deadline` was made from, for the message when it passes.
    limit: Duration,
    /// When the exchange has failed; `None` while it may take any time.
    pub(super) deadline: Option<Instant>,
    /// What a signal does.
    pub(super) on_signal: OnSignal,
    /// Whether a signal is still news.
    pub(super) heed: Heed,
}

impl Exchange {
    /// One that begins now, with so many bytes before its request.
    pub(super) fn new(terms: Terms, opening: usize) -> Self {
        let Terms { limit, on_signal, .. } = terms;
        let deadline = Some(Instant::now() + limit);
        Self { sent: 0, opening, received: 0, limit, deadline, on_signal, heed: Heed::Signals }
    }

    /// From now on it may take any time, until the reply begins.
    pub(super) fn wait(&mut self) {
        self.deadline = None;
    }

    /// So many bytes of the reply have come.
    pub(super) fn receive(&mut self, received: usize) {
        self.received = received;
        self.deadline.get_or_insert_with(|| Instant::now() + self.limit);
    }

    /// Takes notice of a signal: the exchange may go on, but not for long.
    pub(super) fn hurry(&mut self) {
        let last = Instant::now() + FINISH_LIMIT;
        if self.deadline.is_none_or(|deadline| last < deadline) {
            (self.limit, self.deadline) = (FINISH_LIMIT, Some(last));
        }
        self.heed = Heed::Nothing;
    }

    /// The error for a connection that failed now.
    pub(super) fn lost(&self, source: io::Error) -> ConnectionError {
        ConnectionError::Lost { sent: self.sent.saturating_sub(self.opening), source }
    }

    /// The error for a deadline that passed.
    pub(super) fn timed_out(&self) -> ConnectionError {
        ConnectionError::ReplyTimedOut { limit: self.limit, received: self.received }
    }
}
