//! Recognition of a peer's dialect, for error messages about a peer that speaks another dialect
//! than its port.

use super::{AgencyOptions, DIALECTS, Decoded, Dialect};

/// Shortest text that identifies a dialect. The short messages of one dialect are valid, or the
/// beginning of a valid message, in several others.
const MIN_BYTES: usize = 8;
/// Longest text that is examined, so that a refused request of megabytes costs little.
const MAX_BYTES: usize = 64 * 1024;

impl Dialect {
    /// Returns the other dialects in which `bytes`, the first of a connection, begin with a whole
    /// valid message, if they do not in this one.
    pub fn others_that_accept(&self, bytes: &[u8]) -> Vec<&'static Dialect> {
        if !(MIN_BYTES..=MAX_BYTES).contains(&bytes.len()) || self.accepts(bytes) {
            return Vec::new();
        }
        let accepts = |dialect: &&Dialect| *dialect != self && dialect.accepts(bytes);
        let (with_bets, without_bets): (Vec<_>, Vec<_>) =
            DIALECTS.iter().filter(accepts).partition(|dialect| dialect.agency.is_some());
        // The echo exercise accepts any line, so it comes last. Where messages are lines too, a
        // wrong one is more probable than another dialect.
        match with_bets.is_empty() && is_prose(bytes) && !self.has_lines() {
            true => without_bets,
            false => with_bets,
        }
    }

    /// Returns true if an agency of this dialect sends lines of text.
    fn has_lines(&self) -> bool {
        let options = AgencyOptions::new(1, 1);
        self.agency.is_some_and(|agency| is_prose(&agency(&options).question()))
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

/// Returns true for lines of text.
fn is_prose(bytes: &[u8]) -> bool {
    let is_text = |text: &str| text.chars().all(|symbol| symbol == '\n' || !symbol.is_control());
    bytes.ends_with(b"\n") && std::str::from_utf8(bytes).is_ok_and(is_text)
}
