//! A batch being filled on the agency's side, kept within the limits of a packet.

use super::{MAX_PACKET_BYTES, Push, Unencodable};
use crate::Bet;

/// Checks that no text of a bet holds a character that separates the fields on the wire.
///
/// # Errors
/// [`Unencodable::Separator`] for the first that does.
pub fn check_separator(bet: &Bet<'_>, separator: char) -> Result<(), Unencodable> {
    match bet.texts().into_iter().find(|(_, text)| text.contains(separator)) {
        Some((field, _)) => Err(Unencodable::Separator { field, separator }),
        None => Ok(()),
    }
}

/// The bytes of a batch and how many bets are in them. A dialect says how a bet is written and what stands around all of them.
#[derive(Debug)]
pub struct Packet {
    bytes: Vec<u8>,
    bets: usize,
    max_bets: usize,
    /// Bytes that stand before the bets; overwritten when the packet is complete.
    header: usize,
    /// Bytes that will be added behind the bets.
    trailer: usize,
}

impl Packet {
    /// An empty batch of up to `max_bets` bets (at least 1), with room for `header` bytes before and `trailer` bytes behind them.
    pub fn new(max_bets: u16, header: usize, trailer: usize) -> Self {
        let mut packet =
            Self { bytes: Vec::new(), bets: 0, max_bets: max_bets.max(1).into(), header, trailer };
        packet.clear();
        packet
    }

    /// Bets in it.
    pub fn bets(&self) -> usize {
        self.bets
    }

    /// The number of bets as the wire carries it: `max_bets` is a u16.
    pub fn count(&self) -> u16 {
        u16::try_from(self.bets).unwrap_or(u16::MAX)
    }

    /// Everything written so far, the header included.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.bets > 0, "an empty batch must not be sent");
        &mut self.bytes
    }

    /// Offers a bet, which `put` writes.
    ///
    /// # Errors
    /// What `put` says; the batch is as it was.
    pub fn push(
        &mut self,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), Unencodable>,
    ) -> Result<Push, Unencodable> {
        let before = self.bytes.len();
        // Written even when there is no place for it: a bet that cannot be carried is told of at once, wherever it stands.
        let written = put(&mut self.bytes);
        let fits = self.bets < self.max_bets && self.bytes.len() + self.trailer <= MAX_PACKET_BYTES;
        if written.is_ok() && fits {
            self.bets += 1;
            return Ok(Push::Added);
        }
        self.bytes.truncate(before);
        written.map(|()| Push::Full)
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(self.header, 0);
        self.bets = 0;
    }
}
