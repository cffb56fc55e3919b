//! The state file of an agency: what a later run needs to send the same batches with the same keys.
//!
//! The file is written before the first batch is sent. It determines every batch: its session, the
//! rules that divide the file of bets into batches, and hashes of that file. So it need not be
//! written for each batch. A later run asks the central for the number of the next batch and makes
//! that batch again from the file.

mod error;
mod file;
mod fingerprint;
mod plan;
mod state;

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use lottery::BatchKey;

pub(crate) use self::error::ResumeError;
use self::file::StateFile;
use self::fingerprint::Fingerprint;
pub(crate) use self::plan::{Part, Plan, Rules};
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
                fingerprint: Fingerprint::default(),
            }
        } else {
            State::from_text(&String::from_utf8_lossy(&content))
                .map_err(|reason| ResumeError::Unreadable { path: path.to_owned(), reason })?
        };
        if state.agency != agency {
            let found = state.agency;
            return Err(ResumeError::OtherAgency { path: path.to_owned(), found, agency });
        }
        Ok(Self { file, state, next_update: Instant::now() })
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
        self.state.fingerprint.length == 0
    }

    /// Returns the batches of the earlier runs.
    pub(crate) fn plan(&self) -> &Plan {
        &self.state.plan
    }

    /// Compares the file of bets with the one of the earlier runs.
    pub(crate) fn compare(&self, data: &File) -> Result<Intact, ResumeError> {
        let recorded = &self.state.fingerprint;
        let bytes = recorded.intact(data).map_err(ResumeError::Data)?;
        let (block, length) = (recorded.block, recorded.length);
        Ok(Intact { bytes, block, length, is_whole: bytes == length })
    }

    /// Hashes the file of bets and records the batches, before the first of them is sent. `plan`
    /// gets the length of the file.
    pub(crate) fn begin(
        &mut self,
        data: &File,
        acknowledged: Acknowledged,
        plan: impl FnOnce(&mut Plan, u64),
    ) -> Result<(), ResumeError> {
        let fingerprint = Fingerprint::of(data).map_err(ResumeError::Data)?;
        plan(&mut self.state.plan, fingerprint.length);
        self.state.fingerprint = fingerprint;
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
        data: &File,
        acknowledged: Acknowledged,
        sent: u64,
        complete: bool,
    ) -> Result<(), ResumeError> {
        let State { plan, fingerprint, .. } = &mut self.state;
        if let Some(sent_only) = fingerprint.truncated(data, sent).map_err(ResumeError::Data)? {
            *fingerprint = sent_only;
            plan.truncate(sent);
        }
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
    /// Bytes before the first block that has changed.
    pub(crate) bytes: u64,
    /// Length of a block in bytes.
    pub(crate) block: u64,
    /// Length of the whole part in bytes.
    pub(crate) length: u64,
    /// True if nothing has changed.
    pub(crate) is_whole: bool,
}
