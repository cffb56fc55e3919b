//! Rows of records whose fields are texts with a separator between them.

use super::date::is_iso_date;
use super::plain::Plain;
use super::rows::{AppendPart, BatchRows};
use super::window::{PREFIX, ROW, SEARCHED, Scanned, Window};
use crate::winner::{WINNING_NUMBER, wins_without_number};

/// The digits of the winning number.
pub(super) const WINNING: Plain = Plain::of(b"7574");
const _: () = assert!(WINNING_NUMBER == 7574);

/// Offset of a separator that is missing.
pub(super) const NONE: usize = u64::BITS as usize;

/// Length of a date, `YYYY-MM-DD`.
const DATE_BYTES: usize = 10;

/// The result of copying a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// Its row was appended, and the bet does not win.
    Loser,
    /// Its row was appended, and the bet wins.
    Winner,
    /// Nothing was appended, because something in the record needs care.
    No,
}

impl From<bool> for Copied {
    fn from(wins: bool) -> Self {
        if wins { Self::Winner } else { Self::Loser }
    }
}

impl BatchRows<'_, '_> {
    /// Appends the row of a record of `length` bytes at the start of the window, whose fields are
    /// first name, last name, document, birthdate and number.
    #[inline(always)]
    pub(crate) fn copy(
        &mut self,
        window: &Window,
        scanned: &mut Scanned,
        length: usize,
        number_is_optional: bool,
    ) -> Copied {
        self.try_copy(window, scanned, length, number_is_optional).map_or(Copied::No, Copied::from)
    }

    #[inline(always)]
    fn try_copy(
        &mut self,
        window: &Window,
        scanned: &mut Scanned,
        length: usize,
        number_is_optional: bool,
    ) -> Option<bool> {
        let [_, second, third, fourth] = scanned.separators_within(length)?;
        self.check_document_at(window, second + 1, third)?;
        if fourth == NONE {
            number_is_optional.then_some(())?;
            check_date(window, third + 1, length)?;
            // The rule hashes these fields with a semicolon in between.
            let wins = wins_without_number(window.get(..length)?);
            self.append_row(&mut scanned.row, length, (*b",0\r\n", 4))?;
            return Some(wins);
        }
        check_date(window, third + 1, fourth)?;
        let number = read_plain(window, fourth + 1, length)?;
        self.append_row(&mut scanned.row, length, (*b"\r\n\0\0", 2))?;
        Some(number == WINNING)
    }

    /// Appends the row of a record of `length` bytes at the start of the window, whose fields are
    /// number, first name, last name, document and birthdate.
    #[inline(always)]
    pub(crate) fn copy_number_first(
        &mut self,
        window: &Window,
        scanned: &mut Scanned,
        length: usize,
    ) -> Copied {
        self.try_copy_number_first(window, scanned, length).map_or(Copied::No, Copied::from)
    }

    #[inline(always)]
    fn try_copy_number_first(
        &mut self,
        window: &Window,
        scanned: &mut Scanned,
        length: usize,
    ) -> Option<bool> {
        let [first, _, third, fourth] = scanned.separators_within(length)?;
        check_date(window, fourth + 1, length)?;
        let wins = read_plain(window, 0, first)? == WINNING;
        self.check_document_at(window, third + 1, fourth)?;
        // The number has at most 8 digits, so the window holds all bytes of this copy.
        let person: &[u8; SEARCHED] = window.get(first + 1..)?.first_chunk()?;
        let mut row = [0; ROW];
        *row.get_mut(PREFIX..)?.first_chunk_mut()? = *person;
        self.append_row(&mut row, length - (first + 1), (*b",\0\0\0", 1))?;
        self.out.append_part::<8>(window.first_chunk()?, first);
        self.out.extend_from_slice(b"\r\n");
        Some(wins)
    }

    /// Records whether the document between these offsets is a plain decimal.
    #[inline(always)]
    fn check_document_at(&mut self, window: &Window, start: usize, end: usize) -> Option<()> {
        if self.needs_documents() && read_plain(window, start, end).is_none() {
            self.check_document(std::str::from_utf8(window.get(start..end)?).ok()?);
        }
        Some(())
    }
}

impl Scanned {
    /// Returns the offsets of the separators of a record of `length` bytes, which must be three or
    /// four; a fourth may be [`NONE`]. Returns `None` for any other number, and if
    /// a byte of the record needs care.
    #[inline(always)]
    pub(super) fn separators_within(&self, length: usize) -> Option<[usize; 4]> {
        if !(1..=SEARCHED).contains(&length) {
            return None;
        }
        let within = u64::MAX >> (SEARCHED - length);
        let first = self.separators & within;
        let second = without_lowest(first);
        let third = without_lowest(second);
        let fourth = without_lowest(third);
        if self.special & within != 0 || third == 0 || without_lowest(fourth) != 0 {
            return None;
        }
        Some([first, second, third, fourth].map(|places| places.trailing_zeros() as usize))
    }
}

/// Clears the lowest bit that is set.
#[inline(always)]
fn without_lowest(bits: u64) -> u64 {
    bits & bits.wrapping_sub(1)
}

/// Returns `None` unless the bytes between these offsets are a date.
#[inline(always)]
pub(super) fn check_date(window: &Window, start: usize, end: usize) -> Option<()> {
    let date = window.get(start..)?.first_chunk()?;
    (end == start + DATE_BYTES && is_iso_date(date)).then_some(())
}

/// Returns the number between these offsets, or `None` if it is not a short plain decimal.
#[inline(always)]
pub(super) fn read_plain(window: &Window, start: usize, end: usize) -> Option<Plain> {
    Plain::read(window.get(start..)?.first_chunk()?, end - start)
}
