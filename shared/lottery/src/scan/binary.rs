//! Rows of bets whose names have a length before them, and whose other fields are integers.

use super::date::is_iso_date;
use super::rows::{AppendPart, BatchRows};
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
        self.append_prefix()?;
        let out = &mut *self.out;
        out.append_part(first, first_length);
        out.push(b',');
        out.append_part(last, last_length);
        out.push(b',');
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(bet.document).as_bytes());
        let [y1, y2, y3, y4, dash, m1, m2, second_dash, d1, d2] = *date;
        out.extend_from_slice(&[b',', y1, y2, y3, y4, dash, m1, m2, second_dash, d1, d2, b',']);
        out.extend_from_slice(digits.format(bet.number).as_bytes());
        out.extend_from_slice(b"\r\n");
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
