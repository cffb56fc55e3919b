//! The kinds of request, which decide what may be retried, and the errors of a request.

use std::time::Duration;

use conventions::duration::GoDuration;
use lottery::protocol::{Denied, Dialect, MAX_PACKET_BYTES, MAX_REQUEST_BYTES};

use crate::connection::{ConnectionError, OnSignal};

/// Kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Stores bets. Not idempotent: sent twice, the bets could be stored twice.
    Store,
    /// Stores bets under a key. Idempotent: the central stores a key once.
    StoreOnce,
    /// Reports that all bets are sent. Idempotent.
    Notify,
    /// Asks for the winners. Idempotent.
    Query,
    /// Sends a message to be echoed. Not retried, because a lost message is the failure that the
    /// echo exercise looks for.
    Echo,
}

impl Request {
    /// Returns the request that stores bets in a dialect.
    pub(crate) fn store(dialect: &Dialect) -> Self {
        if dialect.has_keys { Self::StoreOnce } else { Self::Store }
    }

    /// Returns true if it may be sent again although the central may have processed it already.
    pub(super) fn is_idempotent(self) -> bool {
        match self {
            Self::StoreOnce | Self::Notify | Self::Query => true,
            Self::Store | Self::Echo => false,
        }
    }

    /// Returns what a signal does to the request after it has been sent.
    pub(super) fn on_signal(self) -> OnSignal {
        match self {
            Self::Store | Self::StoreOnce => OnSignal::Finish,
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
            Self::Store | Self::StoreOnce | Self::Notify | Self::Echo => MAX_PACKET_BYTES,
        }
    }
}

/// Why a request has no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// Every attempt failed until the retry limit passed.
    #[error("{addresses} {} (attempts: {attempts}, within {}): {source}", failed(.source), GoDuration(*.limit))]
    Unreachable {
        /// The central's addresses.
        addresses: String,
        /// Number of failed attempts.
        attempts: u32,
        /// Time limit for retries, counted from the first failure.
        limit: Duration,
        /// The last failure.
        source: ConnectionError,
        /// True if the central may have processed the request, which is then idempotent.
        in_doubt: bool,
    },
    /// The request was sent at least in part, and its result is unknown.
    #[error(transparent)]
    Unanswered(ConnectionError),
    /// The central answered with an error, and the same request does not succeed later.
    #[error("{}", .0.reason)]
    Denied(Denied),
    /// A signal arrived before the request was sent, or while an idempotent one was unanswered.
    #[error("stopped by a signal")]
    Stopped {
        /// True if the central may have processed the request.
        in_doubt: bool,
    },
}

/// Returns what the attempts have in common, as the predicate of a sentence.
fn failed(last: &ConnectionError) -> &'static str {
    if let ConnectionError::Denied(_) = last {
        "does not execute the request"
    } else {
        "cannot be reached"
    }
}
