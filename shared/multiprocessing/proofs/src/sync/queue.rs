//! The ring of a queue.

#[path = "../models/ring.rs"]
pub(crate) mod ring_models;

include!(concat!(env!("OUT_DIR"), "/queue.rs"));
