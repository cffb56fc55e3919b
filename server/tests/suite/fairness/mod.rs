//! TODO fairness

mod memory;
mod shares;
mod stalled;
