//! What the programs have in common for their users: settings, generated documents, log lines,
//! durations.
//!
//! The crate knows neither lotteries nor sockets. The server and the client use it so that both
//! look up values, spell durations and lay out log lines in the same way.

mod clean;
pub mod documents;
pub mod duration;
pub mod log_line;
pub mod logger;
pub mod settings;
