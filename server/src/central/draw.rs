//! The draw in the shared state: when it is due, which worker runs it, and its result.
//!
//! Bets close when the last expected agency finishes. Agencies finish under the same lock as
//! batches are stored, so the draw covers exactly what is stored then. One worker runs it, in
//! pieces between its other work. If that worker dies, another one starts over. The draw has been
//! held once its file is in place. No query for winners is answered before that.

use std::io;

use conventions::log_line::{Outcome, info};

use super::{Central, Fatal, Rejected, lock_ledger};
use crate::storage::{Drawing, FileError, Ledger};

impl Central {
    /// Returns true if bets are closed: every expected agency has finished, or the draw has been
    /// held.
    pub fn is_closed(&self) -> bool {
        self.was_drawn() || self.shared.finished.load() >= self.shared.expected.load()
    }

    /// Returns true if an agency has finished.
    pub fn has_finished(&self, agency: u16) -> bool {
        self.shared.has_finished(agency)
    }

    /// Returns true if the draw has been held.
    pub fn was_drawn(&self) -> bool {
        self.shared.drawn.load() != 0
    }

    /// Returns true if the draw is held next: bets are closed, and an operator has confirmed the
    /// draw if that is required.
    fn is_due(&self) -> bool {
        self.is_closed() && !self.shared.awaits_confirmation()
    }

    /// Begins the draw in worker `slot` if it is due and no worker is running it.
    pub fn begin_draw(&mut self, slot: usize) -> Result<Result<Option<Drawing>, Rejected>, Fatal> {
        // Read `draw_owner` before `drawn`: the owner clears itself only after it has set `drawn`.
        let due = || self.is_due() && self.shared.draw_owner.load() == 0 && !self.was_drawn();
        // Check without the lock first, because every worker checks in every round.
        if !due() {
            return Ok(Ok(None));
        }
        let ledger = {
            let guard = lock_ledger(&self.shared, &self.storage)?;
            if !due() {
                return Ok(Ok(None));
            }
            self.shared.draw_owner.store(slot as u32 + 1);
            Ledger::from(*guard)
        };
        // No agency may learn a winner that a power loss could take back.
        self.make_durable(ledger)?;
        self.make_finished_durable()?;
        let begun = self.storage.begin_draw(&ledger).map(Some);
        Ok(begun.map_err(|error| self.give_up_after(error)))
    }

    /// Continues the draw for about `bytes` bytes of bets. Returns true once it has read all bets.
    /// After an error, any worker may start over.
    pub fn advance_draw(&self, drawing: &mut Drawing, bytes: u64) -> Result<bool, Rejected> {
        self.storage.advance_draw(drawing, bytes).map_err(|error| self.give_up_after(error))
    }

    /// Stores the result of a draw that has read all bets. From then on the draw has been held.
    /// After an error, the caller may retry.
    pub fn finish_draw(&self, drawing: &Drawing) -> Result<(), Rejected> {
        self.storage.write_draw(drawing)?;
        // Log before any agency can be answered, and without further keys, because the course's
        // tests match this line.
        info("sorteo", Outcome::Success).write();
        self.shared.drawn.store(1);
        self.shared.draw_owner.store(0);
        Ok(())
    }

    /// Gives up the draw that this worker has begun, so that any worker may start over.
    pub fn give_up_draw(&self) {
        self.shared.draw_owner.store(0);
    }

    fn give_up_after(&self, error: FileError) -> Rejected {
        self.give_up_draw();
        error.into()
    }

    /// Returns the documents of an agency's winners, after the draw.
    pub fn winners_of(&mut self, agency: u16) -> Result<Vec<String>, Rejected> {
        if self.draw.is_none() {
            self.draw = self.storage.draw()?;
        }
        // This happens only if the file was removed. An empty answer would be wrong.
        let gone = || io::Error::new(io::ErrorKind::NotFound, "draw.csv is gone");
        let documents = self.draw.as_ref().ok_or_else(gone).and_then(|draw| draw.documents(agency));
        documents.map_err(|source| Rejected::Draw { agency, source })
    }
}
