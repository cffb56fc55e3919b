//! What the tests share: a real central in a directory of its own, agencies on real sockets, and
//! polling with a deadline.
//!
//! Every test owns its central, its directory and its port, so tests run as threads of one process
//! (`cargo test`) and as processes of their own (`cargo nextest`). The harness ends every process
//! that it starts, by process id, even when a test fails.

mod agency_connection;
mod batch_record;
mod central_process;
mod database;
mod deadline;
mod earlier_bets;
mod file_shim;
mod keyed_agency;
mod left_out;
mod load;
mod log_lines;
mod mounted;
mod packets;
mod participant;
mod preloaded;
mod proc_files;
mod program;
mod random;
mod resuming_client;
mod rounds;
mod setup;
mod stopped_process;
mod stored_batches;
mod vectors;
mod winner_index;

pub use agency_connection::AgencyConnection;
pub use batch_record::BatchRecord;
pub use central_process::CentralProcess;
pub use deadline::{eventually, eventually_within};
pub use file_shim::FileShim;
pub use keyed_agency::KeyedAgency;
pub use left_out::{can_mount, course_data, has_descriptors, left_out};
pub use load::Load;
pub use log_lines::{count_draws, refusals, value_of};
pub use mounted::Mounted;
pub use packets::{
    bet, codec, codec_of_session, large_packet, packet_in, packet_of, packet_of_bets,
    packet_of_records,
};
pub use participant::Participant;
pub use preloaded::compile_library;
pub use proc_files::{
    bytes_read, cpu_time, is_alive, peak_bytes, private_bytes, shared_memory_entries, works_in,
};
pub use program::{Program, client_program, kill};
pub use random::Random;
pub use resuming_client::ResumingClient;
pub use rounds::in_rounds;
pub use setup::{Setup, reserve_port};
pub use stopped_process::StoppedProcess;
pub use vectors::{
    WINNERS_BY_AGENCY, bets_with, draw_dialects, from_hex, numbered_bet, receipt, vector,
    winners_reply,
};
pub use winner_index::{WINNER_INDEX, index_of};
