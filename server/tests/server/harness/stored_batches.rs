//! The batches in the files of a storage, and how they differ from those that were sent.

use std::collections::BTreeMap;

use super::batch_record::{Batch, Totals};

/// Differences that are described. The first ones explain the others.
const DESCRIBED: usize = 5;

/// The rows of `bets.csv`, as batches.
#[derive(Debug)]
pub struct StoredBatches {
    totals: Totals,
    /// How often each batch is stored as a whole.
    times: BTreeMap<usize, usize>,
    /// The lines of `winners.log` that belong to the rows.
    lines: String,
    /// Places where something else than a whole batch is stored.
    torn: Vec<String>,
}

/// What is wrong with the files of a storage.
#[derive(Debug, Default)]
pub struct Differences {
    /// Rows and winners, if nothing is wrong.
    pub totals: Totals,
    /// Batches that must be stored and are not.
    pub lost: usize,
    /// Batches that are stored more than once.
    pub doubled: usize,
    /// Places where a part of a batch is stored, or something that was never sent; and a
    /// `winners.log` that does not match `bets.csv`.
    pub torn: usize,
    /// The first of them.
    pub described: Vec<String>,
}

impl Differences {
    /// Asserts that there are no differences, and returns the totals.
    pub fn none(self) -> Totals {
        let Self { totals, lost, doubled, torn, described } = self;
        let any = lost + doubled + torn > 0;
        assert!(!any, "{lost} lost, {doubled} doubled, {torn} torn: {described:#?}");
        totals
    }
}

impl StoredBatches {
    /// Finds the batches in the rows.
    pub(super) fn read(rows: &[u8], batches: &[Batch]) -> Self {
        let text = String::from_utf8_lossy(rows);
        let mut stored = Self {
            totals: Totals::default(),
            times: BTreeMap::new(),
            lines: String::new(),
            torn: Vec::new(),
        };
        if !text.is_empty() && !text.ends_with("\r\n") {
            stored.torn.push(format!("torn last row: {:?}", text.lines().last()));
        }
        let rows: Vec<_> = text.split_terminator("\r\n").collect();
        let mut rest = &rows[..];
        while let Some(first) = rest.first() {
            let known = batch_of(first).filter(|number| *number < batches.len());
            let Some(number) = known else {
                stored.torn.push(format!("not a row of this test: {first:?}"));
                rest = &rest[1..];
                continue;
            };
            let batch = batches[number];
            let is_row = |bet: &usize| rest.get(*bet) == Some(&&*row(&batch, number, *bet));
            let found = (0..batch.bets).take_while(is_row).count();
            if found == batch.bets {
                stored.add(number, &batch);
            } else {
                let row = rest.get(found);
                stored.torn.push(format!("row {found} of batch {number}, {batch:?}: {row:?}"));
            }
            rest = &rest[found.max(1)..];
        }
        stored
    }

    fn add(&mut self, number: usize, batch: &Batch) {
        self.totals.bets += batch.bets as u64;
        self.totals.winners += batch.winners as u64;
        *self.times.entry(number).or_default() += 1;
        let lines = (0..batch.winners).map(|bet| winner_line(&document(number, bet)));
        self.lines.extend(lines);
    }

    /// Returns how often a batch is stored.
    pub(super) fn times(&self, number: usize) -> usize {
        self.times.get(&number).copied().unwrap_or(0)
    }

    /// Compares the batches with those that must be stored, and with `winners.log`.
    pub(super) fn compare(
        self,
        batches: usize,
        lines: &[u8],
        must_be_stored: impl Fn(usize) -> bool,
    ) -> Differences {
        let lost = |number: &usize| must_be_stored(*number) && self.times(*number) == 0;
        let lost: Vec<_> = (0..batches).filter(lost).collect();
        let doubled: Vec<_> = self.times.iter().filter(|(_, times)| **times > 1).collect();
        let mut torn = self.torn.clone();
        if lines != self.lines.as_bytes() {
            torn.push("winners.log does not match bets.csv".to_owned());
        }
        let described = torn
            .iter()
            .cloned()
            .chain(lost.iter().map(|number| format!("batch {number} is lost")))
            .chain(doubled.iter().map(|(number, times)| format!("batch {number}: {times} times")));
        Differences {
            totals: self.totals,
            lost: lost.len(),
            doubled: doubled.len(),
            torn: torn.len(),
            described: described.take(DESCRIBED).collect(),
        }
    }
}

/// Returns the document of a bet.
pub(super) fn document(batch: usize, bet: usize) -> String {
    format!("{batch}-{bet}")
}

/// Returns the batch to which a row belongs.
pub(super) fn batch_of(row: &str) -> Option<usize> {
    row.split(',').nth(3)?.split_once('-')?.0.parse().ok()
}

fn row(batch: &Batch, number: usize, bet: usize) -> String {
    let (agency, document) = (batch.agency, document(number, bet));
    let played = if bet < batch.winners { 7574 } else { 1033 };
    format!("{agency},Santiago Lionel,Lorca,{document},1999-03-17,{played}")
}

fn winner_line(document: &str) -> String {
    let name = "Full name: Santiago Lionel Lorca";
    format!("{name} | Document: {document} | Date of Birth: 17/03/1999\n")
}
