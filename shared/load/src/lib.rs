//! A load generator: many clients that send requests to one server and wait for the replies.
//!
//! A few threads drive all clients, each with one `epoll` descriptor, because the generator shares
//! the machine with the server that it measures. The crate knows no protocol: a [`Conversation`]
//! supplies the bytes of each request and judges the reply.

mod connection;
mod conversation;
mod driver;
mod figures;
mod latencies;
mod run;
mod sources;
mod tally;

pub use conversation::Conversation;
pub use figures::Figures;
pub use latencies::Percentiles;
pub use run::{Load, LoadError, MAX_CLIENTS_MARGIN, max_clients};
pub use sources::Sources;
