//! The atomic operations of the algorithms that `proofs/` runs under a model checker, which puts
//! its own in their place.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
