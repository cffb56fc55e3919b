//! Records the progress of a run for the next one.

use std::fmt::Display;

use conventions::log_line::Outcome;
use log::Level;

use super::Agency;
use super::batches::Batches;
use crate::failure::RunError;
use crate::resume::{Plan, Resume, ResumeError};

impl Agency<'_> {
    /// Records the batches of this run before the first of them is sent. `sent` is the end of the
    /// last batch that earlier runs may have sent.
    pub(super) fn record_plan(
        &mut self,
        batches: &Batches,
        sent: u64,
        plan: impl FnOnce(&mut Plan, u64),
    ) -> Result<(), RunError> {
        let Some(resume) = &mut self.resume else { return Ok(()) };
        let begun = resume.begin(batches.dataset().file(), self.stored, plan);
        self.plan = resume.plan().clone();
        begun.map_err(|source| self.cannot_resume(source))?;
        self.sent = Some(sent);
        Ok(())
    }

    /// Records the acknowledged batches, from time to time.
    pub(super) fn record_stored(&mut self) {
        if let Some(resume) = &mut self.resume
            && let Err(error) = resume.update(self.stored)
        {
            self.log_unrecorded(&error);
        }
    }

    /// Records the end of sending.
    pub(super) fn record_end(&mut self) {
        if let (Some(resume), Some(sent)) = (&mut self.resume, self.sent)
            && let Err(error) = resume.end(self.stored, sent, self.has_sent_all)
        {
            self.log_unrecorded(&error);
        }
    }

    /// Returns the error for a session that cannot be continued.
    pub(super) fn cannot_resume(&self, source: ResumeError) -> RunError {
        let acknowledged = self.resume.as_ref().map(Resume::acknowledged);
        let stored = acknowledged.map_or(self.stored.rows, |it| it.rows.max(self.stored.rows));
        RunError::Resume { source, stored }
    }

    /// Logs that the state could not be written again. The run continues, because the state that
    /// was written before it is still valid: it only knows fewer acknowledged rows.
    fn log_unrecorded(&self, error: &ResumeError) {
        let details: [(&str, &dyn Display); 2] = [("client_id", &self.config.id), ("error", error)];
        self.progress.log(Level::Warn, "resume", Outcome::Fail, &details);
    }
}
