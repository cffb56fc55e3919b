//! The synchronisation of the library, on top of a mutex of loom.

pub(crate) mod lock;
pub(crate) mod participant;
pub(crate) mod queue;

include!(concat!(env!("OUT_DIR"), "/sync.rs"));
