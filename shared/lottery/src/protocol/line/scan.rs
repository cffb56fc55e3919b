//! The rows of a batch in one pass.

use std::ops::Range;

use memchr::{memchr, memmem, memrchr};

use super::{BATCH_END, Command, MAX_LINE_BYTES, PREFIX, READY, SEPARATOR};
use crate::Prepared;
use crate::protocol::MAX_REQUEST_BYTES;
use crate::scan::{Copied, Line, LineFormat, append_rows};

const SEPARATOR_BYTE: u8 = SEPARATOR as u8;

/// Returns the place of the line that ends the batch, including its line break, or `None` if it is
/// not in the buffer. The lines before the offset `from` are bets.
pub(super) fn find_batch_end(buffer: &[u8], from: usize) -> Option<Range<usize>> {
    let finder = memmem::Finder::new(BATCH_END);
    let mut from = from;
    loop {
        let unread = buffer.get(from..)?;
        let keyword = finder.find(unread)?;
        let start = memrchr(b'\n', &unread[..keyword]).map_or(0, |line_break| line_break + 1);
        let end = keyword + memchr(b'\n', &unread[keyword..])? + 1;
        if from + end > MAX_REQUEST_BYTES {
            return None;
        }
        // A field of a bet may contain the keyword too.
        let command = Command::read(&unread[start..end], 1).ok()?;
        if command.keyword == BATCH_END {
            return Some(from + start..from + end);
        }
        from += end;
    }
}

/// Appends the rows of the batch in `buffer`, which ends with the line at `batch_end`.
pub(super) fn prepare<'b>(
    buffer: &'b [u8],
    batch_end: &Range<usize>,
    rows: &mut Vec<u8>,
) -> Option<Prepared<'b>> {
    let lines = buffer.get(..batch_end.start)?;
    let first = &lines[..memchr(b'\n', lines)?];
    let agency = Command::read(first, 1).ok()?.agency;
    let prefix = format!("{PREFIX} {agency}] Bet ");
    let format = LineFormat::<SEPARATOR_BYTE> { prefix, number_first: true };
    append_rows(rows, agency, |rows| {
        let mut at = 0;
        while at < lines.len() {
            let record = rows.next_record();
            let Line { end, copied } = rows.copy_line(lines, at, &format);
            let line = lines.get(at..end + 1).filter(|line| line.len() <= MAX_LINE_BYTES)?;
            let decode = || {
                let command = Command::read(line, record).ok()?;
                let is_bet = ![BATCH_END, READY].contains(&command.keyword);
                command.bet(record).ok().filter(|_| is_bet)
            };
            match copied {
                Copied::Loser => {}
                Copied::Winner => rows.push_winner(decode()?),
                Copied::No => rows.push(decode()?)?,
            }
            at = end + 1;
        }
        (batch_end.len() <= MAX_LINE_BYTES).then_some(batch_end.end)
    })
}
