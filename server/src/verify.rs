//! The command `verify`: checks every byte of the storage of a stopped central, or of a lottery in
//! an engine.

use std::path::Path;

use conventions::log_line::{Outcome, error, info, warn};

use crate::config::StorageChoice;
use crate::exit_code::ExitCode;
use crate::inspect::Lottery;
use crate::storage;

/// What to do about the problems of a storage.
const ADVICE: &str = "restore these files from a backup; or correct the lines, move the journal \
                      away, and the next start counts the totals from bets.csv";

/// Checks the storage that the settings name, and logs what is wrong with it. `directory` is that
/// of the files.
pub fn run(storage: &StorageChoice, directory: &Path) -> ExitCode {
    match Lottery::of(storage) {
        Ok(Some(lottery)) => lottery.verify(),
        Ok(None) => files(directory),
        Err(reason) => {
            error("verify", Outcome::Fail).with("error", reason).write();
            ExitCode::Failed
        }
    }
}

/// Checks the storage in a directory.
fn files(directory: &Path) -> ExitCode {
    let report = match storage::verify(directory) {
        Ok(report) => report,
        Err(reason) => {
            error("verify", Outcome::Fail).with("error", reason).write();
            return ExitCode::Failed;
        }
    };
    for note in &report.notes {
        warn("verify", Outcome::InProgress).with("reason", note).write();
    }
    for problem in &report.problems {
        error("verify", Outcome::Fail).with("error", problem).write();
    }
    let (outcome, line): (_, fn(_, _) -> _) =
        if report.problems.is_empty() { (Outcome::Success, info) } else { (Outcome::Fail, error) };
    let line = line("verify", outcome)
        .with("bets", report.ledger.bets)
        .with("winners", report.ledger.winners)
        .with("agencies_finished", report.ledger.finished);
    if report.problems.is_empty() {
        line.write();
        return ExitCode::Done;
    }
    line.with("problems", report.problems.len()).with("next", ADVICE).write();
    ExitCode::Failed
}
