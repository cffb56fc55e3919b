//! The worker's part in the draw: runs it, in pieces, when it is due and no other worker does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, error};
use nix::sys::eventfd::EventFd;

use crate::central::{Central, Fatal, Files, Rejected};
use crate::storage::Drawing;

/// Bytes of bets read per round if all are read, or winners in the same time. This takes a few
/// milliseconds, during which the worker's connections wait.
const PIECE_BYTES: u64 = 1024 * 1024;
/// Time between a failed attempt, for example on a full disk, and the next.
const RETRY: Duration = Duration::from_secs(1);

/// This worker's attempt at the draw.
#[derive(Debug)]
pub struct DrawAttempt {
    /// Wakes every worker when written to: the draw has been held, or another worker must run it.
    drawn: Arc<EventFd>,
    /// The draw that this worker is running, and true once it has read all bets.
    drawing: Option<(Drawing, bool)>,
    /// No attempt before this time.
    not_before: Option<Instant>,
    /// The last failure, and how many times in a row it occurred.
    failed: (String, u64),
}

impl DrawAttempt {
    /// Returns an attempt that has not begun.
    pub fn new(drawn: Arc<EventFd>) -> Self {
        Self { drawn, drawing: None, not_before: None, failed: (String::new(), 0) }
    }

    /// Returns true if this worker has a piece of the draw to do now.
    pub fn is_under_way(&self) -> bool {
        self.drawing.is_some() && !self.is_paused()
    }

    /// Returns true if the last attempt failed a moment ago.
    fn is_paused(&self) -> bool {
        self.not_before.is_some_and(|time| Instant::now() < time)
    }

    /// Executes the command of an operator, and does this round's part of the draw, if there is any
    /// for this worker.
    pub fn advance(&mut self, central: &mut Central<Files>, slot: usize) -> Result<(), Fatal> {
        if central.obey(slot)? {
            self.drawing = None;
        }
        if self.is_paused() {
            return Ok(());
        }
        match self.advance_by_a_piece(central, slot)? {
            Ok(false) => {}
            Ok(true) => self.wake_all(),
            Err(failed) => {
                central.shared().draw_failures.fetch_add(1);
                self.log(failed.to_string());
                self.not_before = Some(Instant::now() + RETRY);
            }
        }
        Ok(())
    }

    /// Begins the draw, or reads a piece of the bets, or writes the result. Returns true once the
    /// draw has been held.
    fn advance_by_a_piece(
        &mut self,
        central: &mut Central<Files>,
        slot: usize,
    ) -> Result<Result<bool, Rejected>, Fatal> {
        Ok(match self.drawing.take() {
            None => central.begin_draw(slot)?.map(|begun| {
                self.drawing = begun.map(|drawing| (drawing, false));
                false
            }),
            Some((mut drawing, false)) => {
                central.advance_draw(&mut drawing, PIECE_BYTES).map(|complete| {
                    self.drawing = Some((drawing, complete));
                    false
                })
            }
            Some((drawing, true)) => {
                central.finish_draw(&drawing).map(|()| true).inspect_err(|_| {
                    // Probably the disk is full. Keep the result, so that the next attempt does
                    // not read the bets again.
                    self.drawing = Some((drawing, true));
                })
            }
        })
    }

    /// Logs a failure. If it repeats, logs its second, fourth, eighth time and so on, because it
    /// may last for days.
    fn log(&mut self, failed: String) {
        let (last, times) = &mut self.failed;
        if *last != failed {
            (*last, *times) = (failed, 0);
        }
        *times += 1;
        if times.is_power_of_two() {
            error("sorteo", Outcome::Fail).with("error", last).with("attempts", times).write();
        }
    }

    /// Gives up a draw that is under way, so that another worker runs it.
    pub fn give_up(&mut self, central: &Central<Files>) {
        if self.drawing.take().is_some() {
            central.give_up_draw();
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        // If the process dies before this write, the others notice when they check their
        // deadlines.
        let _ = self.drawn.write(1);
    }
}
