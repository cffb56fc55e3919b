//! What can go wrong with a connection, told apart by what it means for the request on it.

use std::io;
use std::time::Duration;

use conventions::duration::GoDuration;
use lottery::protocol::ProtocolError;

/// What went wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The name of the central has no address.
    #[error("the name cannot be resolved: {0}")]
    Unresolved(io::Error),
    /// The connection was not made: nothing was sent.
    #[error("{0}")]
    NotConnected(io::Error),
    /// The connection was not made in time: nothing was sent.
    #[error("no connection within {}", GoDuration(*.0))]
    ConnectTimedOut(Duration),
    /// The connection was kept after an earlier request and turned out to be of no more use: nothing was sent.
    #[error("the kept connection is of no more use: the central {0}")]
    Stale(&'static str),
    /// The connection failed while the request was sent or the reply awaited.
    #[error("the connection was lost: {source}")]
    Lost {
        /// Bytes of the request that were handed to the system before.
        sent: usize,
        /// What the system says.
        source: io::Error,
    },
    /// The central closed the connection before its reply was whole.
    #[error(
        "the central closed the connection before its reply was whole ({received} bytes of it came)"
    )]
    Closed {
        /// Bytes of the reply that came.
        received: usize,
    },
    /// The reply was not whole in time.
    #[error("no whole reply within {} ({received} bytes of it came)", GoDuration(*.limit))]
    ReplyTimedOut {
        /// The limit that passed.
        limit: Duration,
        /// Bytes of the reply that came.
        received: usize,
    },
    /// The reply is longer than any reply to such a request.
    #[error("the reply has more than {most} bytes")]
    ReplyTooLong {
        /// Most bytes that it may have.
        most: usize,
    },
    /// The reply is no reply of the dialect.
    #[error("the reply is not understood: {0}")]
    Protocol(#[from] ProtocolError),
    /// A signal asked to stop.
    #[error("stopped by a signal")]
    Stopped,
}
