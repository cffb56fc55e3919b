//! What the shared state shows of a lottery whose bets are in an engine.
//!
//! The counters are a mirror. What the workers of this central have stored is in it before it is
//! acknowledged. What other centrals have stored is at most as old as the last heartbeat of a
//! worker.

use std::time::Duration;

use conventions::log_line::{Outcome, info};
use conventions::logger;

use super::operator::{Answer, OperatorCommand};
use super::{Central, Fatal, Shared};
use crate::engine::statements::{LotteryPhase, State};
use crate::engine::{Engine, Started};
use crate::roster::Roster;
use crate::storage::Draw;

/// How long a worker waits for the lock of the mirror. After that, the next group brings it up to
/// date.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);

impl Central<Engine> {
    /// Returns the access of the supervisor that starts a central on an engine.
    pub fn on_engine(
        shared: Shared,
        engine: Engine,
        roster: Option<Roster>,
        started: &Started,
    ) -> Result<Self, Fatal> {
        shared.set_roster(roster.iter().flat_map(Roster::numbers));
        if started.state.phase == LotteryPhase::Drawn {
            shared.drawn.store(1);
            let advice = "the draw of this lottery has been held, so bets are closed; a new one needs \
                          another SERVER_LOTTERY";
            info("sorteo", Outcome::InProgress).with("reason", advice).write();
        }
        shared.expected.store(started.state.expected);
        let central = Self::with_store(shared, engine, roster);
        for (slot, counted) in &started.rows {
            central.mirror(*slot, *counted)?;
        }
        central.mirror_state(&started.state)?;
        Ok(central)
    }

    /// Shows what the row of a slot counts now: bets and winners. The slot behind the last one
    /// stands for all other rows.
    pub fn mirror(&self, slot: usize, (bets, winners): (u64, u64)) -> Result<(), Fatal> {
        let Ok(mut total) = self.lock_winners(LOCK_TIMEOUT)? else { return Ok(()) };
        let more = winners.saturating_sub(self.shared.row_winners.load(slot));
        if more > 0 {
            self.shared.row_winners.store(slot, winners);
            *total += more;
            total.commit();
        }
        let more = bets.saturating_sub(self.shared.row_bets.load(slot));
        if more > 0 {
            self.shared.row_bets.store(slot, bets);
            self.shared.bets.fetch_add(more);
        }
        Ok(())
    }

    /// Shows the state of the lottery.
    pub fn mirror_state(&self, state: &State) -> Result<(), Fatal> {
        self.mirror(self.store.slots, state.elsewhere)?;
        let shared = &self.shared;
        let awaited = shared.awaits_confirmation();
        shared.expected.store(state.expected);
        shared.needs_confirmation.store(state.confirm.0.into());
        shared.confirmed.store(state.confirm.1.into());
        let reopened = u32::try_from(state.reopened).unwrap_or(u32::MAX);
        if let Some(agencies) = &state.agencies {
            let Ok(_alone) = self.lock_winners(LOCK_TIMEOUT)? else { return Ok(()) };
            // Without a reopening no mark disappears, and another worker may show more already.
            if shared.reopened.load() < reopened {
                shared.set_finished(agencies.iter().copied());
            } else {
                self.show_finished(agencies);
            }
        }
        shared.finished.store(u32::try_from(state.finished).unwrap_or(u32::MAX));
        shared.reopened.fetch_max(reopened);
        if !awaited {
            shared.log_missing_confirmation();
        }
        if state.phase == LotteryPhase::Drawn && shared.drawn.compare_exchange(0, 1).is_ok() {
            // Before any agency can be answered, and without further keys, because the course's
            // tests match this line.
            info("sorteo", Outcome::Success).write();
            logger::flush();
        }
        Ok(())
    }

    /// Shows agencies that have finished. The caller holds the lock of `winners`, with an engine.
    fn show_finished(&self, agencies: &[u16]) {
        for agency in agencies {
            self.shared.add_finished(*agency);
        }
    }

    /// Shows the agencies that this worker has marked, and how many have finished after that.
    pub fn mirror_finished(
        &self,
        added: &[u16],
        finished: i64,
        expected: u32,
    ) -> Result<(), Fatal> {
        let awaited = self.shared.awaits_confirmation();
        if let Ok(_alone) = self.lock_winners(LOCK_TIMEOUT)? {
            self.show_finished(added);
        }
        self.shared.expected.store(expected);
        self.shared.finished.store(u32::try_from(finished).unwrap_or(u32::MAX));
        if !awaited {
            self.shared.log_missing_confirmation();
        }
        Ok(())
    }

    /// Takes the command of an operator, if there is one and no other worker has taken it. Returns
    /// it with its word.
    pub fn take_command(&self, slot: usize) -> Option<(u64, OperatorCommand)> {
        let pending = self.shared.pending_command()?;
        let owner = &self.shared.draw_owner;
        owner.compare_exchange(0, slot as u32 + 1).is_ok().then_some(pending)
    }

    /// Answers a command that this worker has taken, or gives it back.
    pub fn end_command(&self, word: u64, answer: Option<Answer>) {
        if let Some(answer) = answer {
            self.shared.answer_command(word, answer);
        }
        self.shared.draw_owner.store(0);
    }

    /// Uses this result of the draw.
    pub fn set_draw(&mut self, draw: Draw) {
        self.draw = Some(draw);
    }

    /// Uses another roster, in the supervisor.
    pub fn set_roster(&mut self, roster: Option<Roster>) {
        self.shared.set_roster(roster.iter().flat_map(Roster::numbers));
        self.roster = roster;
    }

    /// Fails if another program has deleted or replaced the shared memory.
    pub fn check_memory(&self) -> Result<(), Fatal> {
        self.check_durability()?;
        self.check_segment().map_err(|lost| self.shared.note_failure(lost))
    }
}
