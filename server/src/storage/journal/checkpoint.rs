//! The checkpoints of the journal: the totals at the start of an epoch.
//!
//! Two slots take turns, and each checkpoint is written to three pages. So a crash while one is
//! written leaves the checkpoint before it, and a damaged page leaves two copies. The pages of the
//! two slots alternate. One of the first two pages is therefore never blank, and the first version
//! of this program does not take the file for an empty journal.

use super::super::{Durability, FileError, Ledger, StorageError};
use super::Journal;
use super::header::{CLEAN, DISK, HEADER_BYTES, Header, Kind, SESSIONS};

/// Size of a page of the file system, so that no two copies share one.
pub const PAGE_BYTES: usize = 4096;
/// Copies of a checkpoint.
const COPIES: u64 = 3;
/// Offset of the first record.
pub const RECORDS_START: u64 = 2 * COPIES * PAGE_BYTES as u64;

/// A run of a central, as its checkpoints describe it.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What its acknowledgements promise.
    pub durability: Durability,
    /// Identifies the boot of the machine, or 0 if that is unknown.
    pub boot: u64,
    /// True if the storage has sessions.
    pub sessions: bool,
}

impl Run {
    /// Returns the run that wrote a checkpoint.
    pub fn of(checkpoint: &Header) -> Self {
        let disk = checkpoint.has(DISK);
        let durability = if disk { Durability::Disk } else { Durability::Process };
        Self { durability, boot: checkpoint.extra, sessions: checkpoint.has(SESSIONS) }
    }
}

/// Returns the offset of a copy of the checkpoint that begins an epoch.
fn page(epoch: u64, copy: u64) -> u64 {
    (2 * copy + epoch % 2) * PAGE_BYTES as u64
}

/// Returns the offsets of all pages for checkpoints.
pub fn pages() -> impl Iterator<Item = u64> {
    (0..2 * COPIES).map(|page| page * PAGE_BYTES as u64)
}

impl Journal {
    /// Starts a new epoch with the totals of `ledger` and returns its ledger. The caller must have
    /// made the files durable, if that is promised. `clean` is true if nothing will follow.
    ///
    /// If it fails, the new epoch may have begun.
    pub fn checkpoint(&self, ledger: Ledger, run: Run, clean: bool) -> Result<Ledger, FileError> {
        let next = Ledger { epoch: ledger.epoch + 1, journal_end: RECORDS_START, ..ledger };
        let disk = if run.durability == Durability::Disk { DISK } else { 0 };
        let sessions = if run.sessions { SESSIONS } else { 0 };
        let header = Header {
            kind: Kind::Checkpoint,
            flags: disk | sessions | if clean { CLEAN } else { 0 },
            agency: 0,
            ledger: next,
            acknowledged: next.records,
            extra: run.boot,
        };
        let header = header.chained(ledger.chain);
        for copy in 0..COPIES {
            self.file.write_all_at(&header.bytes(), page(next.epoch, copy))?;
        }
        Ok(header.ledger)
    }

    /// Returns the newest checkpoint of which a copy is readable.
    pub fn newest_checkpoint(&self) -> Result<Option<Header>, StorageError> {
        let mut found = Vec::new();
        for page in pages() {
            let mut bytes = [0; HEADER_BYTES];
            self.file.read_exact_at(&mut bytes, page)?;
            found.extend(Header::parse(&bytes));
        }
        let newest = found.into_iter().max_by_key(|header| header.ledger.epoch);
        match newest {
            Some(Header { kind: Kind::Unknown, .. }) => Err(self.newer_version()),
            newest => Ok(newest),
        }
    }

    /// Returns the offsets of damaged copies of checkpoints of which another copy is readable.
    pub fn damaged_checkpoints(&self) -> Result<Vec<u64>, FileError> {
        let mut damaged = Vec::new();
        for slot in 0..2 {
            let mut copies = Vec::new();
            for place in (0..COPIES).map(|copy| page(slot, copy)) {
                let mut bytes = [0; HEADER_BYTES];
                self.file.read_exact_at(&mut bytes, place)?;
                copies.push((place, Header::parse(&bytes)));
            }
            let newest = copies.iter().filter_map(|(_, header)| *header);
            let newest = newest.max_by_key(|header| header.ledger.epoch);
            damaged.extend(copies.iter().filter(|(_, copy)| *copy != newest).map(|(at, _)| *at));
        }
        Ok(damaged)
    }
}
