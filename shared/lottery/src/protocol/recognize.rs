//! Recognition of the dialect in which a peer speaks, for messages about a peer that speaks another
//! one than its port.

use super::{DIALECTS, Decoded, Dialect};

/// Shortest text that identifies a dialect. The short messages of one dialect are valid, or the
/// beginning of a valid message, in several others.
const MIN_BYTES: usize = 8;
/// Longest text that is examined, so that a refused request of megabytes costs little.
const MAX_BYTES: usize = 64 * 1024;

impl Dialect {
    /// Returns the other dialects in which `bytes`, the first of a connection, begin with a whole
    /// valid message.
    pub fn others_that_accept(&self, bytes: &[u8]) -> Vec<&'static Dialect> {
        if !(MIN_BYTES..=MAX_BYTES).contains(&bytes.len()) {
            return Vec::new();
        }
        let accepts = |dialect: &&Dialect| *dialect != self && dialect.accepts(bytes);
        let (with_bets, without_bets): (Vec<_>, Vec<_>) =
            DIALECTS.iter().filter(accepts).partition(|dialect| dialect.agency.is_some());
        match with_bets.is_empty() && is_prose(bytes) {
            // The echo exercise accepts any line, so it comes last.
            true => without_bets,
            false => with_bets,
        }
    }

    /// Returns true if the bytes begin with a valid message.
    fn accepts(&self, bytes: &[u8]) -> bool {
        let mut codec = (self.central)();
        let mut message = bytes;
        loop {
            match codec.decode(message) {
                Ok(Decoded::Skip { consumed }) if consumed > 0 => message = &message[consumed..],
                Ok(Decoded::Complete { consumed, .. }) => {
                    return bytes.len() - message.len() + consumed >= MIN_BYTES;
                }
                _ => return false,
            }
        }
    }
}

/// Returns true for a line of text that begins with no number, as lines of bets do.
fn is_prose(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| {
        text.ends_with('\n')
            && text.starts_with(|first: char| first == '[' || first.is_alphabetic())
    })
}
