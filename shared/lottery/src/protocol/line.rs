//! The `line` dialect: one bet per line, `BetBatchEnd` after each batch, `ReadyForLottery` after
//! all.
//!
//! All text is UTF-8 and ends in `\n`.
//!
//! | message | layout |
//! |---|---|
//! | bet | `[AGENCY a] Bet number,first,last,document,birthdate` |
//! | end of a batch | `[AGENCY a] BetBatchEnd` |
//! | batch reply | the end of the batch, unchanged |
//! | notification that all bets are sent | `[AGENCY a] ReadyForLottery` |
//! | notification reply, after the draw | `Winners n` |

mod rules;
mod scan;

use super::text::{self, Fields};
use super::{
    AgencyCodec, AgencyOptions, Answer, CentralCodec, ConnectionUse, Decoded, Dialect,
    MAX_PACKET_BYTES, MAX_REQUEST_BYTES, Packet, ProtocolError, Push, Receipt, Refusal, Refused,
    Then, Unencodable, check_separator,
};
use crate::{Bet, CopiedRows, FileRows, Prepared, Reply, Request};

/// The row of the dialect table.
pub const DIALECT: Dialect = Dialect {
    name: "line",
    connections: &[ConnectionUse::Kept, ConnectionUse::PerRequest],
    waits_for_draw: true,
    number_is_optional: false,
    has_keys: false,
    originals_join_reads: true,
    max_agency: u16::MAX,
    // The answer is a count.
    check_document: |_| Ok(()),
    central: || Box::<LineCentralCodec>::default(),
    agency: Some(|options| Box::new(LineAgencyCodec::new(options))),
    rules: rules::rules,
};

/// Longest line in bytes, including the line break; a message with a longer one is rejected. A
/// valid bet is much shorter, but fields after the fifth are ignored and may have any length.
pub const MAX_LINE_BYTES: usize = MAX_PACKET_BYTES;

const PREFIX: &str = "[AGENCY";
const BATCH_END: &str = "BetBatchEnd";
const READY: &str = "ReadyForLottery";
const SEPARATOR: char = ',';

/// The central's codec.
#[derive(Debug, Default)]
pub struct LineCentralCodec {
    progress: Progress,
    /// The line that ended the last batch, including its line break: the reply to the batch.
    batch_end: Vec<u8>,
}

/// How far a message was scanned, so that a message which arrives byte by byte is not scanned from
/// its start each time.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Number of complete lines, all of them valid bets.
    lines: usize,
    /// Offset of the first byte after them. The incomplete line there is short enough to be scanned
    /// again.
    end: usize,
}

impl CentralCodec for LineCentralCodec {
    /// Returns true once the first line is complete and its keyword is not `ReadyForLottery`.
    fn begins_batch(&self, buffer: &[u8]) -> bool {
        let within = buffer.get(..MAX_LINE_BYTES).unwrap_or(buffer);
        let Some(end) = within.iter().position(|&byte| byte == b'\n') else { return false };
        Command::read(&within[..end], 1).is_ok_and(|command| command.keyword != READY)
    }

    fn decode<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal> {
        let decoded = self.read_on(buffer);
        if !matches!(decoded, Ok(Decoded::Incomplete)) {
            self.progress = Progress::default();
        }
        decoded
    }

    fn prepare<'b>(&mut self, buffer: &'b [u8], rows: &mut Vec<u8>) -> Option<Prepared<'b>> {
        let batch_end = scan::find_batch_end(buffer, self.progress.end)?;
        let prepared = scan::prepare(buffer, &batch_end, rows)?;
        self.progress = Progress::default();
        self.batch_end.clear();
        self.batch_end.extend_from_slice(&buffer[batch_end]);
        Some(prepared)
    }

    fn encode(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Then, Unencodable> {
        match reply {
            Reply::Stored { .. } => {
                out.extend_from_slice(&self.batch_end);
                Ok(Then::Continue)
            }
            Reply::Winners(documents) => {
                out.extend_from_slice(format!("Winners {}\n", documents.len()).as_bytes());
                Ok(Then::Close)
            }
            _ => Err(Unencodable::Reply),
        }
    }

    /// Closes the connection, because the dialect has no error reply.
    fn refuse(&mut self, _refused: Refused<'_>, _out: &mut Vec<u8>) -> Then {
        Then::Close
    }
}

impl LineCentralCodec {
    fn read_on<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal> {
        let earlier = self.progress.lines;
        let mut bets = Vec::new();
        while let Some((line, end)) =
            self.progress.next_line(buffer).map_err(|error| self.refused(buffer, error))?
        {
            let record = self.progress.lines + 1;
            let command =
                Command::read(line, record).map_err(|error| self.refused(buffer, error))?;
            match command.keyword {
                BATCH_END if earlier > 0 => {
                    // Earlier calls checked their bets and dropped them, because bets borrow from
                    // the buffer. Now that the message is complete, it is read again from its
                    // start.
                    self.progress = Progress::default();
                    return self.read_on(buffer);
                }
                BATCH_END => {
                    self.batch_end.clear();
                    self.batch_end.extend_from_slice(line);
                    return Ok(Decoded::Complete { request: Request::Store(bets), consumed: end });
                }
                READY if self.progress.lines > 0 => {
                    let error =
                        ProtocolError::OutOfPlace { after: "bets without their BetBatchEnd" };
                    return Err(Refusal { error, bets: Some(self.progress.lines), consumed: None });
                }
                READY => {
                    let request = Request::Winners { agency: command.agency, finished: true };
                    return Ok(Decoded::Complete { request, consumed: end });
                }
                _ => bets.push(command.bet(record).map_err(|error| self.refused(buffer, error))?),
            }
            self.progress = Progress { lines: record, end };
        }
        Ok(Decoded::Incomplete)
    }

    /// Returns the refusal of the line after the complete ones.
    fn refused(&self, buffer: &[u8], error: ProtocolError) -> Refusal {
        let bets = self.begins_batch(buffer).then_some(self.progress.lines + 1);
        Refusal { error, bets, consumed: None }
    }
}

impl Progress {
    /// Returns the next line with its line break and the offset after it, or `None` while it is
    /// incomplete.
    fn next_line<'b>(&self, buffer: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, ProtocolError> {
        let found = buffer[self.end..].iter().position(|&byte| byte == b'\n');
        let end = found.map(|at| self.end + at + 1);
        // A line without its line break is at least one byte longer than the buffer.
        let earliest = end.unwrap_or(buffer.len() + 1);
        if earliest - self.end > MAX_LINE_BYTES {
            return Err(ProtocolError::Malformed {
                record: self.lines + 1,
                reason: "exceeds the maximum length of a line",
            });
        }
        if earliest > MAX_REQUEST_BYTES {
            return Err(ProtocolError::TooLarge { max: MAX_REQUEST_BYTES });
        }
        Ok(end.map(|end| (&buffer[self.end..end], end)))
    }
}

/// A parsed line: `[AGENCY a] keyword rest`.
#[derive(Debug)]
struct Command<'b> {
    agency: u16,
    keyword: &'b str,
    rest: &'b str,
}

impl<'b> Command<'b> {
    /// Parses a line, with or without its line break. Any number of blanks may separate the words.
    fn read(line: &'b [u8], record: usize) -> Result<Self, ProtocolError> {
        let line = std::str::from_utf8(line).map_err(|_| ProtocolError::NotUtf8 { record })?;
        let (prefix, rest) = first_word(line.trim_ascii_end());
        let (agency, rest) = first_word(rest);
        let (keyword, rest) = first_word(rest);
        let Some(agency) =
            agency.strip_suffix(']').filter(|_| prefix == PREFIX && !keyword.is_empty())
        else {
            let reason = "is not a line of the form [AGENCY a] keyword";
            return Err(ProtocolError::Malformed { record, reason });
        };
        let agency = text::agency(agency, record)?;
        Ok(Self { agency, keyword, rest: rest.trim_ascii_start() })
    }

    /// Parses the bet after the keyword. Fields after the fifth are ignored.
    fn bet(&self, record: usize) -> Result<Bet<'b>, ProtocolError> {
        let mut fields = Fields::<{ SEPARATOR as u8 }>::new(self.rest);
        let (Some(number), Some(first_name), Some(last_name), Some(document), Some(birthdate)) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            let found = Fields::<{ SEPARATOR as u8 }>::new(self.rest).count();
            return Err(ProtocolError::FieldCount { record, found, expected: "at least 5" });
        };
        text::bet(self.agency, [first_name, last_name, document], birthdate, number)
            .map_err(|source| ProtocolError::Bet { record, source })
    }
}

/// Splits a text after its first word.
fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_ascii_start();
    let end = text.bytes().position(|byte| byte.is_ascii_whitespace());
    text.split_at(end.unwrap_or(text.len()))
}

/// The agency's codec.
#[derive(Debug)]
pub struct LineAgencyCodec {
    agency: u16,
    batch: Packet,
    /// The line after the bets, without its line break; the reply must be equal to it.
    batch_end: String,
}

impl LineAgencyCodec {
    /// Creates a codec with an empty batch.
    pub fn new(options: &AgencyOptions) -> Self {
        let batch_end = format!("{PREFIX} {}] {BATCH_END}", options.agency);
        let batch = Packet::new(options.max_bets, 0, batch_end.len() + 1);
        Self { agency: options.agency, batch, batch_end }
    }
}

impl AgencyCodec for LineAgencyCodec {
    fn push(&mut self, bet: &Bet<'_>) -> Result<Push, Unencodable> {
        bet.validate()?;
        check_separator(bet, SEPARATOR)?;
        let number = bet.number.ok_or(Unencodable::Missing { field: "number" })?;
        let Bet { first_name, last_name, document, birthdate, .. } = bet;
        let agency = self.agency;
        self.batch.push(|out| {
            let line = format!(
                "{PREFIX} {agency}] Bet {number},{first_name},{last_name},{document},{birthdate}\n"
            );
            out.extend_from_slice(line.as_bytes());
            Ok(())
        })
    }

    fn copy_rows(&mut self, rows: FileRows<'_>) -> CopiedRows {
        let prefix = format!("{PREFIX} {}] Bet ", self.agency);
        let prefix = prefix.as_bytes();
        self.batch.copy_rows::<{ SEPARATOR as u8 }>(rows, |row, out| {
            row.put_line_number_first(prefix, out)
        })
    }

    fn bets(&self) -> usize {
        self.batch.bets()
    }

    fn packet(&mut self) -> &[u8] {
        let packet = self.batch.bytes();
        let trailer = format!("{}\n", self.batch_end);
        // A second call must not append the trailer again. No bet is equal to it.
        if !packet.ends_with(trailer.as_bytes()) {
            packet.extend_from_slice(trailer.as_bytes());
        }
        packet
    }

    fn clear(&mut self) {
        self.batch.clear();
    }

    fn receipt(&self, reply: &[u8]) -> Result<Option<Receipt>, ProtocolError> {
        match text::reply_line(reply)? {
            None => Ok(None),
            Some(line) if line == self.batch_end => Ok(Some(Receipt::Stored { winners: None })),
            Some(line) => Err(text::unexpected(line)),
        }
    }

    fn question(&self) -> Vec<u8> {
        format!("{PREFIX} {}] {READY}\n", self.agency).into_bytes()
    }

    fn answer(&self, reply: &[u8]) -> Result<Option<Answer>, ProtocolError> {
        let Some(line) = text::reply_line(reply)? else { return Ok(None) };
        let winners = line.strip_prefix("Winners ").and_then(text::integer);
        winners.map(|winners| Some(Answer::Winners(winners))).ok_or_else(|| text::unexpected(line))
    }
}
