//! The `framed` dialect: text with a length before it, answered with one line per message.
//!
//! A message of an agency is a big-endian u16 length and UTF-8 text of that many bytes. A reply is
//! a line that ends in `\n`.
//!
//! | message | text |
//! |---|---|
//! | batch | optionally a line with the number of bets, then one line per bet |
//! | bet | `agency\|first\|last\|document\|birthdate\|number` |
//! | batch reply | `SUCCESS\|bets`, or `FAIL\|0` |
//! | notification that all bets are sent | `FINISHED\|agency` |
//! | notification reply | `ACK` |
//! | query | `QUERY_WINNERS\|agency` |
//! | query reply | `WINNERS\|document\|document`; without winners `WINNERS\|` |
//! | error reply | `ERROR\|text` |

mod agency;
mod rules;
mod scan;

pub use agency::FramedAgencyCodec;

use super::text::{self, Fields};
use super::{
    CentralCodec, ConnectionUse, Decoded, Dialect, ProtocolError, Refusal, Refused, Then,
    Unencodable,
};
use crate::{Bet, Prepared, Reply, Request};

/// The row of the dialect table.
pub const DIALECT: Dialect = Dialect {
    name: "framed",
    connections: &[ConnectionUse::Kept, ConnectionUse::PerRequest],
    waits_for_draw: true,
    number_is_optional: false,
    has_keys: false,
    originals_join_reads: true,
    max_agency: u16::MAX,
    check_document,
    central: || Box::<FramedCentralCodec>::default(),
    agency: Some(|options| Box::new(FramedAgencyCodec::new(options))),
    rules: rules::rules,
};

const LENGTH_BYTES: usize = 2;
const SEPARATOR: char = '|';
const FINISHED: &str = "FINISHED|";
const QUERY: &str = "QUERY_WINNERS|";
const NOT_YET: &str = "Lottery not yet completed";

/// The kind of a message, which the beginning of its text determines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// Any text that is not one of the other kinds.
    #[default]
    Batch,
    Finished,
    Query,
}

impl Kind {
    fn of(text: &[u8]) -> Self {
        if text.starts_with(FINISHED.as_bytes()) {
            Self::Finished
        } else if text.starts_with(QUERY.as_bytes()) {
            Self::Query
        } else {
            Self::Batch
        }
    }

    /// Returns true if a text that starts with `text` may still be of another kind than a batch.
    fn is_undecided(text: &[u8]) -> bool {
        [FINISHED, QUERY].iter().any(|word| word.as_bytes().starts_with(text))
    }
}

/// The central's codec.
#[derive(Debug, Default)]
pub struct FramedCentralCodec {
    /// Kind of the last message, which selects the error reply.
    last: Kind,
    /// True after a `FINISHED`, well-formed or not. Only a query may follow it, and the reply to
    /// that query is the last on the connection.
    finished: bool,
}

impl CentralCodec for FramedCentralCodec {
    /// Returns true once the first bytes of the text exclude the other kinds of message.
    fn begins_batch(&self, buffer: &[u8]) -> bool {
        let Some((length, arrived)) = buffer.split_first_chunk::<LENGTH_BYTES>() else {
            return false;
        };
        let whole = arrived.get(..u16::from_be_bytes(*length).into());
        let text = whole.unwrap_or(arrived).trim_ascii_start();
        !self.finished
            && Kind::of(text) == Kind::Batch
            && (whole.is_some() || !Kind::is_undecided(text))
    }

    fn decode<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal> {
        let Some((length, arrived)) = buffer.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(Decoded::Incomplete);
        };
        let Some(payload) = arrived.get(..u16::from_be_bytes(*length).into()) else {
            return Ok(Decoded::Incomplete);
        };
        let consumed = LENGTH_BYTES + payload.len();
        self.last = Kind::of(payload.trim_ascii_start());
        if self.finished && self.last != Kind::Query {
            return Err(ProtocolError::OutOfPlace { after: "FINISHED" }.into());
        }
        let text = read_text(payload).map_err(|error| Refusal {
            bets: (self.last == Kind::Batch).then(|| lines_of_bets(payload)),
            ..error.into()
        })?;
        let request = match self.last {
            Kind::Batch => read_batch(text),
            Kind::Finished => {
                self.finished = true;
                read_agency(text, FINISHED, "finished message")
                    .map(|agency| Request::Finish { agency })
            }
            Kind::Query => read_agency(text, QUERY, "winners query")
                .map(|agency| Request::Winners { agency, finished: false }),
        };
        match request {
            Ok(request) => Ok(Decoded::Complete { request, consumed }),
            Err(refusal) => Err(Refusal { consumed: Some(consumed), ..refusal }),
        }
    }

    fn prepare<'b>(&mut self, buffer: &'b [u8], rows: &mut Vec<u8>) -> Option<Prepared<'b>> {
        let (length, arrived) = buffer.split_first_chunk::<LENGTH_BYTES>()?;
        let payload = arrived.get(..u16::from_be_bytes(*length).into())?;
        let text = payload.trim_ascii();
        if self.finished || Kind::of(text) != Kind::Batch {
            return None;
        }
        let prepared = scan::prepare(text, LENGTH_BYTES + payload.len(), rows)?;
        self.last = Kind::Batch;
        Some(prepared)
    }

    fn encode(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Then, Unencodable> {
        match reply {
            Reply::Stored { bets, .. } => {
                out.extend_from_slice(format!("SUCCESS|{bets}\n").as_bytes())
            }
            Reply::Finished => out.extend_from_slice(b"ACK\n"),
            Reply::Winners(documents) => {
                put_winners(documents, out)?;
                return Ok(self.winners_sent());
            }
            Reply::NotYet => {
                // The agency may ask again on this connection, even after `FINISHED`.
                put_error(NOT_YET, out);
                return Ok(Then::Continue);
            }
            _ => return Err(Unencodable::Reply),
        }
        Ok(self.then())
    }

    fn winners_sent(&mut self) -> Then {
        self.then()
    }

    fn refuse(&mut self, refused: Refused<'_>, out: &mut Vec<u8>) -> Then {
        match (refused, self.last) {
            (Refused::Message(ProtocolError::OutOfPlace { .. }), _) => return Then::Close,
            (Refused::Message(ProtocolError::Format { message, text }), _) => {
                put_error(&format!("Invalid {message} format: {text}"), out);
            }
            (Refused::Message(_), _) | (_, Kind::Batch) => out.extend_from_slice(b"FAIL|0\n"),
            (_, Kind::Finished) => put_error("The notification could not be noted", out),
            (_, Kind::Query) => {
                put_error("The winners cannot be told", out);
                return Then::Close;
            }
        }
        match refused {
            Refused::Message(ProtocolError::NotUtf8 { .. }) => Then::Close,
            _ => self.then(),
        }
    }
}

impl FramedCentralCodec {
    /// Returns what happens to the connection after the reply to the last message: it ends after a
    /// query that follows `FINISHED`.
    fn then(&self) -> Then {
        if self.finished && self.last == Kind::Query { Then::Close } else { Then::Continue }
    }
}

/// Returns the text of a message without blanks at its ends.
fn read_text(payload: &[u8]) -> Result<&str, ProtocolError> {
    match std::str::from_utf8(payload) {
        Ok(text) => Ok(text.trim_ascii()),
        Err(error) => {
            let mut before = payload[..error.valid_up_to()].split(|&byte| byte == b'\n');
            // The line that counts the bets is not a record.
            let counted = before.next().is_some_and(|first| !first.contains(&(SEPARATOR as u8)));
            let record = before.count() + usize::from(!counted);
            Err(ProtocolError::NotUtf8 { record: record.max(1) })
        }
    }
}

/// Counts the lines of a batch that contain a separator. Used to report the number of bets in a
/// batch that is not UTF-8.
fn lines_of_bets(payload: &[u8]) -> usize {
    payload.split(|&byte| byte == b'\n').filter(|line| line.contains(&(SEPARATOR as u8))).count()
}

/// Parses a batch, with or without the line that counts its bets. The count includes blank lines,
/// which are not bets.
fn read_batch(text: &str) -> Result<Request<'_>, Refusal> {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let (count, lines) = if first.contains(SEPARATOR) { (None, text) } else { (Some(first), rest) };
    let found =
        if lines.is_empty() { 0 } else { lines.bytes().filter(|&byte| byte == b'\n').count() + 1 };
    let announced = count.map_or(Some(found), text::integer);
    let refused = |error| Refusal { error, bets: Some(announced.unwrap_or(found)), consumed: None };
    if text.is_empty() {
        return Err(refused(ProtocolError::EmptyBatch));
    }
    if announced != Some(found) {
        let announced = text::excerpt(first);
        return Err(refused(ProtocolError::Count { announced, found }));
    }
    let mut bets = Vec::with_capacity(found);
    for (record, line) in
        (1..).zip(lines.split('\n')).filter(|(_, line)| !is_blank(line.as_bytes()))
    {
        bets.push(read_bet(line, record).map_err(refused)?);
    }
    Ok(Request::Store(bets))
}

/// Returns true if a line of a batch is not a bet.
fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

fn read_bet(line: &str, record: usize) -> Result<Bet<'_>, ProtocolError> {
    let mut fields = Fields::<{ SEPARATOR as u8 }>::new(line);
    let mut next = || fields.next();
    let (
        Some(agency),
        Some(first_name),
        Some(last_name),
        Some(document),
        Some(birthdate),
        Some(number),
        None,
    ) = (next(), next(), next(), next(), next(), next(), next())
    else {
        let found = Fields::<{ SEPARATOR as u8 }>::new(line).count();
        return Err(ProtocolError::FieldCount { record, found, expected: "6" });
    };
    let agency = text::agency(agency, record)?;
    text::bet(agency, [first_name, last_name, document], birthdate, number)
        .map_err(|source| ProtocolError::Bet { record, source })
}

/// Parses a message of a word and an agency. `message` is its name in the error.
fn read_agency(text: &str, word: &str, message: &'static str) -> Result<u16, Refusal> {
    text.strip_prefix(word)
        .and_then(|agency| text::agency(agency, 1).ok())
        .ok_or_else(|| ProtocolError::Format { message, text: text::excerpt(text) }.into())
}

fn put_error(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("ERROR|{text}\n").as_bytes());
}

/// Rejects documents that the agency would count wrongly: a single empty one looks like no winner,
/// and one with a separator like two.
fn check_document(document: &str) -> Result<(), Unencodable> {
    if document.is_empty() {
        return Err(Unencodable::Missing { field: "document" });
    }
    match document.bytes().find(|byte| [SEPARATOR as u8, b'\n', b'\r'].contains(byte)) {
        Some(found) => Err(Unencodable::Separator { field: "document", separator: found.into() }),
        None => Ok(()),
    }
}

/// Appends the documents of the winners. An empty one among others is counted as one.
fn put_winners(documents: &[&str], out: &mut Vec<u8>) -> Result<(), Unencodable> {
    let is_counted = |text: &&&str| !text.is_empty() || documents.len() == 1;
    documents.iter().filter(is_counted).try_for_each(|text| check_document(text))?;
    out.extend_from_slice(b"WINNERS|");
    text::put_line(documents, SEPARATOR as u8, out);
    Ok(())
}
