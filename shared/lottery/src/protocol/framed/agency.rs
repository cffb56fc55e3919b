//! The agency's codec of `framed`.

use super::{FINISHED, LENGTH_BYTES, NOT_YET, QUERY, SEPARATOR};
use crate::protocol::text::{self, Fields};
use crate::protocol::{
    AgencyCodec, AgencyOptions, Answer, Packet, ProtocolError, Push, Receipt, Unencodable,
    check_separator,
};
use crate::scan::Prefix;
use crate::{Bet, CopiedRows, FileRows};

/// Length of the largest count of a batch and its line break.
const COUNT_LINE_BYTES: usize = 6;

/// The agency's codec.
#[derive(Debug)]
pub struct FramedAgencyCodec {
    agency: u16,
    batch: Packet,
    with_count: bool,
}

impl FramedAgencyCodec {
    /// Creates a codec with an empty batch.
    pub fn new(options: &AgencyOptions) -> Self {
        let AgencyOptions { agency, max_bets, with_count, .. } = *options;
        Self { agency, batch: Packet::new(max_bets, header_bytes(with_count), 0), with_count }
    }
}

/// Returns the largest length of the header before the bets.
fn header_bytes(with_count: bool) -> usize {
    LENGTH_BYTES + if with_count { COUNT_LINE_BYTES } else { 0 }
}

/// Returns a message with its length before it.
pub(super) fn framed(text: &[u8]) -> Vec<u8> {
    [&length_of(text.len())[..], text].concat()
}

/// Returns a length as u16. An agency's texts fit: they have at most
/// [`MAX_PACKET_BYTES`](crate::protocol::MAX_PACKET_BYTES).
fn length_of(bytes: usize) -> [u8; LENGTH_BYTES] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

impl AgencyCodec for FramedAgencyCodec {
    fn push(&mut self, bet: &Bet<'_>) -> Result<Push, Unencodable> {
        bet.validate()?;
        check_separator(bet, SEPARATOR)?;
        let number = bet.number.ok_or(Unencodable::Missing { field: "number" })?;
        let Bet { first_name, last_name, document, birthdate, .. } = bet;
        let agency = self.agency;
        self.batch.push(|out| {
            let line =
                format!("{agency}|{first_name}|{last_name}|{document}|{birthdate}|{number}\n");
            out.extend_from_slice(line.as_bytes());
            Ok(())
        })
    }

    fn copy_rows(&mut self, rows: FileRows<'_>) -> CopiedRows {
        let prefix = Prefix::new(self.agency, SEPARATOR as u8);
        self.batch.copy_rows::<{ SEPARATOR as u8 }>(rows, |row, out| row.put_line(prefix, out))
    }

    fn bets(&self) -> usize {
        self.batch.bets()
    }

    /// Returns the batch. The count has one to five digits, so a short header leaves unused bytes
    /// at the start of the buffer.
    fn packet(&mut self) -> &[u8] {
        let count =
            if self.with_count { format!("{}\n", self.batch.count()) } else { String::new() };
        let packet = self.batch.bytes();
        let text = header_bytes(self.with_count) - count.len();
        let start = text - LENGTH_BYTES;
        let length = length_of(packet.len() - text);
        packet[start..text].copy_from_slice(&length);
        packet[text..text + count.len()].copy_from_slice(count.as_bytes());
        &packet[start..]
    }

    fn clear(&mut self) {
        self.batch.clear();
    }

    fn receipt(&self, reply: &[u8]) -> Result<Option<Receipt>, ProtocolError> {
        let Some(line) = text::reply_line(reply)? else { return Ok(None) };
        let stored = line.strip_prefix("SUCCESS|").and_then(text::integer);
        if stored == Some(self.bets()) {
            Ok(Some(Receipt::Stored { winners: None }))
        } else if line.starts_with("FAIL|") {
            Ok(Some(Receipt::Refused))
        } else {
            Err(text::unexpected(line))
        }
    }

    fn notification(&self) -> Option<Vec<u8>> {
        Some(framed(format!("{FINISHED}{}\n", self.agency).as_bytes()))
    }

    fn acknowledgement(&self, reply: &[u8]) -> Result<Option<()>, ProtocolError> {
        match text::reply_line(reply)? {
            None => Ok(None),
            Some("ACK") => Ok(Some(())),
            Some(line) => Err(text::unexpected(line)),
        }
    }

    fn question(&self) -> Vec<u8> {
        framed(format!("{QUERY}{}\n", self.agency).as_bytes())
    }

    fn answer(&self, reply: &[u8]) -> Result<Option<Answer>, ProtocolError> {
        let Some(line) = text::reply_line(reply)? else { return Ok(None) };
        let answer = match line.split_once(SEPARATOR) {
            Some(("WINNERS", documents)) => Answer::Winners(documents_in(documents).count() as u64),
            Some(("ERROR", NOT_YET)) => Answer::NotYet,
            Some(("ERROR", text)) => Answer::Refused(text::excerpt(text)),
            _ => return Err(text::unexpected(line)),
        };
        Ok(Some(answer))
    }

    fn documents(&self, reply: &[u8]) -> Option<Vec<String>> {
        let documents = text::reply_line(reply).ok().flatten()?.strip_prefix("WINNERS|")?;
        Some(documents_in(documents).map(str::to_owned).collect())
    }
}

/// Returns the documents after `WINNERS|`. An empty text has no documents, rather than an empty
/// one.
fn documents_in(text: &str) -> impl Iterator<Item = &str> {
    Fields::<{ SEPARATOR as u8 }>::new(text).filter(move |_| !text.is_empty())
}
