//! The atomic operations of the algorithms on shared words. `proofs` compiles those with the
//! operations of a model checker in the place of these.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
