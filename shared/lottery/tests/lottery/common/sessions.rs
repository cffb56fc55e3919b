//! The sessions of a server for tests, as the protocol requires them.

use std::collections::HashMap;

use lottery::BatchKey;
use lottery::protocol::Denial;

/// The last batch of each session.
#[derive(Debug, Default)]
pub(crate) struct Sessions(HashMap<[u8; 16], BatchKey>);

/// What a server does with a batch that it does not refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Stores it: it is the next one of its session.
    Next,
    /// Answers it without storing it: it is stored already.
    Repeated,
}

impl Sessions {
    /// Returns what to do with a batch.
    pub(crate) fn judge(&self, key: BatchKey) -> Result<Arrival, Denial> {
        let last = self.0.get(&key.session);
        if last.is_some_and(|last| last.agency != key.agency) {
            return Err(Denial::OtherAgency);
        }
        match last {
            Some(last) if key == *last => return Ok(Arrival::Repeated),
            Some(last) if key.sequence == last.sequence => return Err(Denial::OtherContent),
            _ => {}
        }
        let expected = last.map_or(1, |last| last.sequence + 1);
        if key.sequence == expected {
            Ok(Arrival::Next)
        } else {
            Err(Denial::Sequence { expected })
        }
    }

    /// Makes a stored batch the last one of its session.
    pub(crate) fn accept(&mut self, key: BatchKey) {
        self.0.insert(key.session, key);
    }
}
