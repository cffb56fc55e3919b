//! The state file of an agency: what a later run needs to send the same batches with the same keys.
//!
//! The state is written before the first batch is sent, after the row hashes of the file of bets,
//! which are a file of their own. Both determine every batch: the session, the rules that divide
//! the file of bets into batches, and its content. So they need not be written for each batch. A
//! later run asks the central for the number of the next batch and makes that batch again from the
//! file.

mod error;
mod file;
mod lines;
mod plan;
mod row_hashes;
mod state;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lottery::BatchKey;

pub(crate) use self::error::ResumeError;
use self::file::StateFile;
pub(crate) use self::plan::{Part, Plan, Rules};
use self::row_hashes::{FileError, RowHashes};
pub(crate) use self::state::Acknowledged;
use self::state::State;

/// Time between two updates of the acknowledged rows.
const UPDATE_PERIOD: Duration = Duration::from_secs(1);

/// Time between two updates on a slow disk, in times of the last one. So updates take at most 2 %
/// of the time.
const UPDATE_SHARE: u32 = 50;

/// The state of an agency's session and its file, which this process has locked.
#[derive(Debug)]
pub(crate) struct Resume {
    file: StateFile,
    state: State,
    /// The file of row hashes.
    hashes: PathBuf,
    /// Time from which on the acknowledged rows are written again.
    next_update: Instant,
}

impl Resume {
    /// Locks and reads the state file, or creates it with a new session.
    pub(crate) fn open(path: &Path, agency: u16) -> Result<Self, ResumeError> {
        let (file, content) = StateFile::open(path)?;
        // Only a run that has sent nothing leaves an empty file.
        let state = if content.is_empty() {
            State {
                session: BatchKey::new_session(),
                agency,
                acknowledged: Acknowledged::default(),
                complete: false,
                plan: Plan::default(),
                bytes: 0,
                edition: 0,
            }
        } else {
            State::from_text(&String::from_utf8_lossy(&content))
                .map_err(|reason| ResumeError::Unreadable { path: path.to_owned(), reason })?
        };
        if state.agency != agency {
            let found = state.agency;
            return Err(ResumeError::OtherAgency { path: path.to_owned(), found, agency });
        }
        let hashes = row_hashes::path_of(path);
        Ok(Self { file, state, hashes, next_update: Instant::now() })
    }

    /// Returns the session.
    pub(crate) fn session(&self) -> [u8; 16] {
        self.state.session
    }

    /// Returns what earlier runs know to be stored.
    pub(crate) fn acknowledged(&self) -> Acknowledged {
        self.state.acknowledged
    }

    /// Returns true if no earlier run has sent anything.
    pub(crate) fn is_new(&self) -> bool {
        self.state.bytes == 0
    }

    /// Returns the batches of the earlier runs.
    pub(crate) fn plan(&self) -> &Plan {
        &self.state.plan
    }

    /// Compares the file of bets with the one of the earlier runs.
    pub(crate) fn compare(&self, data: &File) -> Result<Intact, ResumeError> {
        let State { session, bytes, edition, .. } = self.state;
        let unusable = |reason| ResumeError::UnusableHashes { path: self.hashes.clone(), reason };
        let mut hashes = RowHashes::open(&self.hashes).map_err(unusable)?;
        hashes.check(session, edition).map_err(unusable)?;
        let change = hashes.first_change(data, bytes).map_err(|error| match error {
            FileError::Data(error) => ResumeError::Data(error),
            FileError::Hashes(error) => unusable(error.into()),
        })?;
        Ok(Intact { bytes: change.unwrap_or(bytes), is_whole: change.is_none() })
    }

    /// Hashes the file of bets and records the batches, before the first of them is sent. `plan`
    /// gets the length of the file.
    ///
    /// A run that dies before the state is written has changed nothing that matters: the earlier
    /// state is valid with the new row hashes, see [`RowHashes::check`].
    pub(crate) fn begin(
        &mut self,
        data: &File,
        acknowledged: Acknowledged,
        plan: impl FnOnce(&mut Plan, u64),
    ) -> Result<(), ResumeError> {
        let edition = self.state.edition + 1;
        let written = RowHashes::write(&self.hashes, self.state.session, edition, data);
        let bytes = written.map_err(|error| match error {
            FileError::Data(error) => ResumeError::Data(error),
            FileError::Hashes(source) => {
                ResumeError::Unusable { path: self.hashes.clone(), source }
            }
        })?;
        plan(&mut self.state.plan, bytes);
        self.state.bytes = bytes;
        self.state.edition = edition;
        self.state.acknowledged = acknowledged;
        self.state.complete = false;
        self.write()
    }

    /// Records the acknowledged batches: the first one at once, later ones from time to time. They
    /// are a lower bound, from which a later run knows that a central has lost the session.
    pub(crate) fn update(&mut self, acknowledged: Acknowledged) -> Result<(), ResumeError> {
        let begin = Instant::now();
        if self.state.acknowledged.batches > 0 && begin < self.next_update {
            return Ok(());
        }
        self.state.acknowledged = acknowledged;
        let result = self.write();
        self.next_update = Instant::now() + UPDATE_PERIOD.max(begin.elapsed() * UPDATE_SHARE);
        result
    }

    /// Records the end of a run. `sent` is the end of the last batch that may have been sent, in
    /// bytes of the file: everything after it may change before the next run.
    pub(crate) fn end(
        &mut self,
        acknowledged: Acknowledged,
        sent: u64,
        complete: bool,
    ) -> Result<(), ResumeError> {
        self.state.bytes = self.state.bytes.min(sent);
        self.state.plan.truncate(sent);
        self.state.acknowledged = acknowledged;
        self.state.complete = complete;
        self.write()
    }

    fn write(&mut self) -> Result<(), ResumeError> {
        self.file.write(&self.state.to_text())
    }
}

/// The part of the file of bets that is as the earlier runs have sent it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intact {
    /// Bytes before the first line that has changed.
    pub(crate) bytes: u64,
    /// True if nothing has changed.
    pub(crate) is_whole: bool,
}
