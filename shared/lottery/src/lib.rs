//! The national lottery: what a bet is, which bets win, how they are stored, and how they travel.
//!
//! Nothing here does I/O: bytes come in, [`Request`]s and [`Reply`]s come out, and the other way round. The central and the
//! agencies own the sockets and the files.
//!
//! ```
//! use lottery::protocol::typed::{self, Decoded, Decoder};
//! use lottery::{Reply, Request, Results};
//!
//! let wire = typed::QUERY;
//! let Decoded::Complete { request, .. } = Decoder::default().decode(&wire).unwrap() else { panic!("whole request") };
//! assert_eq!(request, Request::Results);
//!
//! let mut answer = Vec::new();
//! typed::encode_reply(&Reply::Results(Results { winners: 3, in_flight: 0 }), &mut answer);
//! assert_eq!(answer, [1, 0, 0, 0, 3]);
//! ```

mod bet;
mod birthdate;
pub mod protocol;
mod record;
mod request;
mod winner;

pub use bet::{Bet, InvalidBet, MAX_TEXT_BYTES};
pub use birthdate::Birthdate;
pub use record::{write_rows, write_winner_line};
pub use request::{Reply, Request, Results};
pub use winner::{UNNUMBERED_WINNER_DIVISOR, WINNING_NUMBER, is_winner};
