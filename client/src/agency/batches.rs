//! Divides the rows of a file into batches, the same ones in every run with the same plan.

use lottery::protocol::{AgencyCodec, Push};

use crate::dataset::{Dataset, DatasetError};
use crate::resume::{Part, Plan};

/// A file of bets that is read batch by batch.
#[derive(Debug)]
pub(super) struct Batches {
    dataset: Dataset,
    /// True if the current row of the file belongs to the next batch.
    has_row: bool,
    /// Index of the plan's part that contains the current row.
    part: usize,
}

/// A batch, whose bets are in the codec.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    /// Number of its bets, which is the number of its rows.
    pub(super) bets: u64,
    /// Lines of the file on which its first and its last row begin.
    pub(super) lines: (u64, u64),
    /// Bytes of the file up to the end of its last row.
    pub(super) end: u64,
    /// True if its part of the plan, or the file, ended before the batch was full.
    pub(super) is_short: bool,
}

impl Batches {
    /// Begins before the first row.
    pub(super) fn new(dataset: Dataset) -> Self {
        Self { dataset, has_row: false, part: 0 }
    }

    /// Returns the file.
    pub(super) fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Fills the codec, which must be empty, with the bets of the next batch. Returns `None` after
    /// the last row of the plan.
    ///
    /// A batch that is full is returned before the next row is read: if that row is malformed, the
    /// batch can still be sent.
    pub(super) fn fill(
        &mut self,
        plan: &Plan,
        codec: &mut dyn AgencyCodec,
    ) -> Result<Option<Batch>, DatasetError> {
        let mut batch: Option<Batch> = None;
        let short = |batch: Option<Batch>| batch.map(|batch| Batch { is_short: true, ..batch });
        loop {
            if let Some(part) = plan.parts.get(self.part).filter(|_| !self.has_row) {
                let is_full = self.copy_rows(part, codec, &mut batch)?;
                let max = u64::from(part.rules.max_bets);
                if batch.is_some_and(|batch| is_full || batch.bets == max) {
                    return Ok(batch);
                }
            }
            if !self.has_row {
                if !self.dataset.advance()? {
                    return Ok(short(batch));
                }
                self.has_row = true;
            }
            let end = self.dataset.position();
            let Some(Part { rules, .. }) = self.part_of(plan, end, batch.is_some()) else {
                return Ok(short(batch));
            };
            let bet = self.dataset.bet(rules.with_number)?;
            let pushed = codec.push(&bet).map_err(|reason| self.dataset.row_error(reason))?;
            if pushed == Push::Full {
                debug_assert!(batch.is_some(), "an empty batch has room for any encodable bet");
                return Ok(batch);
            }
            self.has_row = false;
            let line = self.dataset.line();
            let first_line = batch.map_or(line, |batch| batch.lines.0);
            let bets = codec.bets() as u64;
            batch = Some(Batch { bets, lines: (first_line, line), end, is_short: false });
            if bets == u64::from(rules.max_bets) {
                return Ok(batch);
            }
        }
    }

    /// Adds rows of a part to the batch as long as nothing in them needs care. Returns true if the
    /// batch has no room for the next row.
    fn copy_rows(
        &mut self,
        part: &Part,
        codec: &mut dyn AgencyCodec,
        batch: &mut Option<Batch>,
    ) -> Result<bool, DatasetError> {
        let Part { end, rules } = *part;
        let max = usize::from(rules.max_bets) - codec.bets();
        let copied = self.dataset.copy_rows(codec, end, rules.with_number, max)?;
        if copied.rows > 0 {
            let first_line = batch.map_or(copied.first_line, |batch| batch.lines.0);
            *batch = Some(Batch {
                bets: codec.bets() as u64,
                lines: (first_line, self.dataset.line()),
                end: self.dataset.position(),
                is_short: false,
            });
        }
        Ok(copied.is_full)
    }

    /// Returns the part of the current row, which ends at byte `end`. Returns `None` after the last
    /// part, or if a batch `has_begun` that the row cannot join.
    fn part_of(&mut self, plan: &Plan, end: u64, has_begun: bool) -> Option<Part> {
        let later = plan.parts.iter().enumerate().skip(self.part);
        let (index, part) = later.into_iter().find(|(_, part)| part.contains(end))?;
        if has_begun && index > self.part {
            return None;
        }
        self.part = index;
        Some(*part)
    }
}

#[cfg(test)]
mod tests;
