//! The national lottery: what a bet is, which bets win, how they are stored, and how they travel.
//!
//! Nothing here does I/O: bytes come in, [`Request`]s and [`Reply`]s come out, and the other way round. The central and the
//! agencies own the sockets and the files.
//!
//! ```
//! use lottery::protocol::{Decoded, Dialect, Then, typed};
//! use lottery::{Reply, Request, Results};
//!
//! let mut codec = (Dialect::named("typed").unwrap().central)();
//! let Ok(Decoded::Complete { request, .. }) = codec.decode(&typed::QUERY) else { panic!("whole request") };
//! assert_eq!(request, Request::Results);
//!
//! let mut answer = Vec::new();
//! let then = codec.encode(&Reply::Results(Results { winners: 3, in_flight: 0 }), &mut answer);
//! assert_eq!((answer, then), (vec![1, 0, 0, 0, 3], Ok(Then::Close)));
//! ```

mod bet;
mod birthdate;
mod decimal;
mod document;
pub mod protocol;
mod record;
mod request;
mod winner;

pub use bet::{Bet, InvalidBet, MAX_TEXT_BYTES};
pub use birthdate::Birthdate;
pub use document::Document;
pub use record::{write_rows, write_winner_line};
pub use request::{Reply, Request, Results};
pub use winner::{UNNUMBERED_WINNER_DIVISOR, WINNING_NUMBER, is_winner};
