//! What differs from dialect to dialect on the agency's side: how bets become packets and how replies are read.
//!
//! A new dialect is one more [`Protocol`] and one more implementation of [`Dialect`]; the agency and the central do not change.

pub(crate) use lottery::protocol::typed::Push;
use lottery::protocol::typed::{self, BatchEncoder};
use lottery::protocol::{ProtocolError, Unencodable};
use lottery::{Bet, Results};

/// The dialects that can be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// One request a connection, partial or total winners.
    Typed,
}

impl Protocol {
    /// The dialect of that name in the configuration.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        (name == Self::Typed.name()).then_some(Self::Typed)
    }

    /// Its name in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Typed => "typed",
        }
    }

    /// Begins to speak it, with at most `max_bets` bets in a packet.
    pub(crate) fn dialect(self, max_bets: u16) -> Box<dyn Dialect> {
        match self {
            Self::Typed => Box::new(Typed { batch: BatchEncoder::new(max_bets.into()) }),
        }
    }
}

/// Reads a reply from the bytes that have come: `None` while it is not all there, an error when it can be no such reply.
pub(crate) type Reader<T> = fn(&[u8]) -> Result<Option<T>, ProtocolError>;

/// The agency's side of a dialect. It holds the batch that is being filled and does no I/O.
pub(crate) trait Dialect {
    /// Offers a bet to the batch.
    ///
    /// # Errors
    /// [`Unencodable`] when the dialect cannot carry it; the batch is as it was.
    fn push(&mut self, bet: &Bet<'_>) -> Result<Push, Unencodable>;

    /// Bets in the batch.
    fn bets(&self) -> usize;

    /// The bytes of the batch, which is not empty.
    fn packet(&mut self) -> &[u8];

    /// Empties the batch for the next bets.
    fn clear(&mut self);

    /// How to read the reply to a batch: the number of its bets that won.
    fn receipt(&self) -> Reader<usize>;

    /// The bytes that ask for the results.
    fn query(&self) -> &'static [u8];

    /// How to read the reply to a query.
    fn results(&self) -> Reader<Results>;
}

/// The main dialect.
struct Typed {
    batch: BatchEncoder,
}

impl Dialect for Typed {
    fn push(&mut self, bet: &Bet<'_>) -> Result<Push, Unencodable> {
        self.batch.push(bet)
    }

    fn bets(&self) -> usize {
        self.batch.bets()
    }

    fn packet(&mut self) -> &[u8] {
        self.batch.packet()
    }

    fn clear(&mut self) {
        self.batch.clear();
    }

    fn receipt(&self) -> Reader<usize> {
        |reply| Ok(typed::decode_winners(reply)?.map(|winners| winners.len()))
    }

    fn query(&self) -> &'static [u8] {
        &typed::QUERY
    }

    fn results(&self) -> Reader<Results> {
        typed::decode_results
    }
}
