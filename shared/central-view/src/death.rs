//! How workers have died, as counters of the shared memory.

/// The reasons, in the order of the counters. The shared memory has their positions, so new ones go
/// to the end.
pub const DEATH_REASONS: [&str; 7] =
    ["other", "exit", "SIGKILL", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGTERM"];

/// Returns the counter of a reason: that of `other` for a name that is not in the list.
pub fn death_counter(reason: &str) -> usize {
    DEATH_REASONS.iter().position(|known| *known == reason).unwrap_or(0)
}
