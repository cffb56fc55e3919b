//! Errors of the central, one type per severity.

use std::io;
use std::net::IpAddr;

use lottery::protocol::{Denial, Unencodable};
use multiprocessing::{LockFailure, SegmentName};

use super::StorageFailure;
use super::locks::Busy;
use crate::engine::EngineError;
use crate::storage::{FileError, KeyRefused, StorageError};

/// Why one request, or one attempt at the draw, failed. Nothing of it is stored, and the central
/// continues.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The draw has been held.
    #[error(
        "the bets are closed: every expected agency has finished; a new lottery needs another \
         SERVER_STORAGE_DIR, or another SERVER_LOTTERY in a database"
    )]
    Drawn,
    /// Every expected agency has finished, and the draw has not been held yet.
    #[error(
        "the bets are closed: every expected agency has finished; until the draw is held, \
         `loteria-central draw --reopen` opens them again"
    )]
    Closed,
    /// The result of the draw cannot be read.
    #[error("the winners of agency {agency} cannot be read: {source}")]
    Draw {
        /// The agency that asked for its winners.
        agency: u16,
        /// The reason.
        source: io::Error,
    },
    /// The roster has no agency with the address of the peer.
    #[error(
        "{address} belongs to no agency's network; add its network to the roster (SERVER_ROSTER)"
    )]
    Stranger {
        /// Address of the peer.
        address: IpAddr,
    },
    /// The roster does not have the agency.
    #[error("agency {agency} is not in the roster (SERVER_ROSTER)")]
    NotInRoster {
        /// The agency.
        agency: u16,
    },
    /// The address of the peer belongs to another agency.
    #[error(
        "agency {agency} may not speak from {address}; the roster (SERVER_ROSTER) gives it other \
         networks"
    )]
    OtherNetwork {
        /// The agency that the request speaks for.
        agency: u16,
        /// Address of the peer.
        address: IpAddr,
    },
    /// An enabled dialect could not answer the agency if this bet won.
    #[error(
        "record {record}: the document {document:?} does not fit the answer of {dialect}, which \
         this central speaks: {source}"
    )]
    Unanswerable {
        /// Position in the batch, from 1.
        record: usize,
        /// The document.
        document: String,
        /// Name of the dialect.
        dialect: &'static str,
        /// Why the dialect cannot encode the document.
        source: Unencodable,
    },
    /// The batch could not be written as rows.
    #[error("not stored: {0}")]
    Rows(#[from] csv::Error),
    /// The key of the batch does not continue its session.
    #[error(transparent)]
    Key(#[from] KeyRefused),
    /// A living process holds a lock and does not release it.
    #[error(transparent)]
    Busy(#[from] Busy),
}

impl Rejected {
    /// Returns the reason as far as a dialect can express it.
    pub fn denial(&self) -> Denial {
        match self {
            Self::File(_) | Self::Draw { .. } | Self::Busy(_) => Denial::Unavailable,
            Self::Drawn | Self::Closed => Denial::Closed,
            Self::Stranger { .. } | Self::NotInRoster { .. } | Self::OtherNetwork { .. } => {
                Denial::NotPermitted
            }
            Self::Unanswerable { .. } | Self::Rows(_) => Denial::Unacceptable,
            Self::Key(KeyRefused::Sequence { expected, .. }) => {
                Denial::Sequence { expected: *expected }
            }
            Self::Key(KeyRefused::OtherContent { .. }) => Denial::OtherContent,
            Self::Key(KeyRefused::OtherAgency { .. }) => Denial::OtherAgency,
            Self::Key(KeyRefused::NoRoom { .. }) => Denial::NoRoom,
        }
    }
}

/// Why the process must exit: it can no longer rely on the storage or the shared memory.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The storage is damaged, or what it holds is unknown.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Some process has found that the storage cannot be used any more.
    #[error("{0}")]
    Failed(StorageFailure),
    /// The entry of the shared memory does not lead to it any more.
    #[error(
        "another program deleted or replaced /dev/shm/{name}, so no command finds this central; \
         start the central again"
    )]
    NoSegmentEntry {
        /// Name of the segment.
        name: SegmentName,
    },
    /// The engine cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A lock cannot be taken.
    #[error("shared memory: {0}")]
    Lock(#[from] LockFailure),
    /// A living process holds a lock and does not release it.
    #[error(transparent)]
    Busy(#[from] Busy),
}

impl From<FileError> for Fatal {
    fn from(error: FileError) -> Self {
        Self::Storage(error.into())
    }
}

/// Why the supervisor could not repair what a dead worker left.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// A living process holds a lock and does not release it. The repair can be retried.
    #[error("shared memory: {0}")]
    Busy(#[from] Busy),
    /// The engine cannot be reached.
    #[error("the engine: {0}")]
    Engine(String),
    /// A retry does not help.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}
