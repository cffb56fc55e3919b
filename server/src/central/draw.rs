//! The draw as the central holds it: who has finished, when it is due, who makes it, and what it came to.
//!
//! When the last expected agency finishes, bets are closed, in the same moment and under the same lock under which they are stored:
//! what is stored then is what the draw is held over. One worker makes it, piece by piece between its other work; if it dies,
//! another begins anew. The draw has been held when its file is in place; nothing is answered before.

use std::io;

use conventions::log_line::{Outcome, info};

use super::{Central, CentralError, lock_ledger};
use crate::storage::{Drawing, Ledger, StorageError};

impl Central {
    /// Notes that an agency has finished; once is enough, and more often does no harm. It counts for good once
    /// [`publish`](Self::publish) has run.
    ///
    /// # Errors
    /// [`CentralError::NotStored`] when it could not be noted and the central can go on; otherwise the process must end.
    pub fn finish(&mut self, agency: u16) -> Result<(), CentralError> {
        let _guard = lock_ledger(&self.shared, &self.storage)?;
        self.still_reliable()?;
        self.unsynced = true;
        if self.storage.has_finished(agency).map_err(CentralError::NotStored)? {
            return Ok(());
        }
        self.storage.note_finished(agency).map_err(CentralError::NotStored)?;
        let finished = self.shared.finished.fetch_add(1) + 1;
        info("notificacion_recibida", Outcome::Success)
            .with("agencia", agency)
            .with("terminadas", finished)
            .with("esperadas", self.shared.expected.load())
            .write();
        Ok(())
    }

    /// Whether bets are closed: every expected agency has finished, or the draw was held.
    pub fn is_closed(&self) -> bool {
        self.was_drawn() || self.shared.finished.load() >= self.shared.expected.load()
    }

    /// Whether the draw was held.
    pub fn was_drawn(&self) -> bool {
        self.shared.drawn.load() != 0
    }

    /// Begins the draw in worker `slot`, if it is due and nobody makes it already.
    ///
    /// # Errors
    /// [`CentralError::NotStored`] when the draw cannot be begun now; otherwise the process must end.
    pub fn begin_draw(&mut self, slot: usize) -> Result<Option<Drawing>, CentralError> {
        // The owner first: whoever held the draw gave it up only when it was held, so nobody free means that held is told too.
        let due = || self.is_closed() && self.shared.draw_owner.load() == 0 && !self.was_drawn();
        // Looked at without the lock first: every round of every worker asks.
        if !due() {
            return Ok(None);
        }
        let ledger = {
            let guard = lock_ledger(&self.shared, &self.storage)?;
            if !due() {
                return Ok(None);
            }
            self.shared.draw_owner.store(slot as u32 + 1);
            Ledger::from(*guard)
        };
        // Nobody may learn a winner that a power loss could take back.
        self.make_durable(ledger)?;
        self.make_finished_durable()?;
        self.storage.begin_draw(&ledger).map(Some).map_err(|error| self.give_up_draw(error))
    }

    /// Goes on with the draw for about `bytes` bytes of bets. Whether it has seen them all.
    ///
    /// # Errors
    /// [`CentralError::NotStored`] when they cannot be read; somebody may begin it anew.
    pub fn advance_draw(&self, drawing: &mut Drawing, bytes: u64) -> Result<bool, CentralError> {
        self.storage.advance_draw(drawing, bytes).map_err(|error| self.give_up_draw(error))
    }

    /// Ends a draw that has seen all bets: from now on it has been held.
    ///
    /// # Errors
    /// [`CentralError::NotStored`] when the result cannot be kept; it may be tried again.
    pub fn keep_draw(&self, drawing: &Drawing) -> Result<(), CentralError> {
        self.storage.keep_draw(drawing).map_err(CentralError::NotStored)?;
        // Before anybody can be answered. No other key: this line is looked for as it stands.
        info("sorteo", Outcome::Success).write();
        self.shared.drawn.store(1);
        self.shared.draw_owner.store(0);
        Ok(())
    }

    /// Leaves the draw that this worker has begun and not ended to whoever begins it anew.
    pub fn leave_draw(&self) {
        self.shared.draw_owner.store(0);
    }

    fn give_up_draw(&self, error: StorageError) -> CentralError {
        self.leave_draw();
        CentralError::NotStored(error)
    }

    /// The documents of an agency's winners. Only after the draw.
    ///
    /// # Errors
    /// [`CentralError::NotStored`] or [`CentralError::Draw`] when its file cannot be read.
    pub fn winners_of(&mut self, agency: u16) -> Result<Vec<String>, CentralError> {
        if self.draw.is_none() {
            self.draw = self.storage.draw().map_err(CentralError::NotStored)?;
        }
        // Only when somebody took the file away: an empty answer would be a wrong one.
        let gone = || io::Error::new(io::ErrorKind::NotFound, "draw.csv is gone");
        let documents = self.draw.as_ref().ok_or_else(gone).and_then(|draw| draw.documents(agency));
        documents.map_err(|source| CentralError::Draw { agency, source })
    }
}
