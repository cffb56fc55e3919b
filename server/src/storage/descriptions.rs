//! The open file descriptions of a process: a worker opens the files of the storage again.
//!
//! The kernel reports a page that it could not write once per open file description, to the first
//! sync. Processes that share a description could hide the failure from each other: one that dies
//! or is delayed keeps it to itself, while the sync of another one succeeds.

use super::sessions::Sessions;
use super::{Durability, Storage, StorageError};

impl Storage {
    /// Replaces the descriptions that this process has inherited by its own, so that each of its
    /// syncs reports every earlier failure, whichever process saw that first. Fails if a name leads
    /// to another file, or if a page was lost before.
    pub fn open_again(&mut self) -> Result<(), StorageError> {
        let files = &mut self.files;
        let always = [
            &mut files.bets,
            &mut files.winners,
            files.index.file_mut(),
            files.finished.file_mut(),
            files.checkpoints.file_mut(),
            self.journal.file_mut(),
        ];
        let sessions = files.sessions.as_mut().map(Sessions::file_mut);
        for file in always.into_iter().chain(sessions) {
            let inherited = file.open_again()?;
            if self.run.durability == Durability::Disk {
                // A new description does not report what a process saw before it was opened. The
                // inherited one is from the start of the central.
                inherited.sync()?;
            }
        }
        Ok(())
    }
}
