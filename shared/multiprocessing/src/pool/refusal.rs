//! Why a pool cannot do what a signal requests.

/// Why a pool refuses a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// More slots would be needed than are free. Workers of older generations keep theirs until
    /// they have finished.
    #[error("{needed} new workers need a slot each, and {free} of {slots} slots are free")]
    NoFreeSlot {
        /// Number of new workers.
        needed: usize,
        /// Number of free slots.
        free: usize,
        /// Number of all slots.
        slots: usize,
    },
    /// The only worker must stay.
    #[error("one worker must stay")]
    LastWorker,
}
