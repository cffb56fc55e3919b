//! Rows of `bets.csv`, as they were stored: how many there are, and which of them may win.

use memchr::memrchr;

use super::plain::Plain;
use super::text::{WINNING, check_date, read_plain};
use super::window::{SEARCHED, Scanned, WINDOW, Window, window};
use crate::{Bet, bet_of_row, possible_winner};

/// The digits of the number in the row of a bet without a number.
const ZERO: Plain = Plain::of(b"0");

/// Digits of the longest agency.
const AGENCY_DIGITS: usize = 5;

/// Rows at the start of some bytes of `bets.csv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRows {
    /// How many rows there are.
    pub rows: u64,
    /// Their length in bytes.
    pub bytes: usize,
}

/// Counts the rows at the start of `bytes`, up to the first one that needs care: a row that is
/// incomplete, invalid, long, or written in an unusual way. Calls `winner` for each row that may be
/// that of a winner, with its offset and the [`possible_winner`].
pub fn scan_stored_rows<'r>(bytes: &'r [u8], mut winner: impl FnMut(usize, Bet<'r>)) -> StoredRows {
    let mut found = StoredRows { rows: 0, bytes: 0 };
    // The bytes are checked in blocks, so that little of it is in vain if a row needs care.
    while let Some(block) = next_block(&bytes[found.bytes..])
        && scan_block(block, &mut found, &mut winner)
    {}
    found
}

/// Scans the rows of a block. Returns true if none needs care.
fn scan_block<'r>(
    block: &'r str,
    found: &mut StoredRows,
    winner: &mut impl FnMut(usize, Bet<'r>),
) -> bool {
    let (before, mut at) = (found.bytes, 0);
    let mut spare = [0; WINDOW];
    while at < block.len() {
        let Some(row) = scan_row(window(block.as_bytes(), at, &mut spare)) else { return false };
        if row.may_win {
            let Some(bet) = block.get(at..at + row.length).and_then(bet_of) else { return false };
            if let Some(bet) = possible_winner(&bet) {
                winner(before + at, bet);
            }
        }
        at += row.length + LINE_BREAK.len();
        found.rows += 1;
        found.bytes = before + at;
    }
    true
}

/// Returns some whole lines at the start of `bytes`, if there are any that are UTF-8.
fn next_block(bytes: &[u8]) -> Option<&str> {
    let block = &bytes[..bytes.len().min(BLOCK_BYTES)];
    let lines = &block[..=memrchr(b'\n', block)?];
    match simdutf8::basic::from_utf8(lines) {
        Ok(text) => Some(text),
        Err(_) => valid_lines(lines),
    }
}

/// Returns the lines before the one that is not UTF-8.
#[cold]
fn valid_lines(lines: &[u8]) -> Option<&str> {
    let valid = match simdutf8::compat::from_utf8(lines) {
        Ok(text) => return Some(text),
        Err(error) => &lines[..error.valid_up_to()],
    };
    std::str::from_utf8(&valid[..=memrchr(b'\n', valid)?]).ok()
}

/// Bytes whose encoding is checked at once: many rows.
const BLOCK_BYTES: usize = 8192;
const LINE_BREAK: [u8; 2] = *b"\r\n";

/// A row at the start of a window.
struct Row {
    /// Its length without the line break.
    length: usize,
    may_win: bool,
}

/// Returns the row at the start of the window, or `None` if it needs care.
#[inline(always)]
fn scan_row(window: &Window) -> Option<Row> {
    let scanned = Scanned::of::<b',', b','>(window, SEARCHED);
    // The first character that needs care must be the line break.
    let length = scanned.special.trailing_zeros() as usize;
    if window.get(length..)?.first_chunk()? != &LINE_BREAK {
        return None;
    }
    let within = 1_u64.checked_shl(length as u32).unwrap_or(0).wrapping_sub(1);
    let mut commas = scanned.separators & within;
    let mut next = || {
        let place = commas.trailing_zeros() as usize;
        commas &= commas.wrapping_sub(1);
        place
    };
    let [agency, _, _, document, date] = [next(), next(), next(), next(), next()];
    if date >= length || next() != SEARCHED {
        return None;
    }
    check_agency(window, agency)?;
    check_date(window, document + 1, date)?;
    let number = read_plain(window, date + 1, length)?;
    Some(Row { length, may_win: number == WINNING || number == ZERO })
}

/// Returns `None` unless the first `digits` bytes are the number of an agency.
#[inline(always)]
fn check_agency(window: &Window, digits: usize) -> Option<()> {
    // A number of five digits may be too large, and is rare.
    if digits >= AGENCY_DIGITS {
        let text = std::str::from_utf8(window.get(..digits)?).ok()?;
        return text.parse::<u16>().ok().map(drop);
    }
    (digits > 0 && window[..digits].iter().all(u8::is_ascii_digit)).then_some(())
}

/// Returns the bet of a row without quotes.
fn bet_of(row: &str) -> Option<Bet<'_>> {
    bet_of_row(row.split(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is found, with the offset and the document of each row that may win.
    fn scan(bytes: &[u8]) -> (StoredRows, Vec<(usize, String, Option<u32>)>) {
        let mut winners = Vec::new();
        let rows = scan_stored_rows(bytes, |start, bet| {
            winners.push((start, bet.document.to_string(), bet.number));
        });
        (rows, winners)
    }

    #[test]
    fn rows_are_counted_and_those_that_may_win_are_found() {
        // Computed with an independent implementation in Python: without a number, document 23
        // wins and document 22 does not.
        let rows = b"7,Ana,Lorca,11,1999-03-17,7574\r\n\
            2,Eva,Paz,23,1999-03-17,0\r\n\
            0,Eva,Paz,22,1999-03-17,0\r\n\
            0,Santiago Lionel,Lorca,30904465,1999-03-17,7574\r\n\
            65535,,,,2000-02-29,75740\r\n";
        let (found, winners) = scan(rows);
        assert_eq!(found, StoredRows { rows: 5, bytes: rows.len() });
        let expected = [(0, "11", Some(7574)), (32, "23", None), (86, "30904465", Some(7574))]
            .map(|(start, document, number)| (start, document.to_owned(), number));
        assert_eq!(winners, expected);
    }

    #[test]
    fn a_row_that_needs_care_ends_the_scan() {
        const GOOD: &[u8] = b"1,Ana,Lorca,11,1999-03-17,1\r\n";
        let long = format!("1,{},Lorca,11,1999-03-17,1\r\n", "x".repeat(64));
        for row in [
            &b""[..],
            b"1,Ana,Lorca,11,1999-03-17,1",
            b"1,Ana,Lorca,11,1999-03-17,1\n",
            b"1,Ana,Lorca,11,1999-03-17,1\r",
            b"\r\n",
            b"1,\"Ana\",Lorca,11,1999-03-17,1\r\n",
            b"1,A\xFFa,Lorca,11,1999-03-17,1\r\n",
            b"1,A\ta,Lorca,11,1999-03-17,1\r\n",
            b"1,Ana,Lorca,11,1999-02-29,1\r\n",
            b"1,Ana,Lorca,11,1999-03-17,01\r\n",
            b"1,Ana,Lorca,11,1999-03-17,123456789\r\n",
            b"1,Ana,Lorca,11,1999-03-17\r\n",
            b"1,Ana,Lorca,11,1999-03-17,1,1\r\n",
            b",Ana,Lorca,11,1999-03-17,1\r\n",
            b"x,Ana,Lorca,11,1999-03-17,1\r\n",
            b"65536,Ana,Lorca,11,1999-03-17,1\r\n",
            b"+1,Ana,Lorca,11,1999-03-17,1\r\n",
            long.as_bytes(),
        ] {
            let (found, _) = scan(&[GOOD, row, GOOD].concat());
            let text = String::from_utf8_lossy(row);
            let expected = StoredRows { rows: 1, bytes: GOOD.len() };
            if row.is_empty() {
                assert_eq!(found.rows, 2);
            } else {
                assert_eq!(found, expected, "{text:?}");
            }
        }
    }

    #[test]
    fn a_row_of_every_length_is_counted_or_left() {
        for length in 0..100 {
            let row = format!("1,{},L,1,1999-03-17,7574\r\n", "x".repeat(length));
            let (found, winners) = scan(row.as_bytes());
            let fits = row.len() - LINE_BREAK.len() <= SEARCHED;
            assert_eq!((found.rows, winners.len()), if fits { (1, 1) } else { (0, 0) }, "{row}");
        }
    }
}
