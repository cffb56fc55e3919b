//! The rows of one batch while they are appended, and what else the central needs of the batch.

use std::fmt;

use super::window::{LONGEST_ROW, PREFIX, ROW, SHORT, SUFFIX};
use crate::{BatchKey, Bet, decimal, is_winner, write_rows};

/// A batch that was checked, and whose rows were appended.
#[derive(Debug, PartialEq, Eq)]
pub struct Prepared<'b> {
    /// Number of bets, at least 2.
    pub bets: usize,
    /// The agency of all bets; 0 in a dialect without agencies.
    pub agency: u16,
    /// The winners, in the order of the batch, each with its place in it, from 0.
    pub winners: Vec<(usize, Bet<'b>)>,
    /// Identifies the batch, in a dialect whose batches have keys.
    pub key: Option<BatchKey>,
    /// True if every document is known to be a plain decimal from 0 to 4294967295, which every
    /// dialect can encode. False in a dialect without agencies, where it does not matter.
    pub has_plain_documents: bool,
    /// Length of the message in bytes.
    pub consumed: usize,
}

/// Appends the rows of a batch of `agency` to `out`. `write` adds the records and returns the
/// length of the message. If it returns `None`, or the bytes are not UTF-8, nothing is appended.
pub(crate) fn append_rows<'b>(
    out: &mut Vec<u8>,
    agency: u16,
    write: impl FnOnce(&mut BatchRows<'_, 'b>) -> Option<usize>,
) -> Option<Prepared<'b>> {
    let start = out.len();
    let mut rows = BatchRows::new(out, agency);
    let consumed = write(&mut rows);
    let prepared = consumed.and_then(|consumed| rows.finish(start, consumed));
    if prepared.is_none() {
        out.truncate(start);
    }
    prepared
}

/// The rows of one batch. [`Scanned`](super::Scanned) and [`BinaryBet`](super::BinaryBet) add to
/// them what can be copied.
pub(crate) struct BatchRows<'r, 'b> {
    pub(super) out: &'r mut Vec<u8>,
    pub(super) prefix: Prefix,
    /// Decoded bets whose rows come next. They are written together, because a writer per bet would
    /// cost more than the bet.
    decoded: Vec<Bet<'b>>,
    bets: usize,
    agency: u16,
    winners: Vec<(usize, Bet<'b>)>,
    has_plain_documents: bool,
}

impl<'b> BatchRows<'_, 'b> {
    fn new<'r>(out: &'r mut Vec<u8>, agency: u16) -> BatchRows<'r, 'b> {
        BatchRows {
            out,
            prefix: Prefix::new(agency, b','),
            decoded: Vec::new(),
            bets: 0,
            agency,
            winners: Vec::new(),
            has_plain_documents: agency != 0,
        }
    }

    /// Returns the position of the next bet in the batch, from 1.
    pub(crate) fn next_record(&self) -> usize {
        self.bets + 1
    }

    /// Adds a bet that took the general path. Returns `None` if it is of another agency.
    pub(crate) fn push(&mut self, bet: Bet<'b>) -> Option<()> {
        if bet.agency != self.agency {
            return None;
        }
        self.bets += 1;
        self.check_document(bet.document.as_str());
        if is_winner(&bet) {
            self.winners.push((self.bets - 1, bet));
        }
        self.decoded.push(bet);
        Some(())
    }

    /// Adds a winner whose row was copied.
    pub(crate) fn push_winner(&mut self, bet: Bet<'b>) {
        debug_assert!(is_winner(&bet), "{bet:?} lost by the general rule");
        self.winners.push((self.bets - 1, bet));
    }

    /// Adds a bet and appends its row: the prefix, the `length` bytes in the middle of `row`, and
    /// the first bytes of `suffix`.
    #[inline(always)]
    pub(super) fn append_row(
        &mut self,
        row: &mut [u8; ROW],
        length: usize,
        suffix: ([u8; SUFFIX], usize),
    ) -> Option<()> {
        self.begin_row()?;
        let (row, length) = framed_row(row, self.prefix, length, suffix)?;
        self.out.append_part(row, length);
        Some(())
    }

    /// Adds a bet whose row is appended next.
    #[inline(always)]
    pub(super) fn begin_row(&mut self) -> Option<()> {
        self.bets += 1;
        if self.decoded.is_empty() { Some(()) } else { self.write_decoded() }
    }

    /// Returns true if it matters what the documents are.
    #[inline(always)]
    pub(super) fn needs_documents(&self) -> bool {
        self.has_plain_documents
    }

    /// Checks a document.
    pub(super) fn check_document(&mut self, document: &str) {
        self.has_plain_documents &= decimal::parse(document).is_some();
    }

    #[cold]
    fn write_decoded(&mut self) -> Option<()> {
        let written = write_rows(&self.decoded, self.out).ok();
        self.decoded.clear();
        written
    }

    /// Returns the batch, or `None` if it is not UTF-8. The rows contain every text of it, and only
    /// ASCII in between, so they are UTF-8 if and only if all its texts are.
    fn finish(mut self, start: usize, consumed: usize) -> Option<Prepared<'b>> {
        if !self.decoded.is_empty() {
            self.write_decoded()?;
        }
        // The log shows the bet of a batch of one, and an empty batch has no agency.
        if self.bets < 2 || simdutf8::basic::from_utf8(&self.out[start..]).is_err() {
            return None;
        }
        let Self { bets, agency, winners, has_plain_documents, .. } = self;
        Some(Prepared { bets, agency, winners, key: None, has_plain_documents, consumed })
    }
}

impl fmt::Debug for BatchRows<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchRows").field("bets", &self.bets).finish_non_exhaustive()
    }
}

/// Puts a prefix and the first bytes of `suffix` around the `length` bytes in the middle of `row`.
/// Returns the result, which begins with the prefix, and its length.
#[inline(always)]
pub(super) fn framed_row(
    row: &mut [u8; ROW],
    Prefix { bytes, start }: Prefix,
    length: usize,
    (suffix, suffix_length): ([u8; SUFFIX], usize),
) -> Option<(&[u8; LONGEST_ROW], usize)> {
    *row.first_chunk_mut()? = bytes;
    *row.get_mut(PREFIX + length..)?.first_chunk_mut()? = suffix;
    Some((row.get(start..)?.first_chunk()?, PREFIX - start + length + suffix_length))
}

/// The beginning of every row of a batch: the agency and a separator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prefix {
    /// The text, at the end of these bytes.
    bytes: [u8; PREFIX],
    /// Where the text starts.
    start: usize,
}

impl Prefix {
    pub(crate) fn new(agency: u16, separator: u8) -> Self {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(agency).as_bytes();
        let start = PREFIX - 1 - digits.len();
        let mut bytes = [separator; PREFIX];
        bytes[start..PREFIX - 1].copy_from_slice(digits);
        Self { bytes, start }
    }
}

/// A row that is made of parts. Each part is a copy of a fixed size, which the compiler turns into
/// a few instructions, and the next part overwrites its surplus.
#[derive(Debug)]
pub(super) struct PartedRow {
    bytes: [u8; Self::ROOM],
    start: usize,
    end: usize,
}

impl PartedRow {
    /// Length of the longest row: of agency 65535, with two names in short windows, two integers of
    /// ten digits, a date, five commas and a line break. The surplus of its last part is within.
    const LONGEST: usize = 6 + 2 * SHORT + 2 * 10 + 10 + 5 + 2;
    const ROOM: usize = PREFIX + Self::LONGEST;

    #[inline(always)]
    pub(super) fn new(Prefix { bytes: prefix, start }: Prefix) -> Self {
        let mut bytes = [0; Self::ROOM];
        bytes[..PREFIX].copy_from_slice(&prefix);
        Self { bytes, start, end: PREFIX }
    }

    /// Adds the first `length` of these bytes.
    #[inline(always)]
    pub(super) fn push<const N: usize>(&mut self, part: &[u8; N], length: usize) -> Option<()> {
        *self.bytes.get_mut(self.end..)?.first_chunk_mut()? = *part;
        self.end += length;
        Some(())
    }

    /// Adds an integer.
    #[inline(always)]
    pub(super) fn push_integer(&mut self, value: u32) -> Option<()> {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value).as_bytes();
        self.bytes.get_mut(self.end..self.end + digits.len())?.copy_from_slice(digits);
        self.end += digits.len();
        Some(())
    }

    #[inline(always)]
    pub(super) fn append_to(&self, out: &mut Vec<u8>) -> Option<()> {
        let row: &[u8; Self::LONGEST] = self.bytes.get(self.start..)?.first_chunk()?;
        out.append_part(row, self.end - self.start);
        Some(())
    }
}

/// Appends to rows in copies of a fixed size, which the compiler turns into a few instructions. The
/// surplus is cut off again.
pub(super) trait AppendPart {
    /// Appends the first `length` of these bytes.
    fn append_part<const N: usize>(&mut self, bytes: &[u8; N], length: usize);
}

impl AppendPart for Vec<u8> {
    #[inline(always)]
    fn append_part<const N: usize>(&mut self, bytes: &[u8; N], length: usize) {
        let start = self.len();
        self.extend_from_slice(bytes);
        self.truncate(start + length);
    }
}
