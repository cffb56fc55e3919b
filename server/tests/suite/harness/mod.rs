//! What the process tests share: a real central in a directory of its own, agencies over real sockets, and
//! polling with a deadline instead of sleeping.
//!
//! Everything started here is ended here, by pid, also when a test fails.

mod agency;
mod book;
mod central;
mod deadline;
mod load;
mod participant;
mod processes;
mod random;
mod stopped;
mod vectors;

pub use agency::{
    Agency, bet, codec, large_packet, packet_in, packet_of, packet_of_bets, packet_of_records,
};
pub use book::Book;
pub use central::{Central, Setup, draws, refusals, taken_port};
pub use deadline::{eventually, eventually_within};
pub use load::Load;
pub use participant::Participant;
pub use processes::{
    Program, allow_descriptors, bytes_read, cpu_time, is_alive, kill, private_bytes,
    shared_memory_entries,
};
pub use random::Random;
pub use stopped::Stopped;
pub use vectors::{FIVE, bets_with, draw_dialects, numbered_bet, vector, winners_reply};
