//! No client takes more than its share of connections, time and memory.

mod memory;
mod pace;
mod shares;
mod stalled;
