//! Why a central could not start, or ended by itself.

use multiprocessing::{PoolError, SegmentError};
use nix::errno::Errno;

use crate::central::Fatal;
use crate::engine::EngineError;
use crate::listener::ListenError;
use crate::storage::StorageError;

/// Why a central could not start, or exited without being asked to stop.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The storage cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The engine cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The shared memory cannot be created.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// Shared memory and storage could not be reconciled.
    #[error(transparent)]
    Central(#[from] Fatal),
    /// The pool of workers cannot run.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// An eventfd that wakes workers cannot be created.
    #[error("event descriptor: {0}")]
    System(#[from] Errno),
    /// The port does not form a valid segment name. This cannot happen.
    #[error(transparent)]
    Name(#[from] multiprocessing::InvalidName),
}
