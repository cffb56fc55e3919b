//! A lottery in an engine, as the commands see it: with or without a central on this machine.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use central_view::Status;
use conventions::log_line::{Outcome, error, info};
use postgres_link::{ResolveError, Servers};
use serde::Serialize;

use super::draw::DrawState;
use super::failed;
use crate::central::OperatorCommand;
use crate::config::StorageChoice;
use crate::engine::{
    LotteryPhase, Operated, Overview, ReadError, Snapshot, export, operate, overview, verify,
};
use crate::exit_code::ExitCode;

/// What to do about the problems of a lottery.
const ADVICE: &str =
    "restore the database from a backup; `loteria-central export` writes what it has";

/// Time to connect for a status that also has a central, which must not wait for long.
const BESIDE_CENTRAL: Duration = Duration::from_secs(1);
/// Time to connect for a status that has nothing else.
const ALONE: Duration = Duration::from_secs(5);

/// A lottery in an engine.
#[derive(Debug)]
pub struct Lottery {
    servers: Servers,
    name: String,
}

/// Why a lottery cannot be examined.
#[derive(Debug, thiserror::Error)]
pub enum LotteryError {
    /// No host of the URL has an address.
    #[error("SERVER_STORAGE: {0}")]
    Resolve(#[from] ResolveError),
    /// It cannot be read.
    #[error("the lottery in the engine: {0}")]
    Read(#[from] ReadError),
    /// The draw has been held.
    #[error(
        "the draw has been held, and bets stay closed; a new lottery needs another SERVER_LOTTERY"
    )]
    Drawn,
    /// Not every expected agency has finished.
    #[error(
        "{finished} of {expected} agencies have finished; the draw can be confirmed when all have"
    )]
    Open {
        /// Agencies that have finished.
        finished: u32,
        /// Agencies that the draw waits for.
        expected: u32,
    },
    /// The lottery needs no confirmation.
    #[error("this lottery holds the draw without confirmation (SERVER_DRAW = automatic)")]
    Automatic,
}

/// The status of a central and of its lottery.
#[derive(Serialize)]
struct Both {
    #[serde(flatten)]
    central: Option<Status>,
    lottery: Option<Overview>,
    lottery_error: Option<String>,
}

impl Lottery {
    /// Returns the lottery that the settings name; `None` if the bets are in files. Resolves the
    /// names of its servers.
    pub fn of(storage: &StorageChoice) -> Result<Option<Self>, LotteryError> {
        match storage {
            StorageChoice::Files => Ok(None),
            StorageChoice::Engine { url, lottery, .. } => {
                Ok(Some(Self { servers: url.resolve()?, name: lottery.clone() }))
            }
        }
    }

    /// Returns the status of the lottery, with that of the central of this machine if one runs.
    /// Fails if neither can be read.
    pub fn status(&self, central: Option<Status>, json: bool) -> Result<String, LotteryError> {
        let limit = if central.is_some() { BESIDE_CENTRAL } else { ALONE };
        let (lottery, lottery_error) = match overview(&self.servers, &self.name, limit) {
            Ok(lottery) => (Some(lottery), None),
            Err(error) if central.is_none() => return Err(error.into()),
            Err(error) => (None, Some(LotteryError::from(error).to_string())),
        };
        if json {
            let both = Both { central, lottery, lottery_error };
            // Cannot fail: the status holds only numbers and texts.
            return Ok(serde_json::to_string(&both).unwrap_or_default() + "\n");
        }
        let parts = [
            central.map(|central| central.table()),
            lottery.map(|lottery| lottery.table()),
            lottery_error.map(|error| format!("NOT KNOWN: {error}\n")),
        ];
        Ok(parts.into_iter().flatten().collect::<Vec<_>>().join("\n"))
    }

    /// Returns the state of the draw.
    pub fn draw_state(&self) -> Result<DrawState, LotteryError> {
        let summary = Snapshot::open(&self.servers, &self.name)?.summary()?;
        let mut missing = summary.roster.unwrap_or_default();
        missing.retain(|agency| !summary.finished.contains(agency));
        Ok(DrawState {
            finished: summary.finished,
            missing,
            expected: summary.expected,
            is_drawn: summary.phase == LotteryPhase::Drawn,
            awaits_confirmation: summary.awaits_confirmation,
        })
    }

    /// Executes a command of an operator. Returns what happened.
    pub fn execute(&self, command: OperatorCommand) -> Result<&'static str, LotteryError> {
        let name = match command {
            OperatorCommand::Confirm => "confirm",
            OperatorCommand::Reopen => "reopen",
        };
        match (operate(&self.servers, &self.name, name)?, command) {
            (Operated::Done, OperatorCommand::Confirm) => Ok("the draw has been held"),
            (Operated::Done, OperatorCommand::Reopen) => {
                Ok("bets are open: every agency has to finish again")
            }
            // The answer to a repeated confirmation is that of the first one.
            (Operated::Drawn, OperatorCommand::Confirm) => Ok("the draw has been held already"),
            (Operated::Drawn, OperatorCommand::Reopen) => Err(LotteryError::Drawn),
            (Operated::Open { finished, expected }, _) => {
                Err(LotteryError::Open { finished, expected })
            }
            (Operated::Automatic, _) => Err(LotteryError::Automatic),
        }
    }

    /// Checks everything that is stored, and logs what is wrong with it.
    pub fn verify(&self) -> ExitCode {
        let report = match verify(&self.servers, &self.name) {
            Ok(report) => report,
            Err(reason) => return failed("verify", &LotteryError::from(reason)),
        };
        for problem in &report.problems {
            error("verify", Outcome::Fail).with("error", problem).write();
        }
        let (outcome, line): (_, fn(_, _) -> _) = match report.problems.is_empty() {
            true => (Outcome::Success, info),
            false => (Outcome::Fail, error),
        };
        let line = line("verify", outcome)
            .with("bets", report.summary.stored.0)
            .with("winners", report.summary.stored.1)
            .with("agencies_finished", report.summary.finished.len());
        if report.problems.is_empty() {
            line.write();
            return ExitCode::Done;
        }
        line.with("problems", report.problems.len()).with("next", ADVICE).write();
        ExitCode::Failed
    }

    /// Writes what is stored as the files of a storage.
    pub fn export(&self, directory: &Path) -> ExitCode {
        match export(&self.servers, &self.name, directory) {
            Ok(exported) => {
                info("export", Outcome::Success)
                    .with("directory", directory.display())
                    .with("bets", exported.bets)
                    .with("winners", exported.winners)
                    .with("drawn", exported.drawn)
                    .write();
                ExitCode::Done
            }
            Err(reason) => failed("export", &reason),
        }
    }
}

/// Exports the lottery that the settings name.
pub fn export_lottery(storage: &StorageChoice, directory: &Path) -> ExitCode {
    const IN_FILES: &str =
        "the bets are in files (SERVER_STORAGE = files): use `loteria-central backup`";
    match Lottery::of(storage) {
        Ok(Some(lottery)) => lottery.export(directory),
        Ok(None) => failed("export", &IN_FILES as &dyn Display),
        Err(reason) => failed("export", &reason),
    }
}
