//! The national lottery: bets, the winner rule, storage records and the wire dialects.
//!
//! Nothing here does I/O. Codecs translate between bytes and [`Request`]s or [`Reply`]s; the
//! central and the agencies own the sockets and the files.
//!
//! ```
//! use lottery::protocol::{Decoded, Dialect, Then, typed};
//! use lottery::{Reply, Request, Results};
//!
//! let mut codec = (Dialect::named("typed").unwrap().central)();
//! let Ok(Decoded::Complete { request, .. }) = codec.decode(&typed::QUERY) else {
//!     panic!("the query is one byte")
//! };
//! assert_eq!(request, Request::Results);
//!
//! let mut reply = Vec::new();
//! let then = codec.encode(&Reply::Results(Results { winners: 3, in_flight: 0 }), &mut reply);
//! assert_eq!((reply, then), (vec![1, 0, 0, 0, 3], Ok(Then::Close)));
//! ```

mod bet;
mod birthdate;
mod decimal;
mod document;
pub mod protocol;
mod record;
mod request;
pub mod sample;
mod scan;
mod winner;

pub use bet::{Bet, InvalidBet, MAX_TEXT_BYTES};
pub use birthdate::Birthdate;
pub use document::Document;
pub use record::{bet_of_row, write_rows, write_winner_line};
pub use request::{BatchKey, Reply, Request, Results};
pub use scan::{CopiedRows, FileRows, Prepared, StoredRows, scan_stored_rows};
pub use winner::{UNNUMBERED_WINNER_DIVISOR, WINNING_NUMBER, is_winner, possible_winner};
