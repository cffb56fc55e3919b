//! Why the storage cannot be used any more, as the shared state records it for all processes.

use std::fmt;

use super::{Fatal, Shared};
use crate::storage::{Lost, StorageError};

/// Why the storage cannot be used any more. Nothing is acknowledged after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageFailure(u8);

/// Code of a failed sync.
const NOT_DURABLE: u8 = 1;
/// Code of the first of [`Lost::NAMES`].
const FIRST_NAME: u8 = 2;
/// Code of the segment, whose name is in `/dev/shm`.
const SEGMENT: u8 = FIRST_NAME + Lost::NAMES.len() as u8;

impl fmt::Display for StorageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SEGMENT => f.write_str("another program deleted or replaced the shared memory"),
            code @ FIRST_NAME..SEGMENT => {
                let name = Lost::NAMES[usize::from(code - FIRST_NAME)];
                write!(f, "another program deleted, replaced or shortened {name} of the storage")
            }
            _ => f.write_str(
                "the storage failed to become durable; restart the central to recover it",
            ),
        }
    }
}

impl Shared {
    /// Returns why the storage cannot be used any more, or `None` if it can.
    pub fn storage_failure(&self) -> Option<StorageFailure> {
        let code = self.storage_failed.load();
        (code != 0).then_some(StorageFailure(code))
    }

    /// Records for all processes that the storage cannot be used, if this error says so. Returns
    /// the error. A later sync would succeed although data is lost.
    pub(super) fn note_failure(&self, error: Fatal) -> Fatal {
        let code = match &error {
            Fatal::Storage(StorageError::NotDurable { .. }) => NOT_DURABLE,
            Fatal::Storage(StorageError::Lost(lost)) => {
                let name = Lost::NAMES.iter().position(|name| *name == lost.name);
                FIRST_NAME + name.unwrap_or(0) as u8
            }
            Fatal::NoSegmentEntry { .. } => SEGMENT,
            _ => return error,
        };
        self.storage_failed.store(code);
        error
    }
}
