//! No client takes more than its share of connections, time and memory.

mod log_budget;
mod memory;
mod pace;
mod shares;
mod stalled;
