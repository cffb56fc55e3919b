//! An agency of the `keyed` dialect, whose batches the test numbers.

use lottery::BatchKey;
use lottery::protocol::{Advice, AgencyCodec};

use super::packets::{bet, codec_of_session, packet_in};

/// An agency with a session.
#[derive(Debug)]
pub struct KeyedAgency {
    number: u16,
    /// Its codec, whose session is its own.
    pub codec: Box<dyn AgencyCodec>,
}

impl KeyedAgency {
    /// Returns an agency with a new session.
    pub fn new(number: u16) -> Self {
        Self::with_session(number, BatchKey::new_session())
    }

    /// Returns an agency with this session.
    pub fn with_session(number: u16, session: [u8; 16]) -> Self {
        Self { number, codec: codec_of_session("keyed", number, session) }
    }

    /// Returns a batch of three bets, one of which wins. The bets depend on `mark`.
    pub fn batch(&mut self, sequence: u64, mark: &str) -> Vec<u8> {
        let documents: Vec<_> = (0..3).map(|bet| format!("{mark}-{bet}")).collect();
        let bets: Vec<_> =
            documents.iter().enumerate().map(|(index, it)| bet(it, index == 0)).collect();
        self.codec.set_sequence(sequence);
        packet_in(&mut *self.codec, &bets)
    }

    /// Returns what an error reply advises.
    pub fn advice(&self, reply: &[u8]) -> Advice {
        let denied = self.codec.denied(reply);
        denied.unwrap_or_else(|| panic!("no error: {reply:02x?}")).advice
    }

    /// Asserts that a reply acknowledges a batch with one winner of this mark.
    pub fn assert_stored(&self, reply: &[u8], mark: &str) {
        assert_eq!(self.codec.denied(reply), None, "{}", String::from_utf8_lossy(reply));
        let documents = self.codec.documents(reply);
        assert_eq!(documents, Some(vec![format!("{mark}-0")]), "agency {}", self.number);
    }
}
