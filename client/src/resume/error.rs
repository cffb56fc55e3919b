//! Why an agency cannot continue a session.

use std::io;
use std::path::{Path, PathBuf};

use conventions::access::Explained;

use super::row_hashes::UnusableHashes;
use super::state::Unreadable;
use crate::central_client::RequestError;

/// Why an agency cannot continue a session. Nothing was sent that a later run could not settle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResumeError {
    /// The state file cannot be opened, locked or written.
    #[error("cannot keep the state in {}: {}", path.display(), Explained { path, error: source })]
    Unusable {
        /// The state file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another agency has locked the state file.
    #[error("another client uses the state in {}", path.display())]
    Busy {
        /// The state file.
        path: PathBuf,
    },
    /// The state file is damaged or of another version.
    #[error("cannot read the state in {}: {reason}", path.display())]
    Unreadable {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        reason: Unreadable,
    },
    /// The row hashes beside the state cannot be used, so no row can be compared.
    #[error("cannot use the row hashes in {}: {reason}", path.display())]
    UnusableHashes {
        /// The file of row hashes.
        path: PathBuf,
        /// What is wrong with it.
        reason: UnusableHashes,
    },
    /// The state file is that of another agency.
    #[error("the state in {} is of agency {found}, this is agency {agency}", path.display())]
    OtherAgency {
        /// The state file.
        path: PathBuf,
        /// The agency in the state.
        found: u16,
        /// This agency.
        agency: u16,
    },
    /// The file of bets is a pipe or a device, which cannot be read twice.
    #[error("a run that can be resumed needs a regular file of bets")]
    NotAFile,
    /// The file of bets cannot be read.
    #[error("cannot read the file of bets: {0}")]
    Data(io::Error),
    /// A stored row has changed.
    #[error("the first row that has changed since it was sent is row {row}{}", on_line(*row, *line))]
    Changed {
        /// The row. It may be the one after the last row of the file, which was removed.
        row: u64,
        /// Line of the file on which it begins, if it exists.
        line: Option<u64>,
    },
    /// Stored rows are missing in the file.
    #[error("the file has {rows} rows, fewer than earlier runs have sent")]
    Shortened {
        /// Rows in the file.
        rows: u64,
    },
    /// The central cannot be asked what it has stored.
    #[error("{0}; the central was not asked what earlier runs have stored")]
    Unasked(Box<RequestError>),
    /// The central has other content under the key of a batch.
    #[error("the central does not confirm rows {first}-{last}, which it has stored: {reason}")]
    Unconfirmed {
        /// First row of the batch.
        first: u64,
        /// Last row of the batch.
        last: u64,
        /// The central's reason.
        reason: String,
    },
    /// The central has not stored what was acknowledged.
    #[error(
        "the central lacks rows {first}-{last} of this session, which were acknowledged: it is \
         another central, or uses another storage directory or an older copy"
    )]
    Lacks {
        /// First row that it lacks.
        first: u64,
        /// Last acknowledged row.
        last: u64,
    },
    /// The central does not say what it has stored.
    #[error("the central does not say which batches of this session it has stored: {reason}")]
    NoAnswer {
        /// The central's reason.
        reason: String,
    },
    /// The central expects a batch that this session has never sent.
    #[error(
        "the central expects batch {expected} of this session, which has sent {sent}: another \
         client uses the same session"
    )]
    Ahead {
        /// Sequence that the central expects.
        expected: u64,
        /// Sequence of the last batch that was sent.
        sent: u64,
    },
}

impl ResumeError {
    /// Returns what the user can do.
    ///
    /// `state` is the state file; without one, the next run begins a new session.
    pub(crate) fn advice(&self, state: Option<&Path>) -> String {
        let anew = match state {
            Some(state) => format!(
                "to send the whole file again as new bets, delete {} or choose --resume off",
                state.display()
            ),
            None => "the next run sends the whole file again as new bets".to_owned(),
        };
        match self {
            Self::Unusable { .. } => {
                "choose a place for it that can be written (--state FILE), or \
                                      run without it (--resume off)"
                    .to_owned()
            }
            Self::Busy { .. } => {
                "wait until it has ended, or give this client another file of bets".to_owned()
            }
            Self::Unreadable { reason: Unreadable::Version(_), .. } => {
                "run the version of the client that has written it".to_owned()
            }
            Self::Unreadable { .. } => format!("restore it from a backup; {anew}"),
            Self::UnusableHashes { reason: UnusableHashes::Version(_), .. } => {
                "run the version of the client that has written it".to_owned()
            }
            Self::UnusableHashes { reason: UnusableHashes::Unreadable(_), .. } => {
                format!("make it readable and run again; {anew}")
            }
            Self::UnusableHashes { .. } => {
                format!("restore it from the same backup as the state; {anew}")
            }
            Self::OtherAgency { .. } => "give each agency its own state (--state FILE)".to_owned(),
            Self::NotAFile => "write the bets to a file, or choose --resume off".to_owned(),
            Self::Data(_) => "make the file readable and run again".to_owned(),
            Self::Changed { .. } | Self::Shortened { .. } | Self::Unconfirmed { .. } => {
                format!("restore the rows and run again: new rows may be appended; {anew}")
            }
            Self::Unasked(_) => "run again when the central can be reached".to_owned(),
            Self::NoAnswer { .. } => format!("see the central's log for the reason; {anew}"),
            Self::Lacks { .. } => {
                format!("check server.address and the central's storage directory; {anew}")
            }
            Self::Ahead { .. } => {
                format!("give each client its own copy of the data without the state; {anew}")
            }
        }
    }
}

/// Returns the line of a row in brackets, if it is known and has another number.
fn on_line(row: u64, line: Option<u64>) -> String {
    line.filter(|line| *line != row).map(|line| format!(" (line {line})")).unwrap_or_default()
}
