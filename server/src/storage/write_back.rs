//! The write-back: rows and other files reach the disk before the checkpoint that has to sync them,
//! because a checkpoint holds up every commit.
//!
//! The kernel begins to write the rows after each piece. When a commit has nearly filled the
//! journal, its worker syncs the files early, while the other workers go on. The checkpoint does
//! not rely on that, and syncs every file itself. So a worker may be killed at any moment.

use super::journal::Journal;
use super::{Durability, Ledger, Storage, StorageError};

/// Bytes of rows that the kernel begins to write together.
pub const PIECE_BYTES: u64 = 256 * 1024;

impl Storage {
    /// Lets the kernel begin to write the rows that a commit has added, and notes if the files
    /// should be synced early. No lock is needed.
    pub fn start_writing(&mut self, before: &Ledger, after: &Ledger) {
        if self.run.durability == Durability::Process {
            return;
        }
        let [start, end] = [before, after].map(|totals| totals.rows_end / PIECE_BYTES);
        if start < end {
            self.files.bets.start_writing(start * PIECE_BYTES..end * PIECE_BYTES);
        }
        self.early_sync_due |= Journal::nears_end(before, after);
    }

    /// Syncs the files if a commit has made that due. No lock is needed. After a failure, what was
    /// committed may be lost.
    pub fn sync_early(&mut self) -> Result<(), StorageError> {
        if !std::mem::take(&mut self.early_sync_due) {
            return Ok(());
        }
        let files = &self.files;
        let (index, finished) = (files.index.file(), files.finished.file());
        // Not the sessions, which only the checkpoint writes.
        let early = [&files.bets, &files.winners, index, finished, files.checkpoints.file()];
        early.into_iter().try_for_each(|file| file.sync())
    }
}
