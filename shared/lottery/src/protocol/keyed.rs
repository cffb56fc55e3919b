//! The `keyed` dialect: every batch has a key, so that a lost reply leaves no batch in doubt.
//!
//! All integers are unsigned big-endian, all text is UTF-8. A message in either direction is a u8
//! version, a u8 type, the u32 length of the body, and the body. The version is `81`.
//!
//! | request | type | body |
//! |---|---|---|
//! | batch | `01` | 16 bytes session, u16 agency, u64 sequence, u16 count, records as in `typed` |
//! | results | `02` | empty |
//! | finish | `03` | u16 agency |
//! | winners | `04` | u16 agency |
//! | session | `05` | 16 bytes session, u16 agency |
//!
//! | reply | type | body |
//! |---|---|---|
//! | stored | `81` | u16 count of winners, their records in the order of the request |
//! | results | `82` | u32 batches in flight, u64 winners so far |
//! | finished | `83` | empty |
//! | winners | `84` | u32 count, documents as u16 length and text |
//! | next | `85` | u64 sequence of the next batch |
//! | error | `FF` | u8 code, u64 expected sequence, text |
//!
//! A request whose type has bit `40` is the last one of its connection: the central closes after
//! the reply.
//!
//! The batches of a session are numbered from 1 without gaps. The central stores each number once
//! and answers a repetition of the last one as the first time.

mod agency;
mod central;
mod code;
mod message;
mod rules;

use super::{ConnectionUse, Dialect};

/// The row of the dialect table.
pub const DIALECT: Dialect = Dialect {
    name: "keyed",
    connections: &[ConnectionUse::Kept, ConnectionUse::PerRequest],
    waits_for_draw: true,
    number_is_optional: true,
    has_keys: true,
    originals_join_reads: true,
    max_agency: u16::MAX,
    // A document of any text has a length before it.
    check_document: |_| Ok(()),
    central: || Box::<central::KeyedCentralCodec>::default(),
    agency: Some(|options| Box::new(agency::KeyedAgencyCodec::new(options))),
    rules: rules::rules,
};

const BATCH: u8 = 0x01;
const RESULTS: u8 = 0x02;
const FINISH: u8 = 0x03;
const WINNERS: u8 = 0x04;
const SESSION: u8 = 0x05;

/// Bit in the type of a request that is the last one of its connection.
const LAST: u8 = 0x40;
/// The type of a reply is that of its request with this bit, and without [`LAST`].
const REPLY: u8 = 0x80;
const ERROR: u8 = 0xFF;

const SESSION_BYTES: usize = 16;
/// Session, agency and sequence: what is before the count of a batch.
const KEY_BYTES: usize = SESSION_BYTES + 2 + 8;
/// The u32 before the documents of the winners.
const COUNT_BYTES: usize = 4;
/// The u32 and the u64 of the results.
const RESULTS_BYTES: usize = 4 + 8;
/// The u64 of the next sequence.
const NEXT_BYTES: usize = 8;
/// Code and expected sequence: what is before the text of an error.
const ERROR_BYTES: usize = 1 + 8;
/// Longest text of an error. The agency rejects a longer one.
const MAX_REASON_BYTES: usize = 1024;
