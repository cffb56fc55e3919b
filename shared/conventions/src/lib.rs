//! What the programs share towards their users: settings, generated documents, output, log lines,
//! durations.
//!
//! The crate knows nothing of lotteries and sockets. Server and client use it to look up values,
//! spell durations and format log lines in the same way.

pub mod access;
mod clean;
pub mod documents;
pub mod duration;
pub mod log_line;
pub mod logger;
pub mod output;
pub mod settings;

/// The version of the programs, and in release builds of a checkout the commit.
pub const VERSION: &str = env!("LOTERIA_VERSION");
