//! What is asked of the central, as far as failing and repeating are concerned, and why there was no reply.

use std::time::Duration;

use conventions::duration::GoDuration;
use lottery::protocol::{MAX_PACKET_BYTES, MAX_REQUEST_BYTES};

use crate::connection::{ConnectionError, OnSignal};

/// What a request does to the central.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// It stores bets: to send it twice could store them twice.
    Store,
    /// It says that all bets are sent, which may be said again.
    Notify,
    /// It asks for the winners, which may be asked again.
    Ask,
    /// It says something to hear it again. To lose it does no harm, but is what its sender wants to know.
    Say,
}

impl Request {
    /// Whether it may be sent again when nobody knows whether it was carried out.
    pub(super) fn is_repeatable(self) -> bool {
        match self {
            Self::Notify | Self::Ask => true,
            Self::Store | Self::Say => false,
        }
    }

    /// What a signal does to it when it has been sent.
    pub(super) fn on_signal(self) -> OnSignal {
        match self {
            Self::Store => OnSignal::Finish,
            Self::Notify | Self::Ask | Self::Say => OnSignal::Abandon,
        }
    }

    /// Most bytes of its reply. The reply to a batch repeats at most its bets, so it is no longer than the batch. The winners of
    /// an agency are as many as they are: there the limit only keeps a peer from filling the memory.
    pub(super) fn reply_bytes(self) -> usize {
        match self {
            Self::Ask => MAX_REQUEST_BYTES,
            Self::Store | Self::Notify | Self::Say => MAX_PACKET_BYTES,
        }
    }
}

/// Why a request got no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// Nothing was sent in the end, although it was tried for as long as allowed.
    #[error("{address} cannot be reached (attempts: {attempts}, within {}): {source}", GoDuration(*.limit))]
    Unreachable {
        /// The central's address.
        address: String,
        /// Attempts that failed.
        attempts: u32,
        /// For how long a failure is followed by another attempt.
        limit: Duration,
        /// What went wrong last.
        source: ConnectionError,
    },
    /// The request was sent, at least in part, and what became of it is not known.
    #[error(transparent)]
    Unanswered(ConnectionError),
    /// A signal came; nothing was sent, or nothing that matters.
    #[error("stopped by a signal")]
    Stopped,
}
