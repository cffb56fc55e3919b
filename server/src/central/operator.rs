//! The commands of an operator: to confirm the draw, and to open the bets again before it is held.
//!
//! A `loteria-central draw` process writes a command to shared memory. A worker executes it within
//! 250 ms, under the lock of `ledger`. While a worker runs the draw, only this worker executes
//! commands, because no other can give up its draw.

use std::thread::sleep;
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, error, info};
use multiprocessing::{LockError, ValueGuard};

use super::locks::lock_ledger;
use super::{Central, Fatal, Files, Shared};
use crate::storage::{Ledger, LedgerWords, Storage, StorageError};

/// How long a worker waits for the lock of `ledger`.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a command waits for another command to end.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a command waits for a worker. Workers look every 250 ms.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two checks for the answer.
const PAUSE: Duration = Duration::from_millis(10);
/// A word in shared memory has the number of the command above these bits, and its code in them.
const CODE_BITS: u32 = 8;

/// A command of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OperatorCommand {
    /// Hold the draw now.
    Confirm = 1,
    /// Open the bets again: every agency has to finish again.
    Reopen = 2,
}

/// The answer of a worker to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Answer {
    /// The command has been executed.
    Done = 1,
    /// The draw has been held.
    Drawn = 2,
    /// Not every expected agency has finished.
    Open = 3,
    /// The central holds the draw without confirmation.
    Automatic = 4,
    /// A file could not be written. The log has the reason.
    Failed = 5,
}

impl Answer {
    fn of_word(word: u64) -> Self {
        match word as u8 {
            1 => Self::Done,
            2 => Self::Drawn,
            3 => Self::Open,
            4 => Self::Automatic,
            _ => Self::Failed,
        }
    }
}

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Another command holds the lock.
    #[error("another `loteria-central draw` command is running; repeat this one when it has ended")]
    Busy,
    /// No worker has answered.
    #[error(
        "no worker answered within {}s; `loteria-central status` shows the workers, and `loteria-central draw` the \
         state of the draw",
        ANSWER_TIMEOUT.as_secs()
    )]
    Silent,
    /// The lock cannot be taken.
    #[error("shared memory: {0}")]
    Lock(#[from] multiprocessing::LockFailure),
}

impl Shared {
    /// Gives a command to the workers and returns the answer of one of them.
    pub fn command(&self, command: OperatorCommand) -> Result<Answer, NoAnswer> {
        let _alone = match self.operator.lock_timeout(COMMAND_TIMEOUT) {
            Ok(guard) => guard.ok_or(NoAnswer::Busy)?,
            // A killed command leaves at most its word, which the next command replaces.
            Err(LockError::OwnerDied(inherited)) => inherited.repaired(),
            Err(LockError::Failed(failure)) => return Err(failure.into()),
        };
        let number = number_of(self.command.load().max(self.answer.load())) + 1;
        self.command.store(number << CODE_BITS | command as u64);
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let word = self.answer.load();
            if number_of(word) == number {
                return Ok(Answer::of_word(word));
            }
            if Instant::now() >= deadline {
                // Withdraws the command, so that no worker executes it much later. It keeps its
                // number, so a late answer is not taken for that of the next command.
                self.command.store(number << CODE_BITS);
                return Err(NoAnswer::Silent);
            }
            sleep(PAUSE);
        }
    }

    /// Returns true if bets are closed and the draw waits for an operator.
    pub fn awaits_confirmation(&self) -> bool {
        self.drawn.load() == 0
            && self.finished.load() >= self.expected.load()
            && self.needs_confirmation.load() != 0
            && self.confirmed.load() == 0
    }

    /// Logs that bets are closed and the draw waits for an operator, if it does.
    pub fn log_missing_confirmation(&self) {
        if self.awaits_confirmation() {
            let reason = "every expected agency has finished, so bets are closed; `loteria-central draw \
                          --confirm` holds the draw, `loteria-central draw --reopen` opens the bets again";
            info("sorteo", Outcome::InProgress).with("reason", reason).write();
        }
    }

    /// Returns the command that no worker has answered yet, with its word.
    pub(super) fn pending_command(&self) -> Option<(u64, OperatorCommand)> {
        let word = self.command.load();
        if number_of(word) == number_of(self.answer.load()) {
            return None;
        }
        let command = match word as u8 {
            1 => OperatorCommand::Confirm,
            2 => OperatorCommand::Reopen,
            _ => return None,
        };
        Some((word, command))
    }
}

impl Shared {
    /// Answers a command.
    pub(super) fn answer_command(&self, word: u64, answer: Answer) {
        self.answer.store(number_of(word) << CODE_BITS | answer as u64);
    }
}

fn number_of(word: u64) -> u64 {
    word >> CODE_BITS
}

impl Central<Files> {
    /// Executes the pending command of an operator, if there is one and this worker may. Returns
    /// true if bets are open again, so that a draw of this worker is void.
    pub fn obey(&mut self, slot: usize) -> Result<bool, Fatal> {
        // Check without the lock first, because every worker checks in every round.
        if self.shared.pending_command().is_none() {
            return Ok(false);
        }
        let locked = lock_ledger(&self.shared, &self.store.storage, &self.waits, LOCK_TIMEOUT)?;
        // If the lock is not free, the next round tries again.
        let Ok(mut guard) = locked else { return Ok(false) };
        self.check_durability()?;
        let owner = self.shared.draw_owner.load();
        let Some((word, command)) = self.shared.pending_command() else { return Ok(false) };
        if owner != 0 && owner != slot as u32 + 1 {
            return Ok(false);
        }
        let answer = match command {
            OperatorCommand::Confirm => self.confirm(),
            OperatorCommand::Reopen => {
                let (shared, storage) = (&self.shared, &mut self.store.storage);
                let reopened = self.waits.heartbeat.on_disk(|| reopen(shared, storage, &mut guard));
                match reopened {
                    Ok(answer) => answer,
                    Err(error) => {
                        // The next owner must recover, as after a failed commit.
                        std::mem::forget(guard);
                        return Err(self.shared.note_failure(error.into()));
                    }
                }
            }
        };
        self.shared.answer_command(word, answer);
        Ok(answer == Answer::Done && command == OperatorCommand::Reopen)
    }

    fn confirm(&self) -> Answer {
        if self.was_drawn() {
            Answer::Drawn
        } else if self.shared.needs_confirmation.load() == 0 {
            Answer::Automatic
        } else if !self.is_closed() {
            Answer::Open
        } else {
            self.shared.confirmed.store(1);
            info("confirm_draw", Outcome::Success).write();
            Answer::Done
        }
    }
}

/// Opens the bets again. The caller holds the ledger's lock.
fn reopen(
    shared: &Shared,
    storage: &mut Storage,
    ledger: &mut ValueGuard<'_, LedgerWords>,
) -> Result<Answer, StorageError> {
    // The draw has been held once its file is in place, even if the worker died then.
    if shared.drawn.load() != 0 || storage.has_draw()? {
        return Ok(Answer::Drawn);
    }
    let finished = shared.finished.load();
    // In this order, so that a death in between leaves no confirmation of an earlier closing, and
    // no agency that waits without its mark.
    shared.confirmed.store(0);
    shared.draw_owner.store(0);
    shared.reopened.fetch_add(1);
    let (after, refused) = storage.reopen(Ledger::from(**ledger), shared.durable.load())?;
    **ledger = after.into();
    if let Some(reason) = refused {
        error("reopen_bets", Outcome::Fail).with("error", reason).write();
        return Ok(Answer::Failed);
    }
    shared.durable.fetch_max(after.records);
    shared.set_finished(std::iter::empty());
    info("reopen_bets", Outcome::Success).with("cleared_agencies", finished).write();
    Ok(Answer::Done)
}
