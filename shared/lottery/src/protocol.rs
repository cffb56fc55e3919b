//! The wire dialects, one file each, and the table that lists them.
//!
//! A dialect translates bytes to [`Request`](crate::Request)s and [`Reply`](crate::Reply)s to
//! bytes. The programs contain no dialect's name: they look it up in [`DIALECTS`] and use its
//! codecs.

mod binary;
mod codec;
pub mod counted;
mod dialect;
pub mod echo;
mod error;
pub mod framed;
pub mod keyed;
pub mod line;
mod packet;
mod recognize;
mod records;
mod rule;
pub mod sentinel;
mod text;
pub mod typed;

pub use codec::{
    Advice, AgencyCodec, Answer, CentralCodec, Decoded, Denial, Denied, Push, Receipt, Refusal,
    Refused, Then,
};
pub use dialect::{AgencyOptions, ConnectionUse, Dialect, NewAgency};
pub use error::{ProtocolError, Unencodable};
pub use packet::{Packet, check_separator};
pub use rule::{Rule, Scope, Step, Title};

/// All dialects. A new dialect needs a file beside `typed`, its `mod` line above and a row here;
/// nothing else changes.
pub const DIALECTS: &[Dialect] = &[
    typed::DIALECT,
    counted::DIALECT,
    counted::DIALECT_U8,
    line::DIALECT,
    framed::DIALECT,
    sentinel::DIALECT,
    keyed::DIALECT,
    echo::DIALECT,
];

/// Largest request that a central accepts, in bytes. 65,535 records of the course's data take about
/// 3 MB. The central rejects a request that announces or reaches more, which bounds the memory per
/// connection.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// Largest packet that this project's agencies send, in bytes, headers included. Source: the
/// assignment ("8 kB").
pub const MAX_PACKET_BYTES: usize = 8192;
