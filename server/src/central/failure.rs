//! Recording in the shared state that the storage cannot be used any more.

use central_view::StorageFailure;

use super::{Fatal, Shared};
use crate::storage::StorageError;

impl Shared {
    /// Returns why the storage cannot be used any more, or `None` if it can.
    pub fn storage_failure(&self) -> Option<StorageFailure> {
        StorageFailure::of(self.storage_failed.load())
    }

    /// Records for all processes that the storage cannot be used, if this error says so. Returns
    /// the error. A later sync would succeed although data is lost.
    pub(super) fn note_failure(&self, error: Fatal) -> Fatal {
        let failure = match &error {
            Fatal::Storage(StorageError::NotDurable { .. }) => StorageFailure::NOT_DURABLE,
            Fatal::Storage(StorageError::Lost(lost)) => StorageFailure::lost(lost.name),
            Fatal::NoSegmentEntry { .. } => StorageFailure::SEGMENT,
            _ => return error,
        };
        self.storage_failed.store(failure.code());
        error
    }
}
