//! Why a central cannot use its engine.

use std::io;
use std::time::Duration;

use conventions::duration::GoDuration;
use postgres_link::{RequestError, ResolveError, ServerError, ValueError};

/// Why a central cannot start on its engine, or a worker can no longer rely on it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No host of the URL has an address.
    #[error("SERVER_STORAGE: {0}")]
    Resolve(#[from] ResolveError),
    /// Another central with this name is alive.
    #[error(
        "a central with the name {central} is alive in the lottery {lottery} (seen {} ago): stop \
         it, or choose another SERVER_CENTRAL_NAME",
        GoDuration(*.seen)
    )]
    NameInUse {
        /// The lottery.
        lottery: String,
        /// The name.
        central: String,
        /// Since its last sign of life.
        seen: Duration,
    },
    /// Another central is alive that was started with other settings.
    #[error(
        "the central {central} of the lottery {lottery} is alive with other settings ({}): give all \
         centrals the same, or change them there first, with SIGHUP",
        .differences.join("; ")
    )]
    Different {
        /// The lottery.
        lottery: String,
        /// Name of the other central.
        central: String,
        /// The settings that differ, with both values.
        differences: Vec<String>,
    },
    /// Another central with this name has started and owns the rows of this one.
    #[error(
        "another central with the name {central} has started in the lottery {lottery}, so this \
         one stops: give each central its own SERVER_CENTRAL_NAME"
    )]
    Replaced {
        /// The lottery.
        lottery: String,
        /// The name.
        central: String,
    },
    /// The tables are those of another version of this program.
    #[error(
        "the tables in the database {database} have version {found}, this program uses version \
         {expected}: use another database, or the program of that version"
    )]
    Version {
        /// The database.
        database: String,
        /// The version in the database.
        found: i32,
        /// The version of this program.
        expected: i32,
    },
    /// The server refuses something that a start needs.
    #[error("the engine refuses to start the lottery: {0}")]
    Refused(#[from] ServerError),
    /// The engine has answered what no version of the tables does.
    #[error("the engine answers what the tables of this version never do: {0}")]
    Answer(#[from] ValueError),
    /// A statement cannot be sent.
    #[error("a statement cannot be sent: {0}")]
    Request(#[from] RequestError),
    /// The groups that the engine has stored are not those that this worker has sent.
    #[error("the engine has stored {found} groups of worker {slot}, which has sent {sent}")]
    Sequence {
        /// Slot of the worker.
        slot: usize,
        /// Groups stored.
        found: i64,
        /// Groups sent.
        sent: i64,
    },
    /// The database has another character set.
    #[error("the database has the encoding {0}: create it with ENCODING 'UTF8'")]
    Encoding(String),
    /// The socket cannot be watched.
    #[error("the socket of the engine: {0}")]
    Socket(nix::errno::Errno),
    /// The central has no random name.
    #[error("the name of this start: {0}")]
    Name(io::Error),
}
