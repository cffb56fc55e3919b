//! A bet that borrows from the bytes it was decoded from, and the rules that all dialects check.

use crate::{Birthdate, Document};

/// Maximum length of a first name, last name or document, in bytes. A longer one makes the bet
/// invalid. This is the maximum that `counted-u8` can encode. The longest name in the course's data
/// has 23 bytes.
pub const MAX_TEXT_BYTES: usize = 255;

/// One bet. Its texts borrow from the buffer it was decoded from, so storing a bet does not copy
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bet<'a> {
    /// Number of the agency, 1 to 65535; 0 in a dialect without agencies (`typed`).
    pub agency: u16,
    /// First name; may be empty.
    pub first_name: &'a str,
    /// Last name; may be empty.
    pub last_name: &'a str,
    /// Identity document: any text, not only digits.
    pub document: Document<'a>,
    /// Date of birth.
    pub birthdate: Birthdate,
    /// The number played; `None` in a record of the 2022 assignment, which has no number.
    pub number: Option<u32>,
}

/// The reason why a bet is invalid. Every variant names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBet {
    /// A text is longer than [`MAX_TEXT_BYTES`].
    #[error("{field} has {bytes} bytes, at most {MAX_TEXT_BYTES} are allowed")]
    TooLong {
        /// Name of the field.
        field: &'static str,
        /// Length of the text in bytes.
        bytes: usize,
    },
    /// A text holds a control character. A line break in a name would split a line of `winners.log`
    /// or of the log in two.
    #[error("{field} holds the control character U+{code:04X}")]
    ControlCharacter {
        /// Name of the field.
        field: &'static str,
        /// Code point of the character.
        code: u32,
    },
    /// The birthdate is not a calendar date in the form that the dialect requires.
    #[error("birthdate {text:?} is not a calendar date of the form YYYY-MM-DD")]
    Birthdate {
        /// Beginning of the received text.
        text: String,
    },
    /// The number is not a plain decimal from 0 to 4294967295.
    #[error("number {text:?} is not a plain decimal from 0 to 4294967295")]
    Number {
        /// Beginning of the received text.
        text: String,
    },
}

impl InvalidBet {
    /// Returns the error for a birthdate that cannot be parsed.
    pub fn birthdate(text: &str) -> Self {
        Self::Birthdate { text: excerpt(text) }
    }

    /// Returns the error for a number that cannot be parsed.
    pub fn number(text: &str) -> Self {
        Self::Number { text: excerpt(text) }
    }
}

/// Returns the first characters of `text`. The peer controls its length, and a log line must stay
/// short.
fn excerpt(text: &str) -> String {
    const SHOWN: usize = 24;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

impl Bet<'_> {
    /// Checks what the types do not guarantee: the length of each text, and that it has no control
    /// characters. Returns the error of the first field that breaks a rule.
    pub fn validate(&self) -> Result<(), InvalidBet> {
        self.texts().into_iter().try_for_each(|(field, text)| check_text(field, text))
    }

    /// Returns the text fields, each with its name.
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
    // Only texts with a suspicious byte are decoded. Bytes below 0x20 never occur inside a longer
    // UTF-8 sequence, and C1 controls (U+0080 to U+009F) start with 0xC2. The fold does not stop at
    // the first hit, so that the compiler vectorizes it.
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
    fn names_may_be_empty_and_may_contain_commas_quotes_and_any_letter() {
        for name in ["", "Álvarez", "O\"Higgins, hijo", "Ñandú 🎲", "  spaced  "] {
            assert_eq!(bet(name, "30904465").validate(), Ok(()));
        }
    }

    #[test]
    fn the_length_of_a_text_is_limited_in_bytes() {
        let (fits, too_long) = ("á".repeat(127), "á".repeat(128));
        assert_eq!(bet(&fits, "1").validate(), Ok(()));
        assert_eq!(
            bet(&too_long, "1").validate(),
            Err(InvalidBet::TooLong { field: "first name", bytes: 256 })
        );
    }

    #[test]
    fn control_characters_are_rejected_at_every_position() {
        for (text, code) in [("a\nb", 0x0A), ("\0", 0), ("x\u{7f}", 0x7F), ("\u{85}", 0x85)] {
            let rejected = Err(InvalidBet::ControlCharacter { field: "document", code });
            assert_eq!(bet("Ana", text).validate(), rejected);
        }
    }

    #[test]
    fn an_error_quotes_only_the_beginning_of_a_long_text() {
        assert!(InvalidBet::number(&"9".repeat(60_000)).to_string().len() < 100);
    }
}
