//! Python's `Pipe`, `Connection` and `wait`, between processes that may be killed.

mod deaths;
mod messages;
mod packets;
mod signals;
