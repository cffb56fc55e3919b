//! No client takes more than its share of connections, time and memory.

mod floods;
mod log_budget;
mod memory;
mod pace;
mod places;
mod shares;
mod stalled;
mod turns;
