//! The kinds of request, which decide what may be retried, and the errors of a request.

use std::time::Duration;

use conventions::duration::GoDuration;
use lottery::protocol::{MAX_PACKET_BYTES, MAX_REQUEST_BYTES};

use crate::connection::{ConnectionError, OnSignal};

/// Kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Stores bets. Not idempotent: sent twice, the bets could be stored twice.
    Store,
    /// Reports that all bets are sent. Idempotent.
    Notify,
    /// Asks for the winners. Idempotent.
    Query,
    /// Sends a message to be echoed. Not retried, because a lost message is the failure that the
    /// echo exercise looks for.
    Echo,
}

impl Request {
    /// Returns true if it may be sent again although the central may have processed it already.
    pub(super) fn is_idempotent(self) -> bool {
        match self {
            Self::Notify | Self::Query => true,
            Self::Store | Self::Echo => false,
        }
    }

    /// Returns what a signal does to the request after it has been sent.
    pub(super) fn on_signal(self) -> OnSignal {
        match self {
            Self::Store => OnSignal::Finish,
            Self::Notify | Self::Query | Self::Echo => OnSignal::Abandon,
        }
    }

    /// Returns the largest accepted reply in bytes.
    ///
    /// The reply to a batch repeats at most its bets, so it is no longer than a packet. An answer
    /// with winners has no such bound: its limit only keeps a peer from filling the memory.
    pub(super) fn max_reply_bytes(self) -> usize {
        match self {
            Self::Query => MAX_REQUEST_BYTES,
            Self::Store | Self::Notify | Self::Echo => MAX_PACKET_BYTES,
        }
    }
}

/// Why a request has no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// Every attempt failed until the retry limit passed. A request that is not idempotent was not
    /// sent.
    #[error("{address} cannot be reached (attempts: {attempts}, within {}): {source}", GoDuration(*.limit))]
    Unreachable {
        /// The central's address.
        address: String,
        /// Number of failed attempts.
        attempts: u32,
        /// Time limit for retries, counted from the first failure.
        limit: Duration,
        /// The last failure.
        source: ConnectionError,
    },
    /// The request was sent at least in part, and its result is unknown.
    #[error(transparent)]
    Unanswered(ConnectionError),
    /// A signal arrived before the request was sent, or while an idempotent one was unanswered.
    #[error("stopped by a signal")]
    Stopped,
}
