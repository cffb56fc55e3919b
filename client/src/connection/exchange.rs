//! Progress and deadline of one request and its reply.

use std::io;
use std::time::{Duration, Instant};

use super::ConnectionError;
use crate::stop::{FINISH_LIMIT, Interrupt};

/// Effect of a signal on an exchange that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSignal {
    /// The exchange may continue for [`FINISH_LIMIT`]. Without the reply, the agency could not
    /// report what happened to the batch.
    Finish,
    /// The exchange ends at once, because its reply is not needed.
    Abandon,
}

/// Limits of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExchangeOptions {
    /// Time limit, counted from the first byte of the request.
    pub(crate) reply_timeout: Duration,
    /// True if the reply may begin at any time. Once it has begun, it must be complete within
    /// `reply_timeout`.
    pub(crate) waits_for_draw: bool,
    /// Largest accepted reply in bytes; without a limit a peer could fill the memory.
    pub(crate) max_reply_bytes: usize,
    /// Effect of a signal.
    pub(crate) on_signal: OnSignal,
}

/// State of an exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Bytes written to the socket, including the greeting.
    pub(super) sent: usize,
    /// Length of the greeting in bytes, which is not part of the request.
    greeting: usize,
    /// Bytes of the reply that have arrived.
    received: usize,
    /// Time limit behind `deadline`, for the error text.
    limit: Duration,
    /// Time at which the exchange fails; `None` while it has no limit.
    pub(super) deadline: Option<Instant>,
    /// Effect of a signal.
    pub(super) on_signal: OnSignal,
    /// Effect of a signal on the waits: the first signal shortens the deadline, and from then on
    /// signals must not end every wait at once.
    pub(super) interrupt: Interrupt,
}

impl Exchange {
    /// Starts an exchange now, with `greeting` bytes before its request.
    pub(super) fn new(options: ExchangeOptions, greeting: usize) -> Self {
        let ExchangeOptions { reply_timeout: limit, on_signal, .. } = options;
        let deadline = Some(Instant::now() + limit);
        let interrupt = Interrupt::OnSignal;
        Self { sent: 0, greeting, received: 0, limit, deadline, on_signal, interrupt }
    }

    /// Removes the deadline until the reply begins.
    pub(super) fn clear_deadline(&mut self) {
        self.deadline = None;
    }

    /// Records the length of the reply so far. Sets a deadline if there is none.
    pub(super) fn set_received(&mut self, received: usize) {
        self.received = received;
        self.deadline.get_or_insert_with(|| Instant::now() + self.limit);
    }

    /// Limits the rest of the exchange to [`FINISH_LIMIT`] after a signal.
    pub(super) fn shorten_deadline(&mut self) {
        let last = Instant::now() + FINISH_LIMIT;
        if self.deadline.is_none_or(|deadline| last < deadline) {
            (self.limit, self.deadline) = (FINISH_LIMIT, Some(last));
        }
        self.interrupt = Interrupt::Never;
    }

    /// Returns the error for a connection that has failed.
    pub(super) fn lost(&self, source: io::Error) -> ConnectionError {
        ConnectionError::Lost { sent: self.sent.saturating_sub(self.greeting), source }
    }

    /// Returns the error for a deadline that has passed.
    pub(super) fn timed_out(&self) -> ConnectionError {
        ConnectionError::ReplyTimedOut { limit: self.limit, received: self.received }
    }
}
