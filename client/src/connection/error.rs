//! Errors of a connection, one variant per consequence for the request on it.

use std::io;
use std::time::Duration;

use conventions::duration::GoDuration;
use lottery::protocol::{Denied, ProtocolError};

/// Failure of a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The central's name could not be resolved. Nothing was sent.
    #[error("cannot resolve the name: {0}")]
    Unresolved(io::Error),
    /// The connection could not be established. Nothing was sent.
    #[error("{0}")]
    NotConnected(io::Error),
    /// The connection was not established in time. Nothing was sent.
    #[error("no connection within {}", GoDuration(*.0))]
    ConnectTimedOut(Duration),
    /// The connection that was kept after an earlier request is unusable. Nothing was sent.
    #[error("the kept connection cannot be reused: the central {0}")]
    Stale(&'static str),
    /// The connection failed while the request was being sent or the reply was awaited.
    #[error("the connection was lost: {source}")]
    Lost {
        /// Bytes of the request that were written to the socket before.
        sent: usize,
        /// The system's error.
        source: io::Error,
    },
    /// The central closed the connection before its reply was complete.
    #[error(
        "the central closed the connection before its reply was complete ({received} bytes received)"
    )]
    Closed {
        /// Bytes of the reply that arrived.
        received: usize,
    },
    /// The reply was not complete in time.
    #[error("no complete reply within {} ({received} bytes received)", GoDuration(*.limit))]
    ReplyTimedOut {
        /// The limit that passed.
        limit: Duration,
        /// Bytes of the reply that arrived.
        received: usize,
    },
    /// The reply is longer than any reply to such a request.
    #[error("the reply is longer than {max} bytes")]
    ReplyTooLong {
        /// Largest accepted reply in bytes.
        max: usize,
    },
    /// The reply is not valid in the dialect.
    #[error("invalid reply: {0}")]
    Protocol(#[from] ProtocolError),
    /// The central answered with an error that says what to do.
    #[error("the central answers: {}", .0.reason)]
    Denied(Denied),
    /// A signal asked the program to stop.
    #[error("stopped by a signal")]
    Stopped,
}
