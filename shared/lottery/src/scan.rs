//! Rows of `bets.csv` straight from the bytes of a batch: the fast path of
//! [`CentralCodec::prepare`](crate::protocol::CentralCodec::prepare). `file_rows` does the reverse
//! for the agency, and `stored` finds the stored rows that may win.
//!
//! One pass checks a batch and appends its rows, without a [`Bet`](crate::Bet) per record. A record
//! in which nothing needs care is copied. Any other record takes the general path: its dialect
//! decodes it, and [`write_rows`](crate::write_rows) and [`is_winner`](crate::is_winner) do the
//! rest. If a record is invalid, nothing is appended, and the caller decodes the whole batch to
//! learn why. So every rule and every error text exists once, in the general path.

mod binary;
mod date;
mod file_rows;
mod lines;
mod plain;
mod rows;
mod stored;
mod text;
mod window;

pub(crate) use binary::BinaryBet;
pub(crate) use file_rows::FileRow;
pub use file_rows::{CopiedRows, FileRows};
pub(crate) use lines::{Line, LineFormat};
pub use rows::Prepared;
pub(crate) use rows::{Prefix, append_rows};
pub use stored::{StoredRows, scan_stored_rows};
pub(crate) use text::Copied;
pub(crate) use window::{Scanned, WINDOW, window};
