//! The sessions at the start of an epoch, and after the records in it.

use lottery::BatchKey;

use super::super::StorageError;
use super::super::files::{Files, inconsistent};
use super::super::journal::header::{Header, SESSIONS};
use super::super::sessions::{self, Image};

/// What to do about sessions that are missing.
const ADVICE: &str = "nothing was changed; restore it from a backup together with the other files; \
                      or move the journal away to go on without sessions, and a batch that an \
                      agency sends again may be stored twice";

impl Files {
    /// Returns the sessions at the start of the epoch that a checkpoint begins, if the storage has
    /// sessions. Fails if the file does not belong to the checkpoint.
    pub fn sessions_at(&self, start: &Header) -> Result<Option<Image>, StorageError> {
        match &self.sessions {
            Some(sessions) if start.has(SESSIONS) => sessions.at_start_of(&start.ledger).map(Some),
            // A start that was interrupted has created it.
            Some(sessions) => {
                sessions.check_blank()?;
                Ok(Some(sessions.image()?))
            }
            None if start.has(SESSIONS) => Err(self.missing_sessions()),
            None => Ok(None),
        }
    }

    /// Makes a recorded batch the last one of its session.
    pub fn advance(
        &self,
        sessions: Option<&mut Image>,
        key: BatchKey,
        epoch: u64,
    ) -> Result<(), StorageError> {
        let Some(image) = sessions else { return Err(self.missing_sessions()) };
        if image.put(key, epoch) {
            return Ok(());
        }
        let reason = format!("it has no room for the sessions in the journal; {ADVICE}");
        Err(inconsistent(&self.directory.join(sessions::FILE), reason))
    }

    fn missing_sessions(&self) -> StorageError {
        let reason = format!("there is no such file, but the journal has sessions; {ADVICE}");
        inconsistent(&self.directory.join(sessions::FILE), reason)
    }
}
