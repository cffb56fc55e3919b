//! Rows of records that are lines of text.

use memchr::memchr;

use super::rows::BatchRows;
use super::text::Copied;
use super::window::{SEARCHED, Scanned, WINDOW, Window, window};

/// The beginning that the lines of a batch have in common, and the order of the fields after it.
#[derive(Debug)]
pub(crate) struct LineFormat<const SEPARATOR: u8> {
    /// The bytes before the first field of the bet.
    pub(crate) prefix: String,
    /// True if the number is the first field, false if it is the last.
    pub(crate) number_first: bool,
}

/// A line of a batch.
#[derive(Debug)]
pub(crate) struct Line {
    /// Offset of its end, where its line break or the end of the text is.
    pub(crate) end: usize,
    /// The result of copying it.
    pub(crate) copied: Copied,
}

impl BatchRows<'_, '_> {
    /// Appends the row of the line at offset `at` of `text`, if nothing in it needs care.
    #[inline(always)]
    pub(crate) fn copy_line<const SEPARATOR: u8>(
        &mut self,
        text: &[u8],
        at: usize,
        format: &LineFormat<SEPARATOR>,
    ) -> Line {
        let rest = text.get(at..).unwrap_or_default();
        self.try_copy_line(text, at, rest, format).unwrap_or_else(|| {
            let end = at + memchr(b'\n', rest).unwrap_or(rest.len());
            Line { end, copied: Copied::No }
        })
    }

    /// Returns `None` if the end of the line is not among the searched bytes.
    #[inline(always)]
    fn try_copy_line<const SEPARATOR: u8>(
        &mut self,
        text: &[u8],
        at: usize,
        rest: &[u8],
        format: &LineFormat<SEPARATOR>,
    ) -> Option<Line> {
        let fields = rest.strip_prefix(format.prefix.as_bytes())?;
        let start = at + format.prefix.len();
        let mut spare = [0; WINDOW];
        let window = window(text, start, &mut spare);
        let mut scanned = Scanned::of::<SEPARATOR, b','>(window, SEARCHED);
        let length = line_length(&scanned, window, fields.len())?;
        let copied = if format.number_first {
            self.copy_number_first(window, &mut scanned, length)
        } else {
            self.copy(window, &mut scanned, length, false)
        };
        Some(Line { end: start + length, copied })
    }
}

/// Returns the length of the line at the start of a window, whose text has `rest` bytes. Returns
/// `None` if a byte before the end of the line needs care, or if the line is longer than the
/// searched bytes.
#[inline(always)]
fn line_length(scanned: &Scanned, window: &Window, rest: usize) -> Option<usize> {
    let length = scanned.special.trailing_zeros() as usize;
    (length < SEARCHED && (window[length] == b'\n' || length == rest)).then_some(length)
}
