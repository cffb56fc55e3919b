//! Batches that are committed together: their rows and winner lines, one after the other.

use lottery::BatchKey;

use super::ledger::checksum;
use super::winner_index::{Entry, push_entries};
use super::{Ledger, clear_buffer};

/// Size in bytes at which a group is full. It is below the capacity that reused buffers keep, so
/// that groups of ordinary batches do not make a worker allocate.
const FULL_BYTES: usize = 192 * 1024;

/// The rows and winner lines of the batches that the next commit stores. Reused from commit to
/// commit.
#[derive(Debug, Default)]
pub struct Group {
    /// Rows of `bets.csv`.
    rows: Vec<u8>,
    /// Lines of `winners.log`.
    lines: Vec<u8>,
    /// Where the rows of the winners start, each from the start of its batch.
    winners: Vec<Entry>,
    /// One per batch, in the order of their rows and lines.
    parts: Vec<Part>,
}

/// The batch that was written into a [`Group`].
#[derive(Clone, Debug)]
pub struct Written {
    /// Number of bets: of rows.
    pub bets: usize,
    /// Places of the winners among them, from 0, in the order of the winner lines.
    pub winners: Vec<usize>,
    /// Its key, if it has one.
    pub key: Option<BatchKey>,
}

/// What one batch adds to the storage.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Bytes of `bets.csv`.
    rows: usize,
    /// Bytes of `winners.log`.
    lines: usize,
    bets: u64,
    winners: usize,
    key: Option<BatchKey>,
}

/// The bytes of one batch: its rows and its winner lines.
pub type Bytes = (Vec<u8>, Vec<u8>);

/// Consecutive batches of a [`Group`].
#[derive(Clone, Copy, Debug)]
pub struct Batches<'a> {
    /// Their rows of `bets.csv`.
    pub rows: &'a [u8],
    /// Their lines of `winners.log`.
    pub lines: &'a [u8],
    winners: &'a [Entry],
    parts: &'a [Part],
}

/// One batch of a [`Group`].
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its rows of `bets.csv`.
    pub rows: &'a [u8],
    /// Its lines of `winners.log`.
    pub lines: &'a [u8],
    /// Where the rows of its winners start in its rows.
    pub winners: &'a [Entry],
    /// Its key, if it has one.
    pub key: Option<BatchKey>,
    /// Number of its bets.
    pub bets: u64,
}

impl Group {
    /// Adds a batch. `write` appends its rows and its winner lines, and returns what it wrote; if
    /// it fails, the group is unchanged.
    pub fn add<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> Result<Written, E>,
    ) -> Result<(), E> {
        let (rows, lines) = (self.rows.len(), self.lines.len());
        match write(&mut self.rows, &mut self.lines) {
            Ok(Written { bets, winners, key }) => {
                push_entries(&self.rows[rows..], &winners, &mut self.winners);
                self.parts.push(Part {
                    rows: self.rows.len() - rows,
                    lines: self.lines.len() - lines,
                    bets: bets as u64,
                    winners: winners.len(),
                    key,
                });
                Ok(())
            }
            Err(error) => {
                self.rows.truncate(rows);
                self.lines.truncate(lines);
                Err(error)
            }
        }
    }

    /// Returns the number of batches.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Returns true if there is no batch.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Returns true if the group should be committed before another batch is added, so that the
    /// memory of a round stays bounded.
    pub fn is_full(&self) -> bool {
        self.rows.len() + self.lines.len() >= FULL_BYTES
    }

    /// Returns all batches, to be stored with one write per file.
    pub fn all(&self) -> Batches<'_> {
        let Self { rows, lines, winners, parts } = self;
        Batches { rows, lines, winners, parts }
    }

    /// Removes all batches.
    pub fn clear(&mut self) {
        clear_buffer(&mut self.rows);
        clear_buffer(&mut self.lines);
        self.winners.clear();
        self.parts.clear();
    }
}

impl<'a> Batches<'a> {
    /// Returns the number of batches.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Returns each batch, in order.
    pub fn iter(self) -> impl Iterator<Item = Batch<'a>> {
        self.one_by_one().map(|one| {
            let Part { bets, key, .. } = one.parts[0];
            Batch { rows: one.rows, lines: one.lines, winners: one.winners, key, bets }
        })
    }

    /// Returns each batch as a sequence of one, in order.
    pub fn one_by_one(self) -> impl Iterator<Item = Batches<'a>> {
        let (mut rows, mut lines, mut winners) = (self.rows, self.lines, self.winners);
        self.parts.chunks(1).map(move |parts| {
            let (row, later_rows) = rows.split_at(parts[0].rows);
            let (line, later_lines) = lines.split_at(parts[0].lines);
            let (winner, later_winners) = winners.split_at(parts[0].winners);
            (rows, lines, winners) = (later_rows, later_lines, later_winners);
            Batches { rows: row, lines: line, winners: winner, parts }
        })
    }

    /// Returns the totals after these batches, given those before.
    pub fn added_to(self, before: Ledger) -> Ledger {
        self.iter().fold(before, |ledger, batch| batch.added_to(ledger))
    }
}

impl Batch<'_> {
    /// Returns the totals after this batch, given those before.
    pub fn added_to(&self, before: Ledger) -> Ledger {
        Ledger {
            batches: before.batches + 1,
            bets: before.bets + self.bets,
            winners: before.winners + self.winners.len() as u64,
            rows_end: before.rows_end + self.rows.len() as u64,
            lines_end: before.lines_end + self.lines.len() as u64,
            records: before.records + 1,
            rows_checksum: checksum(before.rows_checksum, self.rows),
            lines_checksum: checksum(before.lines_checksum, self.lines),
            ..before
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds a batch of one bet with these bytes.
    fn add(group: &mut Group, rows: &[u8], lines: &[u8], outcome: Result<(), ()>) {
        let added = group.add(|to_rows, to_lines| {
            to_rows.extend_from_slice(rows);
            to_lines.extend_from_slice(lines);
            let winners = if lines.is_empty() { vec![] } else { vec![0] };
            outcome.map(|()| Written { bets: 1, winners, key: None })
        });
        assert_eq!(added, outcome);
    }

    #[test]
    fn batches_come_back_one_by_one_and_together() {
        let mut group = Group::default();
        add(&mut group, b"one\r\n", b"", Ok(()));
        add(&mut group, b"two\r\n", b"winner\n", Ok(()));
        let each: Vec<_> = group.all().iter().map(|batch| (batch.rows, batch.lines)).collect();
        assert_eq!(each, [(&b"one\r\n"[..], &b""[..]), (b"two\r\n", b"winner\n")]);
        assert_eq!(group.all().rows, b"one\r\ntwo\r\n");
        let after = group.all().added_to(Ledger { bets: 5, ..Ledger::default() });
        let expected = Ledger {
            batches: 2,
            bets: 7,
            winners: 1,
            rows_end: 10,
            lines_end: 7,
            records: 2,
            rows_checksum: checksum(0, b"one\r\ntwo\r\n"),
            lines_checksum: checksum(0, b"winner\n"),
            ..Ledger::default()
        };
        assert_eq!(after, expected);
    }

    #[test]
    fn a_batch_that_cannot_be_written_leaves_the_group_as_it_was() {
        let mut group = Group::default();
        add(&mut group, b"one\r\n", b"", Ok(()));
        add(&mut group, b"half a r", b"half a l", Err(()));
        add(&mut group, b"two\r\n", b"", Ok(()));
        assert_eq!((group.len(), group.all().rows), (2, &b"one\r\ntwo\r\n"[..]));
        assert!(group.all().lines.is_empty());
    }

    #[test]
    fn a_full_group_fits_in_the_capacity_that_reused_buffers_keep() {
        let mut group = Group::default();
        while !group.is_full() {
            add(&mut group, &[b'x'; 8192], b"", Ok(()));
        }
        let capacity = group.rows.capacity();
        group.clear();
        assert!(group.is_empty());
        assert_eq!(group.rows.capacity(), capacity);
    }
}
