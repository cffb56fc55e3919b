//! TODO inspection

mod log_lines;
mod status;
mod stuck_log;
