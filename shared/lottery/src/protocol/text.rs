//! Parsing shared by the text dialects: integers in Python's form, fields, and one-line replies.

use std::str::FromStr;

use super::ProtocolError;
use crate::{Bet, Birthdate, InvalidBet};

/// Parses an unsigned integer like Python's `int()`: with blanks around it, a leading `+` and
/// leading zeros, but without a minus or underscores.
pub fn integer<T: FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}

/// Parses the agency of a record, an [`integer`] from 1 to 65535.
pub fn agency(text: &str, record: usize) -> Result<u16, ProtocolError> {
    let reason = "has no agency from 1 to 65535";
    integer(text).filter(|&agency| agency != 0).ok_or(ProtocolError::Malformed { record, reason })
}

/// Parses birthdate and number and returns the bet, whose other texts stay as they are.
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

/// An iterator over the fields between the separators of a line, at least one.
///
/// `str::split` yields the same fields, but its searcher is optimized for long texts. With it,
/// splitting took a fifth of all instructions for a batch (measured with callgrind).
#[derive(Debug)]
pub struct Fields<'b, const SEPARATOR: u8> {
    /// The text after the last separator found; `None` after the last field.
    rest: Option<&'b str>,
}

impl<'b, const SEPARATOR: u8> Fields<'b, SEPARATOR> {
    /// Returns the fields of this line.
    pub fn new(line: &'b str) -> Self {
        const { assert!(SEPARATOR.is_ascii(), "the separator could be part of another character") };
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

/// Appends texts with a separator between them, and a line break. Reserves the memory at once and
/// makes no other copy, because an answer may have many megabytes.
pub fn put_line(texts: &[&str], separator: u8, out: &mut Vec<u8>) {
    out.reserve_exact(texts.iter().map(|text| text.len() + 1).sum::<usize>() + 1);
    for (index, text) in texts.iter().enumerate() {
        out.extend((index > 0).then_some(separator));
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b'\n');
}

/// Returns a one-line reply without its line break, or `None` while that has not arrived. Fails if
/// bytes follow the line or it is not UTF-8.
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

/// Returns the error for a line that is not a reply to the last message.
pub fn unexpected(line: &str) -> ProtocolError {
    ProtocolError::UnexpectedReply { text: excerpt(line) }
}

/// Returns the first 120 characters of a peer's text, with control characters replaced by blanks,
/// so that it fits in one log line or error reply.
pub fn excerpt(text: &str) -> String {
    const SHOWN: usize = 120;
    text.chars().take(SHOWN).map(|shown| if shown.is_control() { ' ' } else { shown }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_may_have_blanks_around_it_a_plus_and_leading_zeros() {
        for text in ["7", " 7", "7\r", "+7", "007", " +07 "] {
            assert_eq!(integer(text), Some(7_u32), "{text:?}");
        }
        assert_eq!(integer("4294967295"), Some(u32::MAX));
    }

    #[test]
    fn underscores_other_signs_non_ascii_digits_and_larger_numbers_are_rejected() {
        for text in
            ["", " ", "+", "-7", "-0", "++7", "+ 7", "1_000", "7.0", "0x7", "٧", "4294967296"]
        {
            assert_eq!(integer::<u32>(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_agency_is_a_number_from_1_to_65535() {
        let read = ["0", "1", "01", "65535", "65536", "-1"].map(|text| agency(text, 1).ok());
        assert_eq!(read, [None, Some(1), Some(1), Some(65535), None, None]);
    }

    #[test]
    fn an_excerpt_has_one_line_of_at_most_120_characters() {
        assert_eq!(excerpt("FINISHED|2\r\n|x"), "FINISHED|2  |x");
        assert_eq!(excerpt(&"ñ".repeat(70_000)), "ñ".repeat(120));
    }
}
