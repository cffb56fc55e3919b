//! The rows of a batch in one pass.

use memchr::memchr;

use super::{SEPARATOR, is_blank, read_bet};
use crate::Prepared;
use crate::protocol::text;
use crate::scan::{Copied, Line, LineFormat, append_rows};

const SEPARATOR_BYTE: u8 = SEPARATOR as u8;

/// Appends the rows of a batch whose text, without blanks at its ends, is `text`. `consumed` is the
/// length of its message.
pub(super) fn prepare<'b>(
    text: &'b [u8],
    consumed: usize,
    rows: &mut Vec<u8>,
) -> Option<Prepared<'b>> {
    let first = &text[..memchr(b'\n', text)?];
    let (announced, lines) = if first.contains(&SEPARATOR_BYTE) {
        (None, text)
    } else {
        (Some(text::integer(str(first)?)?), &text[first.len() + 1..])
    };
    let agency = &lines[..memchr(SEPARATOR_BYTE, lines)?];
    let agency = text::agency(str(agency)?, 1).ok()?;
    let prefix = format!("{agency}{SEPARATOR}");
    let format = LineFormat::<SEPARATOR_BYTE> { prefix, number_first: false };
    append_rows(rows, agency, |rows| {
        let (mut at, mut found) = (0, 0);
        while at <= lines.len() {
            found += 1;
            let Line { end, copied } = rows.copy_line(lines, at, &format);
            let line = lines.get(at..end)?;
            let decode = || read_bet(str(line)?, found).ok();
            match copied {
                Copied::Loser => {}
                Copied::Winner => rows.push_winner(decode()?),
                Copied::No if is_blank(line) => {}
                Copied::No => rows.push(decode()?)?,
            }
            at = end + 1;
        }
        (announced.unwrap_or(found) == found).then_some(consumed)
    })
}

fn str(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
