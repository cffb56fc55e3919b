//! What operators see: status, health, shared memory and the log.

mod deaths;
mod health;
mod log_lines;
mod monitor;
mod output;
mod page;
mod status;
mod stuck_log;
mod top;
