//! How a run ends early, and the one log line that says so.

use std::fmt;

use conventions::log_line::{self, Line, Outcome};
use lottery::protocol::Unencodable;

use crate::central::RequestError;
use crate::config::{Config, SingleBet};
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

    /// The rows before these.
    fn before(self) -> Self {
        Self::up_to(self.first - 1)
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

/// What had been done when a signal came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Done {
    /// Bets and batches acknowledged.
    Bets {
        /// Bets.
        bets: u64,
        /// Batches.
        batches: u64,
    },
    /// Messages that came back.
    Messages(u32),
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
    /// The central answered that it does not store a batch.
    #[error(
        "the central refused rows {rows}; all before them are stored, nothing after them was sent"
    )]
    Refused {
        /// The rows of the batch.
        rows: Rows,
    },
    /// The winners could not be asked for. All bets are stored.
    #[error("{source}; all rows are stored")]
    Query {
        /// Why not.
        source: RequestError,
    },
    /// The central answered that it does not tell the winners. All bets are stored.
    #[error("the central refused to answer: {reason}; all rows are stored")]
    NoAnswer {
        /// Its words.
        reason: String,
    },
    /// The one bet of the environment was not acknowledged.
    #[error(transparent)]
    SingleBet(#[from] SingleBetFailure),
    /// A message did not come back.
    #[error(transparent)]
    Message(RequestError),
    /// A signal came and the run ended cleanly: what was sent is acknowledged.
    #[error("stopped by {signal}")]
    Stopped {
        /// The signal's name.
        signal: &'static str,
        /// What had been done.
        done: Done,
    },
}

/// What became of the one bet of the environment when it was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SingleBetFailure {
    /// The dialect cannot carry it.
    #[error("{0}; it was not sent")]
    Unencodable(#[from] Unencodable),
    /// It did not get to the central.
    #[error("{0}; it is not stored")]
    Unsent(RequestError),
    /// It was sent, and nobody here knows whether it is stored.
    #[error("{0}; whether it is stored is not known")]
    InDoubt(RequestError),
    /// The central answered that it does not store it.
    #[error("the central refused it")]
    Refused,
}

impl RunError {
    /// Whether it left something in doubt that an answer in time would have settled.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(self, Self::InDoubt { .. } | Self::SingleBet(SingleBetFailure::InDoubt(_)))
    }

    /// The log line for it: of the action that failed, or of a clean end.
    pub(crate) fn line(&self, config: &Config) -> Line {
        let begin = |action| log_line::error(action, Outcome::Fail).with("client_id", config.id);
        let with_file = |line: Line| line.with("file", config.data.display());
        let line = match self {
            Self::Dataset { source, stored } => {
                let line = with_file(begin("leer_apuestas"));
                let line = if let DatasetError::Row { row, .. } = source {
                    line.with("row", row)
                } else {
                    line
                };
                line.with("rows_stored", Rows::up_to(*stored))
            }
            Self::Unsent { stored, .. } => {
                with_file(begin("connect")).with("rows_stored", Rows::up_to(*stored))
            }
            Self::InDoubt { rows, .. } => with_file(begin("apuesta_enviada"))
                .with("rows_in_doubt", rows)
                .with("rows_stored", rows.before()),
            Self::Refused { rows } => with_file(begin("apuesta_enviada"))
                .with("rows_refused", rows)
                .with("rows_stored", rows.before()),
            Self::Query { .. } | Self::NoAnswer { .. } => begin("consulta_ganadores"),
            Self::SingleBet(failure) => {
                let action = if let SingleBetFailure::Unsent(_) = failure {
                    "connect"
                } else {
                    "apuesta_enviada"
                };
                let with_bet = |line: Line, bet: &SingleBet| {
                    line.with("dni", &bet.document).with("numero", bet.number)
                };
                config.single_bet.iter().fold(begin(action), with_bet)
            }
            Self::Message(RequestError::Unreachable { .. }) => begin("connect"),
            Self::Message(_) => begin("receive_message"),
            Self::Stopped { signal, done } => {
                let line = log_line::info("exit", Outcome::Success)
                    .with("client_id", config.id)
                    .with("signal", signal);
                return match done {
                    Done::Bets { bets, batches } => {
                        line.with("apuestas", bets).with("lotes", batches)
                    }
                    Done::Messages(count) => line.with("mensajes", count),
                };
            }
        };
        line.with("error", self)
    }
}
