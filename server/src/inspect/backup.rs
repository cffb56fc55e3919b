//! The command `backup`: copies the storage of this configuration while its central runs or not.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use central_view::NAME_PREFIX;
use conventions::log_line::{Outcome, info};
use multiprocessing::{Segment, SharedState, View, segments};

use super::failed;
use crate::central::Shared;
use crate::exit_code::ExitCode;
use crate::storage::{BackupError, Ledger, Moment, back_up_running, back_up_stopped, lock_owner};

/// How long to wait for a central that is starting or exiting: the storage is locked, and there is
/// no shared memory with its totals.
const BETWEEN: Duration = Duration::from_secs(5);
/// Time between two attempts.
const RETRY: Duration = Duration::from_millis(50);

/// Copies the storage in `storage` to the directory `target`.
pub fn backup(storage: &Path, target: &Path) -> ExitCode {
    match copied(storage, target) {
        Ok((ledger, running)) => {
            info("backup", Outcome::Success)
                .with("directory", target.display())
                .with("bets", ledger.bets)
                .with("winners", ledger.winners)
                .with("agencies_finished", ledger.finished)
                .with("running", running)
                .write();
            ExitCode::Done
        }
        Err(reason) => failed("backup", &reason),
    }
}

/// Returns the totals of the copy, and true if a central used the storage.
fn copied(storage: &Path, target: &Path) -> Result<(Ledger, bool), BackupError> {
    let deadline = Instant::now() + BETWEEN;
    loop {
        if let Some(ledger) = back_up_stopped(storage, target)? {
            return Ok((ledger, false));
        }
        let owner = lock_owner(storage);
        if let Some(shared) = owner.and_then(shared_of) {
            let now = || {
                let drawn = shared.drawn.load() != 0;
                Moment { drawn, ledger: Ledger::from(shared.ledger.get()) }
            };
            return back_up_running(storage, target, now).map(|ledger| (ledger, true));
        }
        if Instant::now() >= deadline {
            return Err(BackupError::NoCentral { storage: storage.to_owned(), owner });
        }
        sleep(RETRY);
    }
}

/// Returns the shared state of the central with this supervisor, once it serves.
pub fn shared_of(supervisor: u32) -> Option<Shared> {
    let listings = segments().ok()?;
    let is_of = |segment: &View<Segment>| {
        segment.creator().as_raw().cast_unsigned() == supervisor && segment.creator_is_alive()
    };
    let found = listings.iter().find(|listing| {
        listing.name.as_str().starts_with(NAME_PREFIX) && listing.segment.as_ref().is_ok_and(is_of)
    })?;
    // Before it serves, the totals in it are not those of the storage.
    Shared::open(&found.name).ok().filter(|shared| shared.phase.load() != 0)
}
