//! The text of a state file: `key: value` lines, the last of which is a hash of all others.
//!
//! | key | value |
//! |---|---|
//! | `lottery-resume` | version of the format, 1 |
//! | `session` | 32 hexadecimal digits |
//! | `agency` | its number |
//! | `acknowledged` | batches and rows that are known to be stored; there may be more |
//! | `complete` | `yes` once all rows of the file are stored |
//! | `part` (any number) | end in bytes, largest number of bets in a batch, `numbers` or `no-numbers` |
//! | `bytes` | bytes of the file that may have been sent, and the edition of its row hashes |
//! | `checksum` | hash of all bytes before this line, 16 hexadecimal digits |

use std::fmt::Write;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::plan::{Part, Plan, Rules};

/// Version of the format. A program refuses any other.
const VERSION: &str = "1";

/// The key of the first line, which identifies the file.
const HEADER: &str = "lottery-resume";

/// What an agency has to remember to send a batch again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The session: random bytes.
    pub(crate) session: [u8; 16],
    /// Number of the agency.
    pub(crate) agency: u16,
    /// A lower bound of what is stored.
    pub(crate) acknowledged: Acknowledged,
    /// True once all rows of the file are stored.
    pub(crate) complete: bool,
    /// The batches. They end where `bytes` does.
    pub(crate) plan: Plan,
    /// Bytes of the file that may have been sent.
    pub(crate) bytes: u64,
    /// Edition of the row hashes that were written before this state: each new file of them has
    /// the next one.
    pub(crate) edition: u64,
}

/// Number of batches, which is also the sequence of the last one, and number of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Batches.
    pub(crate) batches: u64,
    /// Rows.
    pub(crate) rows: u64,
}

/// Why a text is not a state.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It is of another version of the program.
    #[error("its format has version {0:?}, this program reads version {VERSION}")]
    Version(String),
    /// It is damaged, or is another file.
    #[error("it is damaged or is not a state file")]
    Damaged,
}

impl State {
    /// Returns the text of the file.
    pub(super) fn to_text(&self) -> String {
        let Self { session, agency, acknowledged, complete, plan, bytes, edition } = self;
        let mut text = String::new();
        // Writing into a String cannot fail.
        let mut line = |key: &str, value: String| {
            let _infallible = writeln!(text, "{key}: {value}");
        };
        line(HEADER, VERSION.to_owned());
        line("session", format!("{:032x}", u128::from_be_bytes(*session)));
        line("agency", agency.to_string());
        line(
            "acknowledged",
            format!("{} batches, {} rows", acknowledged.batches, acknowledged.rows),
        );
        line("complete", if *complete { "yes" } else { "no" }.to_owned());
        for Part { end, rules } in &plan.parts {
            let numbers = if rules.with_number { "numbers" } else { "no-numbers" };
            line("part", format!("{end} {} {numbers}", rules.max_bets));
        }
        line("bytes", format!("{bytes} of edition {edition}"));
        let checksum = hash(text.as_bytes());
        let _infallible = writeln!(text, "checksum: {checksum:016x}");
        text
    }

    /// Reads the text of a file.
    pub(super) fn from_text(text: &str) -> Result<Self, Unreadable> {
        let version = text.lines().next().and_then(|line| value(line, HEADER));
        match version {
            None => return Err(Unreadable::Damaged),
            Some(VERSION) => {}
            Some(other) => return Err(Unreadable::Version(other.to_owned())),
        }
        Self::parse(text).ok_or(Unreadable::Damaged)
    }

    fn parse(text: &str) -> Option<Self> {
        let (content, checksum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let content = &text[..content.len() + 1];
        if value(checksum, "checksum")? != format!("{:016x}", hash(content.as_bytes())) {
            return None;
        }
        let mut lines = content.lines().skip(1).peekable();
        let session = u128::from_str_radix(value(lines.next()?, "session")?, 16).ok()?;
        let agency = value(lines.next()?, "agency")?.parse().ok()?;
        let acknowledged = value(lines.next()?, "acknowledged")?.strip_suffix(" rows")?;
        let (batches, rows) = acknowledged.split_once(" batches, ")?;
        let acknowledged =
            Acknowledged { batches: batches.parse().ok()?, rows: rows.parse().ok()? };
        let complete = value(lines.next()?, "complete")? == "yes";
        let mut parts = Vec::new();
        while let Some(part) = lines.peek().and_then(|line| value(line, "part")) {
            parts.push(parse_part(part)?);
            lines.next();
        }
        let (bytes, edition) = value(lines.next()?, "bytes")?.split_once(" of edition ")?;
        let (bytes, edition) = (bytes.parse().ok()?, edition.parse().ok()?);
        if lines.next().is_some() {
            return None;
        }
        Some(Self {
            session: session.to_be_bytes(),
            agency,
            acknowledged,
            complete,
            plan: Plan { parts },
            bytes,
            edition,
        })
    }
}

/// Returns the hash of some bytes.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Returns the value of a line that has this key.
fn value<'t>(line: &'t str, key: &str) -> Option<&'t str> {
    line.strip_prefix(key)?.strip_prefix(": ")
}

fn parse_part(text: &str) -> Option<Part> {
    let mut words = text.split(' ');
    let end = words.next()?.parse().ok()?;
    let max_bets = words.next()?.parse().ok().filter(|max| *max > 0)?;
    let with_number = match words.next()? {
        "numbers" => true,
        "no-numbers" => false,
        _ => return None,
    };
    Some(Part { end, rules: Rules { max_bets, with_number } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let rules = Rules { max_bets: 100, with_number: true };
        let mut plan = Plan::of(5000, rules);
        plan.continue_after(5000, true, 9000, Rules { max_bets: 7, with_number: false });
        State {
            session: *b"\x00\x01\x02\x03456789abcdef",
            agency: 3,
            acknowledged: Acknowledged { batches: 12, rows: 1150 },
            complete: false,
            plan,
            bytes: 9000,
            edition: 2,
        }
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let text = state().to_text();
        assert_eq!(State::from_text(&text), Ok(state()));
        let first = "lottery-resume: 1\nsession: 00010203343536373839616263646566\nagency: 3\n\
                     acknowledged: 12 batches, 1150 rows\ncomplete: no\npart: 5000 100 numbers\n\
                     part: 9000 7 no-numbers\nbytes: 9000 of edition 2\n\
                     checksum: ";
        assert!(text.starts_with(first), "{text}");
    }

    #[test]
    fn a_damaged_text_is_refused() {
        let text = state().to_text();
        for length in 0..text.len() {
            let result = State::from_text(&text[..length]);
            assert!(result.is_err(), "the first {length} bytes: {result:?}");
        }
        for position in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[position] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(State::from_text(&changed).is_err(), "{changed}");
        }
        assert_eq!(
            State::from_text("lottery-resume: 2\n"),
            Err(Unreadable::Version("2".to_owned()))
        );
    }
}
