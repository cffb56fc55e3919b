//! The wire dialects, one file each: bytes in, [`Request`](crate::Request)s out, and [`Reply`](crate::Reply)s back to bytes.
//!
//! A dialect owns no socket and no buffer. The caller keeps the bytes and shows a decoder everything that has arrived of the
//! current message, from its first byte; how the bytes were split or coalesced on the way makes no difference.

mod error;
pub mod typed;

pub use error::{ProtocolError, Unencodable};

/// Largest request in bytes that a central takes. 65,535 records of the course's data have about 3 MB; a request that
/// announces or reaches more is refused, so that memory per connection stays bounded (invariant I8).
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// Largest packet an agency of ours sends, in bytes, everything included. Source: the assignment ("8 kB").
pub const MAX_PACKET_BYTES: usize = 8192;
