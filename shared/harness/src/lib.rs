//! What the process tests share: a real central in a directory of its own, agencies that speak `typed` over real sockets, and
//! polling with a deadline instead of sleeping.
//!
//! Everything started here is ended here, by pid, also when a test fails.
#![allow(clippy::unwrap_used)] // A test that cannot go on says so by panicking.

mod agency;
mod central;
mod deadline;
mod processes;

pub use agency::{Agency, bet, packet_of, packet_of_bets};
pub use central::{Central, Setup};
pub use deadline::{eventually, eventually_within};
pub use processes::{Program, is_alive, kill, shared_memory_entries};
