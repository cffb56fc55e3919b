//! The draw in the shared state: when it is due, which worker runs it, and its result.
//!
//! Bets close when the last expected agency finishes. Agencies finish under the same lock as
//! batches are stored, so the draw covers exactly what is stored then. One worker runs it, in
//! pieces between its other work. If that worker dies, another one starts over. The draw has been
//! held once its file is in place. No query for winners is answered before that.

use std::io;
use std::time::Duration;

use conventions::log_line::{Outcome, info, warn};
use conventions::logger;

use super::{Central, Fatal, Files, Rejected};
use crate::storage::{AgencyWinners, Draw, Drawing, FileError, Ledger};

/// How long an attempt at the draw waits for a lock. The next attempt follows soon.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

impl<S> Central<S> {
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

    /// Returns true if this process has the result of the draw.
    pub fn has_draw(&self) -> bool {
        self.draw.is_some()
    }

    /// Returns the winners of an agency, once this process has the result of the draw. None of them
    /// is read yet.
    pub fn winners_of(&self, agency: u16) -> Result<AgencyWinners, Rejected> {
        let winners = self.opened_draw().map(|draw| draw.winners(agency));
        winners.map_err(|source| Rejected::Draw { agency, source })
    }

    /// Reads the next winners of an agency, from about `bytes` bytes of the result. Returns true
    /// once all are read.
    pub fn read_winners(
        &self,
        agency: u16,
        winners: &mut AgencyWinners,
        bytes: u64,
    ) -> Result<bool, Rejected> {
        let draw = self.opened_draw();
        let read = draw.and_then(|draw| self.waits.heartbeat.on_disk(|| draw.read(winners, bytes)));
        read.map_err(|source| Rejected::Draw { agency, source })
    }

    fn opened_draw(&self) -> io::Result<&Draw> {
        // There is none only if the file was removed. An empty answer would be wrong.
        let gone = || io::Error::new(io::ErrorKind::NotFound, "draw.csv is gone");
        self.draw.as_ref().ok_or_else(gone)
    }
}

impl Central<Files> {
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
        // No agency may learn a winner that a power loss could take back.
        let closed = Ledger::from(self.shared.ledger.get());
        let durable = self.make_durable_or_await(slot, closed.records)?;
        let ledger = {
            let guard = match self.lock_ledger(LOCK_TIMEOUT)? {
                Ok(guard) => guard,
                Err(busy) => return Ok(Err(busy.into())),
            };
            // What closed the bets may not be durable yet. This worker is woken when it is.
            if !due() || Ledger::from(*guard).records > durable {
                return Ok(Ok(None));
            }
            self.shared.draw_owner.store(slot as u32 + 1);
            Ledger::from(*guard)
        };
        let begun = self.waits.heartbeat.on_disk(|| self.store.storage.begin_draw(&ledger));
        Ok(begun.map(Some).map_err(Rejected::from).inspect_err(|_| self.give_up_draw()))
    }

    /// Continues the draw for about `bytes` bytes of bets. Returns true once it has read all bets.
    /// After an error, any worker may start over.
    pub fn advance_draw(&self, drawing: &mut Drawing, bytes: u64) -> Result<bool, Rejected> {
        let advanced =
            self.waits.heartbeat.on_disk(|| self.store.storage.advance_draw(drawing, bytes));
        advanced.map_err(|error: FileError| {
            self.give_up_draw();
            error.into()
        })
    }

    /// Stores the result of a draw that has read all bets. From then on the draw has been held.
    /// After an error, the caller may retry.
    pub fn finish_draw(&self, drawing: &Drawing) -> Result<(), Rejected> {
        self.waits.heartbeat.on_disk(|| self.store.storage.write_draw(drawing))?;
        if drawing.bets() == 0 {
            warn("draw", Outcome::Success)
                .with("reason", "no bet is stored, so no agency has a winner")
                .write();
        }
        // Log before any agency can be answered, and without further keys, because the course's
        // tests match this line.
        info("sorteo", Outcome::Success).write();
        logger::flush();
        self.shared.drawn.store(1);
        self.shared.draw_owner.store(0);
        Ok(())
    }

    /// Gives up the draw that this worker has begun, so that any worker may start over.
    pub fn give_up_draw(&self) {
        self.shared.draw_owner.store(0);
    }

    /// Opens the result of the draw, unless this process has done so.
    pub fn open_draw(&mut self) -> Result<(), FileError> {
        if self.draw.is_none() {
            self.draw = self.waits.heartbeat.on_disk(|| self.store.storage.draw())?;
        }
        Ok(())
    }
}
