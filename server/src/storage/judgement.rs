//! The judgement of keyed batches: which of them are stored already, and which may not be stored.

use std::collections::HashMap;

use lottery::BatchKey;

use super::group::Batch;
use super::sessions::MAX_SESSIONS;
use super::{Batches, FileError, Storage};

/// What the storage knows about a batch before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It has no key, or is the next one of its session.
    New,
    /// It is the last one of its session and already stored. It may not be durable yet.
    Repeated,
    /// It may not be stored.
    Refused(KeyRefused),
}

/// Why a batch with a key may not be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// It is neither the last nor the next one of its session.
    #[error("batch {found} is not the next one of its session: send batch {expected}")]
    Sequence {
        /// Its number.
        found: u64,
        /// The next number of the session.
        expected: u64,
    },
    /// The batch with this number is stored with other bets.
    #[error(
        "batch {sequence} of the session is already stored with other bets: send new bets with \
         the next number"
    )]
    OtherContent {
        /// The number.
        sequence: u64,
    },
    /// The session has begun with another agency.
    #[error(
        "the session belongs to agency {expected}, not to agency {found}: begin a session of its \
         own"
    )]
    OtherAgency {
        /// The agency of the batch.
        found: u16,
        /// The agency of the session.
        expected: u16,
    },
    /// No more sessions can begin.
    #[error(
        "the storage has no room for another session, {limit} are the limit: go on with an \
         earlier session"
    )]
    NoRoom {
        /// Largest number of sessions.
        limit: usize,
    },
}

impl Storage {
    /// Judges the batches of a group, in order, as if each that is [`Judgement::New`] were stored
    /// before the next one is judged. The caller holds the ledger's lock.
    ///
    /// If one of them is then not stored, later batches of its session must be judged again.
    pub fn judge(&self, batches: Batches<'_>) -> Result<Vec<Judgement>, FileError> {
        let mut stored = HashMap::new();
        let mut begun = 0;
        let judge = |batch: Batch<'_>| {
            let Some(key) = batch.key else { return Ok(Judgement::New) };
            let sessions = self.files.sessions()?;
            let last = match stored.get(&key.session) {
                Some(last) => Some(*last),
                None => sessions.live.last(&key.session)?,
            };
            let judgement = match last {
                Some(last) => compare(&key, &last),
                None if key.sequence != 1 => refused_sequence(&key, 1),
                None if sessions.live.sum().count + begun >= MAX_SESSIONS as u64 => {
                    Judgement::Refused(KeyRefused::NoRoom { limit: MAX_SESSIONS })
                }
                None => {
                    begun += 1;
                    Judgement::New
                }
            };
            if judgement == Judgement::New {
                stored.insert(key.session, key);
            }
            Ok(judgement)
        };
        batches.iter().map(judge).collect()
    }
}

impl Storage {
    /// Returns the number of the next batch of a session; 1 if the session has not begun. The
    /// caller holds the ledger's lock. The batches before it may not be durable yet.
    pub fn next_sequence(
        &self,
        session: &[u8; 16],
        agency: u16,
    ) -> Result<Result<u64, KeyRefused>, FileError> {
        Ok(match self.files.sessions()?.live.last(session)? {
            None => Ok(1),
            Some(last) if last.agency != agency => {
                Err(KeyRefused::OtherAgency { found: agency, expected: last.agency })
            }
            Some(last) => Ok(last.sequence.saturating_add(1)),
        })
    }
}

/// Judges a batch of a session whose last batch is known.
fn compare(key: &BatchKey, last: &BatchKey) -> Judgement {
    if key.agency != last.agency {
        let (found, expected) = (key.agency, last.agency);
        return Judgement::Refused(KeyRefused::OtherAgency { found, expected });
    }
    let next = last.sequence.saturating_add(1);
    match key.sequence {
        sequence if sequence == next => Judgement::New,
        sequence if sequence != last.sequence => refused_sequence(key, next),
        _ if key.content == last.content => Judgement::Repeated,
        sequence => Judgement::Refused(KeyRefused::OtherContent { sequence }),
    }
}

fn refused_sequence(key: &BatchKey, expected: u64) -> Judgement {
    Judgement::Refused(KeyRefused::Sequence { found: key.sequence, expected })
}
