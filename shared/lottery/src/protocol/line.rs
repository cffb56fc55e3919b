//! The dialect of lines: bets one a line, `BetBatchEnd` behind them, `ReadyForLottery` when all are sent.
//!
//! All text is UTF-8 and ends in `\n`.
//!
//! | message | layout |
//! |---|---|
//! | bet | `[AGENCY a] Bet number,first,last,document,birthdate` |
//! | end of a batch | `[AGENCY a] BetBatchEnd` |
//! | batch reply | the end of the batch, as it came |
//! | all bets are sent | `[AGENCY a] ReadyForLottery` |
//! | reply to it, after the draw | `Winners n` |

mod rules;

use super::text::{self, Fields};
use super::{
    AgencyCodec, AgencyOptions, Answer, CentralCodec, ConnectionUse, Decoded, Dialect,
    MAX_PACKET_BYTES, MAX_REQUEST_BYTES, Packet, ProtocolError, Push, Receipt, Refusal, Then,
    Unencodable, check_separator,
};
use crate::{Bet, Reply, Request};

/// Its row in the table of dialects.
pub const DIALECT: Dialect = Dialect {
    name: "line",
    connections: &[ConnectionUse::Kept, ConnectionUse::PerRequest],
    waits_for_draw: true,
    max_agency: u16::MAX,
    central: || Box::<LineCentralCodec>::default(),
    agency: Some(|options| Box::new(LineAgencyCodec::new(options))),
    rules: rules::rules,
};

/// Longest line in bytes. No valid bet comes near it, but the fields behind the fifth are ignored, however long they are; when
/// a line reaches more, the message is refused.
pub const MAX_LINE_BYTES: usize = MAX_PACKET_BYTES;

const PREFIX: &str = "[AGENCY";
const BATCH_END: &str = "BetBatchEnd";
const READY: &str = "ReadyForLottery";
const SEPARATOR: char = ',';

/// The central's side.
#[derive(Debug, Default)]
pub struct LineCentralCodec {
    progress: Progress,
    /// The line that ended the last batch, line break included: the reply to it.
    batch_end: Vec<u8>,
}

/// What is known of the message that is arriving, so that one which arrives byte by byte is not read from its start each time.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Whole lines, every one a good bet.
    lines: usize,
    /// Offset of the first byte after them. The line there is short enough to be looked through again.
    end: usize,
}

impl CentralCodec for LineCentralCodec {
    /// Decided by the keyword of the first line, when that is whole.
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

    /// There is no error reply.
    fn refuse(&mut self, _error: Option<&ProtocolError>, _out: &mut Vec<u8>) -> Then {
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
                    // The bets of earlier calls were checked and let go of. Now that all is there, everything is read once more.
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

    /// Refuses the line after the whole ones.
    fn refused(&self, buffer: &[u8], error: ProtocolError) -> Refusal {
        let bets = self.begins_batch(buffer).then_some(self.progress.lines + 1);
        Refusal { error, bets, consumed: None }
    }
}

impl Progress {
    /// The next line with its line break, and the offset after it; `None` while it is not whole.
    fn next_line<'b>(&self, buffer: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, ProtocolError> {
        let found = buffer[self.end..].iter().position(|&byte| byte == b'\n');
        let end = found.map(|at| self.end + at + 1);
        // A line whose end has not arrived ends after the next byte at the earliest.
        let earliest = end.unwrap_or(buffer.len() + 1);
        if earliest - self.end > MAX_LINE_BYTES {
            return Err(ProtocolError::Malformed {
                record: self.lines + 1,
                reason: "is longer than a line may be",
            });
        }
        if earliest > MAX_REQUEST_BYTES {
            return Err(ProtocolError::TooLarge { max: MAX_REQUEST_BYTES });
        }
        Ok(end.map(|end| (&buffer[self.end..end], end)))
    }
}

/// A line taken apart: `[AGENCY a] keyword rest`.
#[derive(Debug)]
struct Command<'b> {
    agency: u16,
    keyword: &'b str,
    rest: &'b str,
}

impl<'b> Command<'b> {
    /// Reads a line, with or without its line break. Words may be apart by any number of blanks.
    fn read(line: &'b [u8], record: usize) -> Result<Self, ProtocolError> {
        let line = std::str::from_utf8(line).map_err(|_| ProtocolError::NotUtf8 { record })?;
        let (prefix, rest) = first_word(line.trim_ascii_end());
        let (agency, rest) = first_word(rest);
        let (keyword, rest) = first_word(rest);
        let Some(agency) =
            agency.strip_suffix(']').filter(|_| prefix == PREFIX && !keyword.is_empty())
        else {
            let reason = "is no line of the form [AGENCY a] keyword";
            return Err(ProtocolError::Malformed { record, reason });
        };
        let agency = text::agency(agency, record)?;
        Ok(Self { agency, keyword, rest: rest.trim_ascii_start() })
    }

    /// Reads the bet behind the keyword. Fields after the fifth are ignored.
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

/// The first word of a text and what follows it.
fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_ascii_start();
    let end = text.bytes().position(|byte| byte.is_ascii_whitespace());
    text.split_at(end.unwrap_or(text.len()))
}

/// The agency's side.
#[derive(Debug)]
pub struct LineAgencyCodec {
    agency: u16,
    batch: Packet,
    /// The line after the bets, without its line break: what the reply must be.
    batch_end: String,
}

impl LineAgencyCodec {
    /// An agency with an empty batch.
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

    fn bets(&self) -> usize {
        self.batch.bets()
    }

    fn packet(&mut self) -> &[u8] {
        let packet = self.batch.bytes();
        let trailer = format!("{}\n", self.batch_end);
        // No bet looks like the trailer, so a batch that is asked for twice gets one only.
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
