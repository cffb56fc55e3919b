//! The batches of the reference servers. The central's are those of `loteria-agency bench`.

use std::io;

use load::Conversation;
use lottery::protocol::{AgencyCodec, AgencyOptions, Dialect, Push};
use lottery::{Bet, sample};

/// Returns a codec of the dialect with a batch of up to `max_bets` bets, the same as those of
/// `loteria-agency bench`.
pub(crate) fn fill(
    dialect: &Dialect,
    max_bets: u16,
    numbered: bool,
) -> io::Result<Box<dyn AgencyCodec>> {
    let agency = dialect.agency.ok_or_else(|| io::Error::other("the dialect carries no bets"))?;
    let mut codec = agency(&AgencyOptions::new(1, max_bets));
    for bet in sample::bets(numbered) {
        if codec.push(&bet).map_err(io::Error::other)? == Push::Full {
            break;
        }
    }
    Ok(codec)
}

/// Returns the bets of a batch of `bets` bets.
pub(crate) fn bets(bets: usize) -> impl Iterator<Item = Bet<'static>> {
    sample::bets(true).take(bets)
}

/// A client that sends the same bytes again and again.
#[derive(Clone)]
pub(crate) struct Repeated<J> {
    /// Bytes to send first on a connection.
    pub(crate) greeting: Vec<u8>,
    pub(crate) request: Vec<u8>,
    /// Judges a reply, as [`Conversation::judge`] does.
    pub(crate) judge: J,
}

impl<J: Fn(&[u8], bool) -> Result<bool, String> + Send> Conversation for Repeated<J> {
    fn message(&mut self) -> [&[u8]; 2] {
        [&self.greeting, &self.request]
    }

    fn judge(&mut self, reply: &[u8], first: bool) -> Result<bool, String> {
        (self.judge)(reply, first)
    }

    fn advance(&mut self) {}
}
