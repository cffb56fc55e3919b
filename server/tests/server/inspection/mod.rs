//! What operators see: status, health, shared memory and the log.

mod log_lines;
mod output;
mod status;
mod stuck_log;
