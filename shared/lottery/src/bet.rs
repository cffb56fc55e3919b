//! A bet, borrowed from the bytes it came in, and the rules every dialect checks before one is stored.

use crate::{Birthdate, Document};

/// Longest first name, last name or document in bytes. The course's longest name has 23; `counted-u8` cannot carry more
/// than 255, so this is what every dialect can move. A longer field makes the bet invalid.
pub const MAX_TEXT_BYTES: usize = 255;

/// One bet. The texts borrow from the buffer the bet was decoded from: a bet is never copied on its way to storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bet<'a> {
    /// Agency that took the bet, 1 to 65535; 0 where the dialect carries none (`typed`).
    pub agency: u16,
    /// First name, UTF-8, may be empty.
    pub first_name: &'a str,
    /// Last name, UTF-8, may be empty.
    pub last_name: &'a str,
    /// Identity document as it was given: text, not checked for digits.
    pub document: Document<'a>,
    /// Date of birth.
    pub birthdate: Birthdate,
    /// The number played, or `None` in a record of the 2022 assignment, which has none.
    pub number: Option<u32>,
}

/// Why a bet cannot be taken. Every variant names the field and what was wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBet {
    /// A text is longer than [`MAX_TEXT_BYTES`].
    #[error("{field} has {bytes} bytes, at most {MAX_TEXT_BYTES} are allowed")]
    TooLong {
        /// Which text.
        field: &'static str,
        /// Its length in bytes.
        bytes: usize,
    },
    /// A text holds a control character: a line break or NUL in a name would break `winners.log` and log lines in two.
    #[error("{field} holds the control character U+{code:04X}")]
    ControlCharacter {
        /// Which text.
        field: &'static str,
        /// The character's code point.
        code: u32,
    },
    /// The date of birth is no calendar date in the form the dialect wants.
    #[error("birthdate {text:?} is no calendar date of the form YYYY-MM-DD")]
    Birthdate {
        /// What stood there, cut to a readable length.
        text: String,
    },
    /// The number is not a plain decimal from 0 to 4294967295.
    #[error("number {text:?} is not a plain decimal from 0 to 4294967295")]
    Number {
        /// What stood there, cut to a readable length.
        text: String,
    },
}

impl InvalidBet {
    /// The error for a birthdate that could not be read.
    pub fn birthdate(text: &str) -> Self {
        Self::Birthdate { text: excerpt(text) }
    }

    /// The error for a number that could not be read.
    pub fn number(text: &str) -> Self {
        Self::Number { text: excerpt(text) }
    }
}

/// The first characters of a hostile text, so that a log line stays a line.
fn excerpt(text: &str) -> String {
    const SHOWN: usize = 24;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

impl Bet<'_> {
    /// Checks what the types do not already guarantee: the lengths of the texts and that they are one line each.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub fn validate(&self) -> Result<(), InvalidBet> {
        self.texts().into_iter().try_for_each(|(field, text)| check_text(field, text))
    }

    /// The free texts, each with the name of its field.
    pub fn texts(&self) -> [(&'static str, &str); 3] {
        [
            ("first name", self.first_name),
            ("last name", self.last_name),
            ("document", self.document.as_str()),
        ]
    }
}

fn check_text(field: &'static str, text: &str) -> Result<(), InvalidBet> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(InvalidBet::TooLong { field, bytes: text.len() });
    }
    // Bytes first: a byte below 0x20 never occurs inside a longer UTF-8 sequence, and C1 controls (U+0080 to U+009F) start
    // with 0xC2, so plain names never pay for decoding. All bytes, without stopping at a hit: the compiler takes many at once.
    let is_suspicious = |byte: u8| byte < 0x20 || byte == 0x7F || byte == 0xC2;
    let suspicious = text.bytes().fold(false, |found, byte| found | is_suspicious(byte));
    match suspicious.then(|| text.chars().find(|c| c.is_control())).flatten() {
        Some(control) => Err(InvalidBet::ControlCharacter { field, code: control.into() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bet<'a>(first_name: &'a str, document: &'a str) -> Bet<'a> {
        let birthdate = Birthdate::new(1999, 3, 17).unwrap();
        Bet {
            agency: 0,
            first_name,
            last_name: "Lorca",
            document: document.into(),
            birthdate,
            number: Some(7574),
        }
    }

    #[test]
    fn names_may_be_empty_and_hold_commas_quotes_and_any_letter() {
        for name in ["", "Álvarez", "O\"Higgins, hijo", "Ñandú 🎲", "  spaced  "] {
            assert_eq!(bet(name, "30904465").validate(), Ok(()));
        }
    }

    #[test]
    fn a_text_is_measured_in_bytes_and_refused_when_it_is_too_long() {
        let (fits, too_long) = ("á".repeat(127), "á".repeat(128));
        assert_eq!(bet(&fits, "1").validate(), Ok(()));
        assert_eq!(
            bet(&too_long, "1").validate(),
            Err(InvalidBet::TooLong { field: "first name", bytes: 256 })
        );
    }

    #[test]
    fn control_characters_are_refused_wherever_they_stand() {
        for (text, code) in [("a\nb", 0x0A), ("\0", 0), ("x\u{7f}", 0x7F), ("\u{85}", 0x85)] {
            let refused = Err(InvalidBet::ControlCharacter { field: "document", code });
            assert_eq!(bet("Ana", text).validate(), refused);
        }
    }

    #[test]
    fn errors_quote_only_the_beginning_of_a_hostile_text() {
        assert!(InvalidBet::number(&"9".repeat(60_000)).to_string().len() < 100);
    }
}
