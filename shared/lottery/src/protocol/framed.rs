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

mod rules;

use super::text::{self, Fields};
use super::{
    AgencyCodec, AgencyOptions, Answer, CentralCodec, ConnectionUse, Decoded, Dialect, Packet,
    ProtocolError, Push, Receipt, Refusal, Refused, Then, Unencodable, check_separator,
};
use crate::{Bet, Reply, Request};

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
/// Length of the largest count of a batch and its line break.
const COUNT_LINE_BYTES: usize = 6;
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
        (1..).zip(lines.split('\n')).filter(|(_, line)| !line.trim_ascii().is_empty())
    {
        bets.push(read_bet(line, record).map_err(refused)?);
    }
    Ok(Request::Store(bets))
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
fn framed(text: &[u8]) -> Vec<u8> {
    [&length_of(text.len())[..], text].concat()
}

/// Returns a length as u16. An agency's texts fit: they have at most
/// [`MAX_PACKET_BYTES`](super::MAX_PACKET_BYTES).
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
