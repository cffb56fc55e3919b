//! Messages as text.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lottery::{Bet, Request, Results};

use crate::hexdump;

/// Largest number of bets that are shown per batch.
const BETS: usize = 3;
/// Largest number of documents that are shown per reply.
const DOCUMENTS: usize = 10;
/// Largest number of lines of a hexdump.
const LINES: usize = 8;
/// Largest number of characters of a text.
const CHARACTERS: usize = 200;

/// A message as text.
#[derive(Debug, Default)]
pub(super) struct Description {
    /// The message as one line.
    pub(super) text: String,
    /// Further lines.
    pub(super) details: Vec<String>,
}

impl Description {
    /// Returns a description without details.
    pub(super) fn of(text: impl Into<String>) -> Self {
        Self { text: text.into(), details: Vec::new() }
    }

    /// Returns the description of bytes that cannot be decoded.
    pub(super) fn undecoded(reason: String, bytes: &[u8], full: bool) -> Self {
        let lines = if full { usize::MAX / 2 } else { LINES };
        let text = format!("{}, {reason}", length(bytes.len()));
        Self { text, details: hexdump::start(bytes, lines) }
    }
}

/// Returns the time of day, now.
pub(super) fn now() -> String {
    at(Timestamp::now())
}

/// Returns the time of day.
pub(super) fn at(time: Timestamp) -> String {
    TimeZone::system().to_datetime(time).strftime("%H:%M:%S%.3f").to_string()
}

/// Describes a request of `bytes` bytes.
pub(super) fn request(request: &Request<'_>, bytes: usize, full: bool) -> Description {
    let (text, bets) = match request {
        Request::Store(bets) => match bets.first() {
            Some(bet) if bet.agency > 0 => {
                (format!("batch of agency {}: {}", bet.agency, of_bets(bets)), &bets[..])
            }
            _ => (format!("batch: {}", of_bets(bets)), &bets[..]),
        },
        Request::StoreOnce { key, bets } => {
            let session = u128::from_be_bytes(key.session);
            let (sequence, agency) = (key.sequence, key.agency);
            let bets_of = of_bets(bets);
            let text =
                format!("batch {sequence} of session {session:032x}, agency {agency}: {bets_of}");
            (text, &bets[..])
        }
        Request::Session { session, agency } => {
            let session = u128::from_be_bytes(*session);
            (format!("next batch of session {session:032x}, agency {agency}?"), &[][..])
        }
        Request::Results => ("results?".to_owned(), &[][..]),
        Request::Finish { agency } => (format!("agency {agency} has finished"), &[][..]),
        Request::Winners { agency, finished: true } => {
            (format!("agency {agency} has finished; its winners?"), &[][..])
        }
        Request::Winners { agency, finished: false } => {
            (format!("winners of agency {agency}?"), &[][..])
        }
        Request::Echo(text) => (format!("message {}", excerpt(text)), &[][..]),
        Request::Close => ("winners received".to_owned(), &[][..]),
    };
    let shown = if full { bets.len() } else { BETS };
    let mut details: Vec<_> = bets.iter().take(shown).map(bet).collect();
    if shown < bets.len() {
        details.push(format!("… {} more bets", bets.len() - shown));
    }
    Description { text: format!("{text} ({})", length(bytes)), details }
}

/// Describes a number of bytes.
pub(super) fn length(bytes: usize) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}

/// Describes the text of an echo.
pub(super) fn echoed(text: &[u8]) -> String {
    format!("message {}", excerpt(text))
}

/// Describes results.
pub(super) fn results(Results { winners: count, in_flight }: Results) -> String {
    let winners = winners(count, None);
    match in_flight {
        0 => format!("total: {winners}"),
        _ => format!("partial, {in_flight} in flight: {winners}"),
    }
}

/// Describes winners, with their documents if the reply has them.
pub(super) fn winners(count: u64, documents: Option<Vec<String>>) -> String {
    let winners = if count == 1 { "winner" } else { "winners" };
    let documents = documents.unwrap_or_default();
    let shown = documents.iter().take(DOCUMENTS);
    let shown: Vec<_> = shown.map(|text| text.escape_debug().to_string()).collect();
    let more = if documents.len() > DOCUMENTS { ", …" } else { "" };
    match shown.is_empty() {
        true => format!("{count} {winners}"),
        false => format!("{count} {winners} ({}{more})", shown.join(", ")),
    }
}

/// Returns the bytes as a quoted text of limited length.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let start: String = text.chars().take(CHARACTERS).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{start:?}{more}")
}

fn of_bets(bets: &[Bet<'_>]) -> String {
    match bets.len() {
        1 => "1 bet".to_owned(),
        count => format!("{count} bets"),
    }
}

/// Describes a bet. A decoded bet has no control characters.
fn bet(bet: &Bet<'_>) -> String {
    let Bet { first_name, last_name, document, birthdate, number, .. } = bet;
    let number = number.map_or("no number".to_owned(), |number| number.to_string());
    format!("{first_name}, {last_name}, {document}, {birthdate}, {number}")
}
