//! The wire dialects, one file each: bytes in, [`Request`](crate::Request)s out, and [`Reply`](crate::Reply)s back to bytes.
//!
//! The programs know no dialect by name: they take one from the table [`DIALECTS`] and speak it through its codecs.

mod binary;
mod codec;
pub mod counted;
mod dialect;
pub mod echo;
mod error;
pub mod framed;
pub mod line;
mod packet;
mod rule;
pub mod sentinel;
mod text;
pub mod typed;

pub use codec::{AgencyCodec, Answer, CentralCodec, Decoded, Push, Receipt, Refusal, Then};
pub use dialect::{AgencyOptions, ConnectionUse, Dialect, NewAgency};
pub use error::{ProtocolError, Unencodable};
pub use packet::{Packet, check_separator};
pub use rule::{Rule, Step};

/// Every dialect there is. A new one is a file beside `typed`, its `mod` line above, and a row here; nothing else changes.
pub const DIALECTS: &[Dialect] = &[
    typed::DIALECT,
    counted::DIALECT,
    counted::DIALECT_U8,
    line::DIALECT,
    framed::DIALECT,
    sentinel::DIALECT,
    echo::DIALECT,
];

/// Largest request in bytes that a central takes. 65,535 records of the course's data have about 3 MB; a request that
/// announces or reaches more is refused, so that memory per connection stays bounded (invariant I8).
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// Largest packet an agency of ours sends, in bytes, everything included. Source: the assignment ("8 kB").
pub const MAX_PACKET_BYTES: usize = 8192;
