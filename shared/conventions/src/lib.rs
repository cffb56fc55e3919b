//! What the users of both programs see alike: settings and where each value came from, log lines, durations.
//!
//! The crate does no work of its own: it knows neither lotteries nor sockets. The server and the client use it
//! so that a value is looked up, a duration is spelled and a log line is laid out the same way on both sides.

mod clean;
pub mod duration;
pub mod log_line;
pub mod logger;
pub mod settings;
mod spelling;
