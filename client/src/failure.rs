//! Errors that end a run early, and the log line of each.

use std::fmt;

use conventions::log_line::{self, Line, Outcome};
use lottery::protocol::Unencodable;

use crate::central_client::RequestError;
use crate::config::{Config, SingleBet};
use crate::dataset::DatasetError;
use crate::resume::ResumeError;

/// An inclusive range of rows of the file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// First row.
    pub(crate) first: u64,
    /// Last row; less than `first` if the range is empty.
    pub(crate) last: u64,
    /// Lines of the file on which the first and the last row begin, if they are known.
    pub(crate) lines: Option<(u64, u64)>,
}

impl Rows {
    /// Returns the rows from 1 to `last`.
    fn up_to(last: u64) -> Self {
        Self { first: 1, last, lines: None }
    }

    /// Returns all rows before this range.
    fn before(self) -> Self {
        Self::up_to(self.first - 1)
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rows { first, last, .. } if first > last => f.write_str("none"),
            // Empty lines and line breaks in quotes make lines and rows differ.
            Rows { first, last, lines: Some((begin, end)) } if (begin, end) != (first, last) => {
                write!(f, "{first}-{last} (lines {begin}-{end})")
            }
            Rows { first, last, .. } => write!(f, "{first}-{last}"),
        }
    }
}

/// Work completed before a signal arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Done {
    /// Acknowledged bets and batches.
    Bets {
        /// Number of bets.
        bets: u64,
        /// Number of batches.
        batches: u64,
        /// True if the next run sends the other rows.
        has_next: bool,
    },
    /// Number of messages that were echoed.
    Messages(u32),
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The file of bets cannot be read, or a row of it cannot be sent. All earlier batches are
    /// stored.
    #[error("{source}; nothing from row {} on was sent", .stored + 1)]
    Dataset {
        /// The fault of the file or row.
        source: DatasetError,
        /// Last stored row, 0 if there is none.
        stored: u64,
    },
    /// The central cannot be reached, so a batch was not sent.
    #[error("{source}; no row from {} on is stored", .stored + 1)]
    Unsent {
        /// The last failure to reach the central.
        source: RequestError,
        /// Last stored row, 0 if there is none.
        stored: u64,
    },
    /// A batch was sent and not acknowledged, so it may or may not be stored. The next run settles
    /// it if this run can be resumed.
    #[error(
        "{source}; rows {rows} may or may not be stored{}; all rows before them are stored, none \
         after them was sent",
        if *.is_settled_later { ", which the next run settles" } else { "" }
    )]
    InDoubt {
        /// Why there is no acknowledgement.
        source: RequestError,
        /// The rows of the batch.
        rows: Box<Rows>,
        /// True if the next run sends the batch again with the same key.
        is_settled_later: bool,
    },
    /// The central refused a batch.
    #[error(
        "the central refused rows {rows}{}; all rows before them are stored, none after them was sent",
        after_colon(.reason.as_ref())
    )]
    Refused {
        /// The rows of the batch.
        rows: Box<Rows>,
        /// The central's reason, if the dialect has one.
        reason: Option<String>,
    },
    /// The session of earlier runs cannot be continued.
    #[error("{source}")]
    Resume {
        /// The reason.
        source: ResumeError,
        /// Last acknowledged row, 0 if there is none.
        stored: u64,
    },
    /// The query for the winners failed. All bets are stored.
    #[error("{source}; all rows are stored")]
    Query {
        /// The failure of the query.
        source: RequestError,
    },
    /// The central refused the query for the winners. All bets are stored.
    #[error("the central refused to answer: {reason}; all rows are stored")]
    NoAnswer {
        /// The central's error text.
        reason: String,
    },
    /// The bet from the environment was not acknowledged.
    #[error(transparent)]
    SingleBet(#[from] SingleBetFailure),
    /// A message was not echoed.
    #[error("{source}")]
    Message {
        /// Number of the message, from 1.
        number: u32,
        /// Why it was not echoed.
        source: RequestError,
    },
    /// A signal arrived and the run ended cleanly: every batch that was sent is acknowledged.
    #[error("stopped by {signal}")]
    Stopped {
        /// The signal's name.
        signal: &'static str,
        /// Work completed before it.
        done: Done,
    },
}

/// Why the bet from the environment was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SingleBetFailure {
    /// The dialect cannot encode it.
    #[error("{0}; it was not sent")]
    Unencodable(#[from] Unencodable),
    /// The central cannot be reached.
    #[error("{0}; it is not stored")]
    Unsent(RequestError),
    /// It was sent, and its result is unknown.
    #[error("{0}; it may or may not be stored")]
    InDoubt(RequestError),
    /// The central refused it, with this reason if the dialect has one.
    #[error("the central refused it{}", after_colon(.0.as_ref()))]
    Refused(Option<String>),
}

/// What a user does after a run that can be resumed.
const RUN_AGAIN: &str =
    "run again: that settles a batch without a reply, and sends the other rows once";

/// Returns the reason after a colon, or nothing if there is none.
fn after_colon(reason: Option<&String>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

impl RunError {
    /// Returns true if a batch was sent and it is unknown whether it is stored.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(self, Self::InDoubt { .. } | Self::SingleBet(SingleBetFailure::InDoubt(_)))
    }

    /// Returns the log line for the error: the failed action, or `exit` after a clean stop.
    pub(crate) fn line(&self, config: &Config) -> Line {
        let begin = |action| log_line::error(action, Outcome::Fail).with("client_id", config.id);
        let with_file = |line: Line| line.with("file", config.data.display());
        let line = match self {
            Self::Dataset { source, stored } => {
                let line = with_file(begin("read_bets"));
                let line = match source {
                    DatasetError::Row { row, line: number, .. } => {
                        line.with("row", row).with("file_line", number)
                    }
                    DatasetError::Unreadable { .. } => line,
                };
                line.with("rows_stored", Rows::up_to(*stored))
            }
            Self::Unsent { stored, .. } => {
                with_file(begin("connect")).with("rows_stored", Rows::up_to(*stored))
            }
            Self::InDoubt { rows, .. } => with_file(begin("apuesta_enviada"))
                .with("rows_in_doubt", rows)
                .with("rows_stored", rows.before()),
            Self::Refused { rows, .. } => with_file(begin("apuesta_enviada"))
                .with("rows_refused", rows)
                .with("rows_stored", rows.before()),
            Self::Resume { stored, .. } => {
                with_file(begin("resume")).with("rows_stored", Rows::up_to(*stored))
            }
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
            Self::Message { source: RequestError::Unreachable { .. }, .. } => begin("connect"),
            Self::Message { .. } => begin("receive_message"),
            Self::Stopped { signal, done } => {
                let line = log_line::info("exit", Outcome::Success)
                    .with("client_id", config.id)
                    .with("signal", signal);
                return match done {
                    Done::Bets { bets, batches, has_next } => {
                        let line = line.with("bets", bets).with("batches", batches);
                        if *has_next { line.with("next", RUN_AGAIN) } else { line }
                    }
                    Done::Messages(count) => line.with("messages", count),
                };
            }
        };
        let line = line.with("error", self);
        match self.advice(config) {
            Some(advice) => line.with("next", advice),
            None => line,
        }
    }

    /// Returns what to check if the central seems not to understand the agency: it refuses, or does
    /// not answer, what a central of this dialect accepts before its draw. After an acknowledged
    /// batch, the dialect is the right one.
    fn advice(&self, config: &Config) -> Option<String> {
        let was_understood = match self {
            Self::Resume { source, .. } => {
                return Some(source.advice(config.state.as_deref()));
            }
            Self::InDoubt { is_settled_later: true, .. } => return Some(RUN_AGAIN.to_owned()),
            Self::Refused { rows, .. } => rows.first > 1,
            Self::InDoubt { rows, .. } if rows.first == 1 => false,
            Self::SingleBet(SingleBetFailure::Refused(_) | SingleBetFailure::InDoubt(_))
            | Self::Message { number: 1, source: RequestError::Unanswered(_) } => false,
            _ => return None,
        };
        let mut advice = "see the central's log for the reason".to_owned();
        if !was_understood {
            let dialect = config.protocol.name;
            advice += &format!(
                "; make sure that it speaks {dialect} (SERVER_PROTOCOL there, protocol here)"
            );
        }
        if config.protocol.agency.is_some() {
            advice += "; after its draw it accepts bets only in another storage directory";
        }
        Some(advice)
    }
}
