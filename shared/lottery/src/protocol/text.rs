//! What the dialects of text lines read and write alike: integers as Python reads them, fields, and replies of one line.

use std::str::FromStr;

use super::ProtocolError;
use crate::{Bet, Birthdate, InvalidBet};

/// An unsigned integer as Python's `int()` reads it, as far as anybody writes them: blanks around it, a leading `+` and leading
/// zeros are fine. Underscores and a minus are not.
pub fn integer<T: FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}

/// The number of the agency in a record: an [`integer`] from 1 to 65535.
///
/// # Errors
/// [`ProtocolError::Malformed`] for anything else.
pub fn agency(text: &str, record: usize) -> Result<u16, ProtocolError> {
    let reason = "has no agency from 1 to 65535";
    integer(text).filter(|&agency| agency != 0).ok_or(ProtocolError::Malformed { record, reason })
}

/// The bet of these texts; first name, last name and document are taken as they are.
///
/// # Errors
/// The first rule of bets that they break.
pub fn bet<'b>(
    agency: u16,
    [first_name, last_name, document]: [&'b str; 3],
    birthdate: &str,
    number: &str,
) -> Result<Bet<'b>, InvalidBet> {
    let birthdate =
        Birthdate::from_iso(birthdate).ok_or_else(|| InvalidBet::birthdate(birthdate))?;
    let number = Some(integer(number).ok_or_else(|| InvalidBet::number(number))?);
    let bet = Bet { agency, first_name, last_name, document: document.into(), birthdate, number };
    bet.validate()?;
    Ok(bet)
}

/// The fields between the separators of a line, at least one; the separator is an ASCII character. `str::split` gives the same, but
/// its searcher is made for long texts: on these it took a fifth of the instructions of all the work on a batch (callgrind).
#[derive(Debug)]
pub struct Fields<'b, const SEPARATOR: u8> {
    /// What follows the last separator seen; `None` when that was the last field.
    rest: Option<&'b str>,
}

impl<'b, const SEPARATOR: u8> Fields<'b, SEPARATOR> {
    /// The fields of this line.
    pub fn new(line: &'b str) -> Self {
        const { assert!(SEPARATOR.is_ascii(), "it could be a part of another character") };
        Self { rest: Some(line) }
    }
}

impl<'b, const SEPARATOR: u8> Iterator for Fields<'b, SEPARATOR> {
    type Item = &'b str;

    fn next(&mut self) -> Option<&'b str> {
        let rest = self.rest.take()?;
        let Some(end) = rest.bytes().position(|byte| byte == SEPARATOR) else { return Some(rest) };
        self.rest = Some(&rest[end + 1..]);
        Some(&rest[..end])
    }
}

/// A reply of one line without its line break; `None` while that has not arrived.
///
/// # Errors
/// When more follows the line, or it is not UTF-8.
pub fn reply_line(reply: &[u8]) -> Result<Option<&str>, ProtocolError> {
    let Some(end) = reply.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let extra = reply.len() - end - 1;
    if extra > 0 {
        return Err(ProtocolError::TrailingBytes(extra));
    }
    match std::str::from_utf8(&reply[..end]) {
        Ok(line) => Ok(Some(line)),
        Err(_) => Err(unexpected(&String::from_utf8_lossy(&reply[..end]))),
    }
}

/// The error for a line that is no reply to what was said.
pub fn unexpected(line: &str) -> ProtocolError {
    ProtocolError::UnexpectedReply { text: excerpt(line) }
}

/// The beginning of a peer's text as one line: at most 120 characters, none of them a control character.
pub fn excerpt(text: &str) -> String {
    const SHOWN: usize = 120;
    text.chars().take(SHOWN).map(|shown| if shown.is_control() { ' ' } else { shown }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_may_have_blanks_around_a_plus_and_leading_zeros() {
        for text in ["7", " 7", "7\r", "+7", "007", " +07 "] {
            assert_eq!(integer(text), Some(7_u32), "{text:?}");
        }
        assert_eq!(integer("4294967295"), Some(u32::MAX));
    }

    #[test]
    fn underscores_signs_other_digits_and_larger_numbers_are_no_integers() {
        for text in
            ["", " ", "+", "-7", "-0", "++7", "+ 7", "1_000", "7.0", "0x7", "٧", "4294967296"]
        {
            assert_eq!(integer::<u32>(text), None, "{text:?}");
        }
    }

    #[test]
    fn agencies_are_the_numbers_from_1_to_65535() {
        let read = ["0", "1", "01", "65535", "65536", "-1"].map(|text| agency(text, 1).ok());
        assert_eq!(read, [None, Some(1), Some(1), Some(65535), None, None]);
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt("FINISHED|2\r\n|x"), "FINISHED|2  |x");
        assert_eq!(excerpt(&"ñ".repeat(70_000)), "ñ".repeat(120));
    }
}
