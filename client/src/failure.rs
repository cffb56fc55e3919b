//! How a run ends early, and the one log line that says so.

use std::fmt;

use conventions::log_line::{self, Line, Outcome};

use crate::central::RequestError;
use crate::config::Config;
use crate::dataset::DatasetError;

/// Rows of the file, both ends included, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// The first.
    pub(crate) first: u64,
    /// The last; below the first when there are none.
    pub(crate) last: u64,
}

impl Rows {
    /// The rows up to this one.
    fn up_to(last: u64) -> Self {
        Self { first: 1, last }
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rows { first, last } if first > last => f.write_str("none"),
            Rows { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The file of bets cannot be read or holds a row that cannot be sent. Every batch before it is stored.
    #[error("{source}; nothing from row {} on was sent", .stored + 1)]
    Dataset {
        /// What is wrong with it.
        source: DatasetError,
        /// The last row that is stored, 0 for none.
        stored: u64,
    },
    /// The central cannot be reached, so a batch did not get there.
    #[error("{source}; no row from {} on is stored", .stored + 1)]
    Unsent {
        /// Why not.
        source: RequestError,
        /// The last row that is stored, 0 for none.
        stored: u64,
    },
    /// A batch was sent and not acknowledged: nobody here knows whether it is stored.
    #[error(
        "{source}; whether rows {rows} are stored is not known, all before them are, nothing after them was sent"
    )]
    InDoubt {
        /// Why there is no acknowledgement.
        source: RequestError,
        /// The rows of the batch.
        rows: Rows,
    },
    /// The winners could not be asked for. All bets are stored.
    #[error("{source}; all rows are stored")]
    Query {
        /// Why not.
        source: RequestError,
    },
    /// A signal came and the run ended cleanly: what was sent is acknowledged.
    #[error("stopped by {signal}")]
    Stopped {
        /// The signal's name.
        signal: &'static str,
        /// Bets acknowledged.
        bets: u64,
        /// Batches acknowledged.
        batches: u64,
    },
}

impl RunError {
    /// The log line for it: of the action that failed, or of a clean end.
    pub(crate) fn line(&self, config: &Config) -> Line {
        let begin = |action| log_line::error(action, Outcome::Fail).with("client_id", config.id);
        let with_file = |line: Line| line.with("file", config.data.display());
        let line = match self {
            Self::Dataset { source, stored } => {
                let line = with_file(begin("leer_apuestas"));
                let line =
                    if let DatasetError::Row { row, .. } = source { line.with("row", row) } else { line };
                line.with("rows_stored", Rows::up_to(*stored))
            }
            Self::Unsent { stored, .. } => {
                with_file(begin("connect")).with("rows_stored", Rows::up_to(*stored))
            }
            Self::InDoubt { rows, .. } => with_file(begin("apuesta_enviada"))
                .with("rows_in_doubt", rows)
                .with("rows_stored", Rows::up_to(rows.first - 1)),
            Self::Query { .. } => begin("consulta_ganadores"),
            Self::Stopped { signal, bets, batches } => {
                return log_line::info("exit", Outcome::Success)
                    .with("client_id", config.id)
                    .with("signal", signal)
                    .with("apuestas", bets)
                    .with("lotes", batches);
            }
        };
        line.with("error", self)
    }
}
