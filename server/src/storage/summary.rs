//! The totals of a storage that no central uses, without a check of every byte.

use std::path::Path;

use super::draw::draw_over;
use super::files::{BETS, Files};
use super::journal::{self, Found, Journal};
use super::{Moment, StorageError, boot, lock};

/// What a directory holds.
#[derive(Debug)]
pub enum Summary {
    /// No storage.
    None,
    /// A storage whose lock is taken.
    InUse,
    /// A storage without a journal of the current version. The next start converts it.
    Unconverted,
    /// A storage in this state.
    Stopped(Moment),
}

/// Returns the state of the storage in a directory. Holds its locks meanwhile.
pub fn summary(directory: &Path) -> Result<Summary, StorageError> {
    if !directory.join(BETS).exists() {
        return Ok(Summary::None);
    }
    let Some(_locks) = lock::try_lock(directory)? else { return Ok(Summary::InUse) };
    if !directory.join(journal::FILE).exists() {
        return Ok(Summary::Unconverted);
    }
    let files = Files::open(directory)?;
    let Found::Current(journal) = Journal::open(directory)? else {
        return Ok(Summary::Unconverted);
    };
    let ledger = files.examine(&journal, boot::current())?.last;
    let drawn = draw_over(directory, &ledger)?.is_some();
    Ok(Summary::Stopped(Moment { drawn, ledger }))
}
