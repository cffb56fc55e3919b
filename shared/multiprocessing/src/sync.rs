//! The primitives that processes share, and the records that survive the death of a process.

pub(crate) mod array;
pub(crate) mod barrier;
pub(crate) mod condition;
pub(crate) mod copies;
pub(crate) mod event;
pub(crate) mod held;
pub(crate) mod lock;
pub(crate) mod mutex;
pub(crate) mod participant;
pub(crate) mod primitive;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod rlock;
pub(crate) mod semaphore;
pub(crate) mod value;
