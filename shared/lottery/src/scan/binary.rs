//! Rows of bets whose names have a length before them, and whose other fields are integers.

use super::date::is_iso_date;
use super::rows::{BatchRows, PartedRow};
use super::text::Copied;
use super::window::{SHORT, special_of_short, window};
use crate::winner::WINNING_NUMBER;

/// A bet of a batch, not yet checked.
#[derive(Debug)]
pub(crate) struct BinaryBet<'b> {
    /// The bytes of the batch.
    pub(crate) batch: &'b [u8],
    /// Offset and length of the first name.
    pub(crate) first_name: (usize, usize),
    /// Offset and length of the last name.
    pub(crate) last_name: (usize, usize),
    /// The bytes of the birthdate.
    pub(crate) birthdate: &'b [u8],
    pub(crate) document: u32,
    pub(crate) number: u32,
}

impl BatchRows<'_, '_> {
    /// Appends the row of a bet of the batch's agency. A name of more than `longest` bytes needs
    /// care.
    #[inline(always)]
    pub(crate) fn copy_binary(&mut self, bet: &BinaryBet<'_>, longest: usize) -> Copied {
        self.try_copy_binary(bet, longest).map_or(Copied::No, Copied::from)
    }

    #[inline(always)]
    fn try_copy_binary(&mut self, bet: &BinaryBet<'_>, longest: usize) -> Option<bool> {
        let date: &[u8; 10] = bet.birthdate.try_into().ok()?;
        let mut spares = [[0; SHORT]; 2];
        let [first_spare, last_spare] = &mut spares;
        let (first, first_length) = checked_name(bet.batch, bet.first_name, longest, first_spare)?;
        let (last, last_length) = checked_name(bet.batch, bet.last_name, longest, last_spare)?;
        if !is_iso_date(date) {
            return None;
        }
        let mut row = PartedRow::new(self.prefix);
        row.push(first, first_length)?;
        row.push(b",", 1)?;
        row.push(last, last_length)?;
        row.push(b",", 1)?;
        row.push_integer(bet.document)?;
        row.push(b",", 1)?;
        row.push(date, date.len())?;
        row.push(b",", 1)?;
        row.push_integer(bet.number)?;
        row.push(b"\r\n", 2)?;
        self.begin_row()?;
        row.append_to(self.out)?;
        Some(bet.number == WINNING_NUMBER)
    }
}

/// Returns the bytes from the start of a name and its length, or `None` if something in it needs
/// care.
#[inline(always)]
fn checked_name<'a>(
    batch: &'a [u8],
    (at, length): (usize, usize),
    longest: usize,
    spare: &'a mut [u8; SHORT],
) -> Option<(&'a [u8; SHORT], usize)> {
    debug_assert!(longest < SHORT, "{longest}");
    if length > longest {
        return None;
    }
    let name = window(batch, at, spare);
    let within = (1 << length) - 1;
    (special_of_short(name) & within == 0).then_some((name, length))
}
