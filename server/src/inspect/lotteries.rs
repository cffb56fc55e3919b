//! The commands `lottery new` and `lottery list`: the lotteries whose storage directories are
//! beside each other, and the link that leads to the current one.

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use conventions::log_line::{Outcome, info};
use conventions::output;
use serde::Serialize;

use super::backup::shared_of;
use super::failed;
use crate::cli::LotteryCommand;
use crate::config::StorageChoice;
use crate::exit_code::ExitCode;
use crate::storage::{
    Durability, Ledger, Moment, Storage, StorageError, Summary, lock_owner, summary,
};

/// Why a command about lotteries fails.
#[derive(Debug, thiserror::Error)]
enum LotteriesError {
    #[error("the lotteries are in a database: SERVER_LOTTERY names one, and a new name is new")]
    Engine,
    #[error(
        "{0:?} is no name: use letters, digits, '-', '_' and '.', and begin with none of these"
    )]
    Name(String),
    #[error("{} exists: choose another name", .0.display())]
    Taken(PathBuf),
    #[error(
        "{} is not a link, so it cannot lead to a new lottery: set SERVER_STORAGE_DIR to a new \
         path, such as {}; the old directory stays in the list",
        .0.display(), .0.with_file_name("current").display()
    )]
    NotLink(PathBuf),
    #[error("{} {}: {source}", .action, .path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Output(#[from] output::OutputError),
}

/// A lottery in the list. Its totals are not known if they cannot be read.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    /// True if SERVER_STORAGE_DIR leads to it.
    current: bool,
    /// True if a central uses it.
    in_use: bool,
    bets: Option<u64>,
    winners: Option<u64>,
    agencies_finished: Option<u32>,
    drawn: Option<bool>,
    /// Why the totals are not known.
    problem: Option<String>,
}

/// Runs a command about the lotteries beside the storage directory.
pub fn lotteries(command: &LotteryCommand, choice: &StorageChoice, storage: &Path) -> ExitCode {
    let done = match (command, choice) {
        (_, StorageChoice::Engine { .. }) => Err(LotteriesError::Engine),
        (LotteryCommand::New { name }, _) => begin(name, storage),
        (LotteryCommand::List { json }, _) => list(storage, *json),
    };
    done.map_or_else(|reason| failed("lottery", &reason), |()| ExitCode::Done)
}

/// Creates the storage of a new lottery, and makes the link lead to it.
fn begin(name: &str, link: &Path) -> Result<(), LotteriesError> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.bytes().all(is_valid) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(LotteriesError::Name(name.to_owned()));
    }
    if fs::symlink_metadata(link).is_ok_and(|found| !found.is_symlink()) {
        return Err(LotteriesError::NotLink(link.to_owned()));
    }
    let directory = link.with_file_name(name);
    if directory == link || fs::symlink_metadata(&directory).is_ok() {
        return Err(LotteriesError::Taken(directory));
    }
    let previous = fs::canonicalize(link).ok();
    let (created, recovery) = Storage::open(&directory, Durability::Disk, false)?;
    created.close(recovery.ledger)?;
    drop(created);
    lead(link, name)?;
    let used = previous.is_some_and(|path| matches!(summary(&path), Ok(Summary::InUse)));
    let line = info("lottery", Outcome::Success).with("directory", directory.display());
    if used {
        line.with("next", "restart the central, which keeps the previous lottery until then")
    } else {
        line.with("next", "start the central")
    }
    .write();
    Ok(())
}

/// Replaces the link by one to `name` in one step.
fn lead(link: &Path, name: &str) -> Result<(), LotteriesError> {
    let error = |action, path: &Path| {
        let path = path.to_owned();
        move |source| LotteriesError::File { action, path, source }
    };
    // No lottery has a name with a dot at the start, so only a killed command leaves such a link.
    let unfinished = link.with_file_name(format!(".{name}.link"));
    symlink(name, &unfinished).map_err(error("linking", &unfinished))?;
    fs::rename(&unfinished, link).map_err(error("replacing", link))
}

fn list(storage: &Path, json: bool) -> Result<(), LotteriesError> {
    let parent = match storage.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let error =
        |source| LotteriesError::File { action: "listing", path: parent.to_owned(), source };
    let current = fs::canonicalize(storage).ok();
    let mut entries = Vec::new();
    for found in fs::read_dir(parent).map_err(error)? {
        let found = found.map_err(error)?;
        // The links lead to directories that are listed themselves.
        if found.file_type().is_ok_and(|kind| kind.is_dir()) {
            let is_current = fs::canonicalize(found.path()).ok() == current;
            entries.extend(entry(&found.path(), is_current));
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let text = if json {
        // Cannot fail: an entry holds only numbers and texts.
        serde_json::to_string(&entries).unwrap_or_default() + "\n"
    } else {
        table(&entries)
    };
    output::print(text.as_bytes())?;
    Ok(())
}

/// Returns the lottery in a directory, if it holds one.
fn entry(directory: &Path, current: bool) -> Option<Entry> {
    let (in_use, moment) = match summary(directory) {
        Ok(Summary::None) => return None,
        Ok(Summary::InUse) => (true, of_running(directory)),
        Ok(Summary::Unconverted) => {
            (false, Err("the next start of a central converts it".to_owned()))
        }
        Ok(Summary::Stopped(moment)) => (false, Ok(moment)),
        Err(reason) => (false, Err(reason.to_string())),
    };
    let known = moment.as_ref().ok();
    Some(Entry {
        name: directory.file_name()?.to_string_lossy().into_owned(),
        current,
        in_use,
        bets: known.map(|moment| moment.ledger.bets),
        winners: known.map(|moment| moment.ledger.winners),
        agencies_finished: known.map(|moment| moment.ledger.finished),
        drawn: known.map(|moment| moment.drawn),
        problem: moment.err(),
    })
}

fn of_running(directory: &Path) -> Result<Moment, String> {
    let shared = lock_owner(directory).and_then(shared_of);
    let shared = shared.ok_or("its central starts, stops, or runs in another container")?;
    let drawn = shared.drawn.load() != 0;
    Ok(Moment { drawn, ledger: Ledger::from(shared.ledger.get()) })
}

fn table(entries: &[Entry]) -> String {
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or_default().max(4);
    let mut text = format!(
        "  {:width$}  {:>12}  {:>10}  {:>8}  {:5}  IN USE\n",
        "NAME", "BETS", "WINNERS", "FINISHED", "DRAWN"
    );
    for entry in entries {
        let number = |number: Option<u64>| number.map_or("?".to_owned(), |n| n.to_string());
        let yes = |is: bool| if is { "yes" } else { "no" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} {:width$}  {:>12}  {:>10}  {:>8}  {:5}  {}{}",
            if entry.current { '*' } else { ' ' },
            entry.name,
            number(entry.bets),
            number(entry.winners),
            number(entry.agencies_finished.map(u64::from)),
            entry.drawn.map_or("?", yes),
            yes(entry.in_use),
            entry.problem.as_ref().map_or(String::new(), |problem| format!("  ({problem})")),
        );
    }
    text
}
