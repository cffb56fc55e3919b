//! A worker's part in the draw: makes it when it is due and nobody else does, in pieces, and answers whoever waited for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, error};
use nix::sys::eventfd::EventFd;

use super::{Service, WorkerError};
use crate::central::Central;
use crate::connection::{Connection, Phase};
use crate::storage::Drawing;

/// Bytes of bets looked at in one round: some milliseconds, during which this worker's connections wait.
const PIECE_BYTES: u64 = 1024 * 1024;
/// How long after a draw that failed (a full disk) another is tried.
const RETRY: Duration = Duration::from_secs(1);

/// The draw as far as this worker is concerned.
#[derive(Debug)]
pub struct DrawAttempt {
    /// Wakes every worker when written to: the draw was held, or somebody else must make it.
    drawn: Arc<EventFd>,
    /// The draw this worker makes at the moment, and whether it has seen all bets.
    drawing: Option<(Drawing, bool)>,
    /// No other attempt before this time.
    not_before: Option<Instant>,
}

impl DrawAttempt {
    /// Nothing is under way yet.
    pub fn new(drawn: Arc<EventFd>) -> Self {
        Self { drawn, drawing: None, not_before: None }
    }

    /// Whether this worker has a piece of the draw to make now.
    pub fn is_under_way(&self) -> bool {
        self.drawing.is_some() && !self.has_to_wait()
    }

    /// Whether the last attempt failed a moment ago.
    fn has_to_wait(&self) -> bool {
        self.not_before.is_some_and(|time| Instant::now() < time)
    }

    /// Whether a draw is to be made and was not, by whomever: then somebody may have to try again.
    pub fn is_due(&self, central: &Central) -> bool {
        central.is_closed() && !central.was_drawn()
    }
}

impl Service<'_> {
    /// Does what there is to do about the draw in this round.
    pub(super) fn attend_draw(&mut self) -> Result<(), WorkerError> {
        if self.draining.is_none() {
            self.make_draw()?;
        }
        if self.waiting > 0 && self.central.was_drawn() {
            self.answer_waiting()?;
        }
        Ok(())
    }

    fn make_draw(&mut self) -> Result<(), WorkerError> {
        if self.draw.has_to_wait() {
            return Ok(());
        }
        let held = match self.draw.drawing.take() {
            None => self.central.begin_draw(self.slot).map(|begun| {
                self.draw.drawing = begun.map(|drawing| (drawing, false));
                false
            }),
            Some((mut drawing, false)) => {
                self.central.advance_draw(&mut drawing, PIECE_BYTES).map(|complete| {
                    self.draw.drawing = Some((drawing, complete));
                    false
                })
            }
            Some((drawing, true)) => {
                self.central.keep_draw(&drawing).map(|()| true).inspect_err(|_| {
                    // For lack of room, most likely. What it has seen need not be looked through again.
                    self.draw.drawing = Some((drawing, true));
                })
            }
        };
        match held {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.wake_everybody();
                Ok(())
            }
            Err(failed) if failed.is_local() => {
                error("sorteo", Outcome::Fail).with("error", failed).write();
                self.draw.not_before = Some(Instant::now() + RETRY);
                Ok(())
            }
            Err(fatal) => Err(fatal.into()),
        }
    }

    /// Leaves a draw that is not held yet to the other workers.
    pub(super) fn leave_draw(&mut self) {
        if self.draw.drawing.take().is_some() {
            self.central.leave_draw();
            self.wake_everybody();
        }
    }

    fn wake_everybody(&self) {
        // If this is lost with the process, the others still look at every check of their deadlines.
        let _ = self.draw.drawn.write(1);
    }

    /// Answers everybody who waited.
    fn answer_waiting(&mut self) -> Result<(), WorkerError> {
        let waiting = |(key, connection): (usize, &Connection)| match connection.phase {
            Phase::Waiting { agency } => Some((key, agency)),
            _ => None,
        };
        let waiting: Vec<_> = self.connections.iter().filter_map(waiting).collect();
        for (key, agency) in waiting {
            self.answer_winners(key, agency)?;
        }
        Ok(())
    }
}
