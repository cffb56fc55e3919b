//! Continues the session of earlier runs: finds out which batches the central has stored.

use std::fmt::Display;

use conventions::log_line::Outcome;
use log::Level;
use lottery::protocol::{Advice, Denied, Receipt};

use super::batches::{Batch, Batches};
use super::{Agency, Request, RequestError, or_denied};
use crate::dataset::{Dataset, DatasetError};
use crate::failure::{Rows, RunError};
use crate::resume::{Intact, Plan, ResumeError, Rules};

impl Agency<'_> {
    /// Skips the batches that the central has stored. Returns the next batch, which is in the
    /// codec; `None` if all rows are stored.
    ///
    /// The last stored batch is sent again, so that the central compares its content too.
    pub(super) fn catch_up(&mut self, batches: &mut Batches) -> Result<Option<Batch>, RunError> {
        let Some(resume) = &self.resume else { return self.fill(batches) };
        self.plan = resume.plan().clone();
        let compared = resume.compare(batches.dataset().file());
        let intact = compared.map_err(|source| self.cannot_resume(source))?;
        let acknowledged = self.stored;

        let mut next = self.fill_sent(batches, intact)?;
        if next.is_none() {
            return Err(self.cannot_resume(ResumeError::Shortened { rows: 0 }));
        }
        let stored = self.query_stored()?;
        if stored < acknowledged.batches {
            return Err(self.cannot_resume(self.lacks(stored)));
        }
        (self.stored.batches, self.stored.rows) = (0, 0);
        let mut last = None;
        while self.stored.batches < stored {
            if self.stop.requested().is_some() {
                return Err(self.stopped());
            }
            let Some(batch) = next else {
                let rows = self.stored.rows;
                return Err(self.cannot_resume(ResumeError::Shortened { rows }));
            };
            let sequence = self.stored.batches + 1;
            // A line break at the end of the file may be new.
            if !intact.is_whole && batch.end > intact.bytes {
                return Err(self.changed(intact));
            }
            if sequence == stored {
                self.confirm(&batch, sequence, intact)?;
            }
            self.codec.clear();
            self.stored.batches = sequence;
            self.stored.rows += batch.bets;
            last = next;
            // The rows after the stored ones may have changed, and need not be valid.
            let filled = if sequence < stored {
                self.fill_sent(batches, intact)
            } else {
                self.fill(batches)
            };
            next = filled?;
        }
        self.continue_plan(batches, last, next)
    }

    /// Decides how the rows after `next` are divided, and records it. `last` is the last stored
    /// batch, and `next` the one in the codec, if the earlier runs have planned one. Returns the
    /// batch in the codec.
    ///
    /// The next batch may still be on its way to the central, so it stays as earlier runs have
    /// made it.
    fn continue_plan(
        &mut self,
        batches: &mut Batches,
        last: Option<Batch>,
        next: Option<Batch>,
    ) -> Result<Option<Batch>, RunError> {
        let rules = Rules::of(self.config);
        let from = next.or(last);
        let sent = from.map_or(0, |batch| batch.end);
        self.record_plan(batches, sent, |plan, end| match from {
            Some(batch) => plan.continue_after(batch.end, batch.is_short, end, rules),
            None => *plan = Plan::of(end, rules),
        })?;
        let next = match next {
            Some(next) => Some(next),
            None => self.fill(batches)?,
        };
        let rows = Rows { first: 1, last: self.stored.rows, lines: None };
        let rest = match next {
            Some(_) => "sends the other rows",
            None => "all rows were sent before; only asks for the winners",
        };
        let details: [(&str, &dyn Display); 4] = [
            ("client_id", &self.config.id),
            ("file", &self.config.data.display()),
            ("rows_stored", &rows),
            ("next", &rest),
        ];
        self.progress.log(Level::Info, "resume", Outcome::Success, &details);
        Ok(next)
    }

    /// Fills the codec with a batch that earlier runs may have sent. If one of its rows is not
    /// valid, the row has changed.
    fn fill_sent(
        &mut self,
        batches: &mut Batches,
        intact: Intact,
    ) -> Result<Option<Batch>, RunError> {
        self.fill(batches).map_err(|error| match error {
            RunError::Dataset { source: DatasetError::Row { .. }, .. } if !intact.is_whole => {
                self.changed(intact)
            }
            error => error,
        })
    }

    /// Asks the central for the number of stored batches.
    fn query_stored(&mut self) -> Result<u64, RunError> {
        // Every dialect with keys has the question.
        let question = self.codec.session_question().unwrap_or_default();
        let codec = &*self.codec;
        let next = self.central.request(Request::Session, &question, |reply| {
            or_denied(codec, reply, codec.next_sequence(reply))
        });
        match next {
            Ok(next) => Ok(next.saturating_sub(1)),
            Err(RequestError::Denied(Denied { reason, .. })) => {
                Err(self.cannot_resume(ResumeError::NoAnswer { reason }))
            }
            Err(RequestError::Stopped { .. }) => Err(self.stopped()),
            Err(source) => Err(self.unasked(source)),
        }
    }

    /// Sends the last stored batch again. Fails if the central has stored other content.
    fn confirm(&mut self, batch: &Batch, sequence: u64, intact: Intact) -> Result<(), RunError> {
        match self.store(sequence, None).0 {
            Ok(Receipt::Stored { .. }) => Ok(()),
            Err(RequestError::Denied(denied)) if denied.advice == Advice::Stop => {
                // The batch is shorter than before if the rows after it were removed.
                if !intact.is_whole {
                    return Err(self.changed(intact));
                }
                let Rows { first, last, .. } = self.rows(batch);
                let reason = denied.reason;
                Err(self.cannot_resume(ResumeError::Unconfirmed { first, last, reason }))
            }
            Err(RequestError::Stopped { .. }) => Err(self.stopped()),
            Err(source @ (RequestError::Unreachable { .. } | RequestError::Unanswered(_))) => {
                Err(self.unasked(source))
            }
            other => Err(self.batch_error(other, sequence, self.rows(batch))),
        }
    }

    fn unasked(&self, source: RequestError) -> RunError {
        self.cannot_resume(ResumeError::Unasked(Box::new(source)))
    }

    /// Returns the error for an answer that names another batch than the one after the stored
    /// batches.
    pub(super) fn lost_or_ahead(&self, denied: &Denied, sequence: u64) -> Option<ResumeError> {
        match denied.advice {
            Advice::ResendFrom(expected) if expected < sequence => {
                Some(self.lacks(expected.saturating_sub(1)))
            }
            Advice::ResendFrom(expected) if expected > sequence => {
                Some(ResumeError::Ahead { expected, sent: sequence })
            }
            _ => None,
        }
    }

    /// Returns the error for a central that has only the first batches of the session.
    fn lacks(&self, batches: u64) -> ResumeError {
        ResumeError::Lacks { first: self.rows_of(batches) + 1, last: self.stored.rows }
    }

    /// Returns the number of rows in the first batches of the session.
    fn rows_of(&self, count: u64) -> u64 {
        let dataset = Dataset::open(&self.config.data, self.config.id);
        let (Ok(dataset), Some(new), 1..) = (dataset, self.config.protocol.agency, count) else {
            return 0;
        };
        let mut codec = self.config.codec(new, [0; 16]);
        let mut batches = Batches::new(dataset);
        let mut rows = 0;
        for _ in 0..count {
            let Ok(Some(batch)) = batches.fill(&self.plan, &mut *codec) else { break };
            codec.clear();
            rows += batch.bets;
        }
        rows
    }

    /// Returns the error for a file whose row after its intact bytes has changed.
    fn changed(&self, intact: Intact) -> RunError {
        let found = Dataset::open(&self.config.data, self.config.id);
        let (row, line) = found.map_or((0, None), |dataset| row_after(dataset, intact.bytes));
        self.cannot_resume(ResumeError::Changed { row, line })
    }
}

/// Returns the number of the first row that ends after these bytes of the file, and its line. The
/// row after the last one has no line.
fn row_after(mut dataset: Dataset, bytes: u64) -> (u64, Option<u64>) {
    loop {
        let more = dataset.advance();
        if matches!(more, Ok(false)) {
            return (dataset.row() + 1, None);
        }
        // Rows that were not sent need not be valid.
        let is_readable = more.as_ref().map_or_else(DatasetError::is_of_columns, |_| true);
        if dataset.position() > bytes || !is_readable {
            return (dataset.row(), Some(dataset.line()));
        }
    }
}
