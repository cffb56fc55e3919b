//! The sessions of batches with keys, as the protocol requires them.

use std::collections::HashMap;

use lottery::BatchKey;
use lottery::protocol::Denial;

/// The last batch of each session.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<[u8; 16], BatchKey>);

impl Sessions {
    /// Returns true if the batch is the next one of its session, and false if it repeats the last
    /// one.
    ///
    /// # Errors
    /// Why the batch is refused.
    pub(super) fn is_next(&self, key: BatchKey) -> Result<bool, Denial> {
        let expected = self.next(key.session, key.agency)?;
        match self.0.get(&key.session) {
            Some(last) if key == *last => Ok(false),
            Some(last) if key.sequence == last.sequence => Err(Denial::OtherContent),
            _ if key.sequence == expected => Ok(true),
            _ => Err(Denial::Sequence { expected }),
        }
    }

    /// Returns the number of the next batch of a session.
    pub(super) fn next(&self, session: [u8; 16], agency: u16) -> Result<u64, Denial> {
        match self.0.get(&session) {
            Some(last) if last.agency != agency => Err(Denial::OtherAgency),
            last => Ok(last.map_or(1, |last| last.sequence.saturating_add(1))),
        }
    }

    /// Makes a stored batch the last one of its session.
    pub(super) fn accept(&mut self, key: BatchKey) {
        self.0.insert(key.session, key);
    }
}
