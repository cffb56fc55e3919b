//! What any process may read of a running central: its shared memory, mapped without the right to
//! write, and what that says about its health and its status.
//!
//! `server status`, `server health` and the monitor read a central through this crate. It knows
//! nothing of the workers' code. The central itself declares the same objects for writing.

mod attach;
mod condition;
mod death;
mod failure;
mod latency;
mod phase;
mod status;
mod view;

pub use self::attach::{AttachError, NAME_PREFIX, attach};
pub use self::condition::{Patience, Reason, SUPERVISOR_TIMEOUT, not_ready, silent};
pub use self::death::{DEATH_REASONS, death_counter};
pub use self::failure::StorageFailure;
pub use self::latency::{LATENCY_WORDS, Latency, LatencyPhase};
pub use self::phase::{Phase, WorkerState};
pub use self::status::Status;
pub use self::view::CentralView;
