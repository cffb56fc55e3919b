//! No client takes more than its share of connections, time and memory.

mod memory;
mod shares;
mod stalled;
