//! The log of a program: `YYYY-MM-DD HH:MM:SS LEVEL    message`, one `write` call per line.
//!
//! Lines of several processes share one pipe, and the kernel keeps a write whole up to `PIPE_BUF`; hence one call
//! and the limit. A reader that went away costs the lines nobody reads, never the program.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};

use env_logger::fmt::Formatter;
use env_logger::{Builder, Target, WriteStyle};
use jiff::ZonedDateTime;
use log::{Level, LevelFilter, Record};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::clean::{Clean, Pipes};

/// Bytes of the longest line with its newline: Linux's `PIPE_BUF`. A longer one is cut and ends in `…`.
pub const LINE_MAX: usize = 4096;

/// Bytes a message may have: the line without date, time, level and newline.
pub(crate) const MESSAGE_MAX: usize = LINE_MAX - "2026-11-20 08:40:00 WARNING  \n".len();

/// Where a program logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, the client's.
    Stdout,
    /// Standard error, the server's.
    Stderr,
}

/// Starts logging: what is at least as grave as `level` goes to `stream`, in local time and without colours.
///
/// Forked processes inherit it. A second call only changes the level: whoever set up the log first keeps it.
/// Environment variables such as `RUST_LOG` are not read, the programs have their own key for the level.
pub fn init(level: LevelFilter, stream: Stream) {
    let target = Target::Pipe(Box::new(Patient { stream, stuck: false }));
    // The level is filtered once, by `log::max_level`; a filter in the logger would pin it to the first call's.
    let mut builder = Builder::new();
    builder
        .filter_level(LevelFilter::Trace)
        .target(target)
        .write_style(WriteStyle::Never)
        .format(layout);
    if builder.try_init().is_err() {
        log::debug!("the log was already set up");
    }
    log::set_max_level(level);
}

/// A stream that is given up on for the moment when nobody reads it: a program must serve, and must be able to stop, although
/// its log is a pipe whose reader is stuck (a pager, a stopped terminal, a full log driver). Lines are dropped meanwhile.
#[derive(Debug)]
struct Patient {
    stream: Stream,
    /// The last line was dropped: the next one does not wait.
    stuck: bool,
}

/// How long a line waits for its reader, once; in whole milliseconds.
const PATIENCE: u8 = 200;

impl Patient {
    /// Whether a line can be written without waiting for a reader.
    fn is_writable(&self, stream: BorrowedFd<'_>) -> bool {
        let patience = if self.stuck { PollTimeout::ZERO } else { PollTimeout::from(PATIENCE) };
        // A pipe is writable when it takes PIPE_BUF bytes, more than a line has.
        let mut wanted = [PollFd::new(stream, PollFlags::POLLOUT)];
        // Asked wrongly, or interrupted: then writing tells.
        poll(&mut wanted, patience) != Ok(0)
    }

    fn write_to(&mut self, stream: BorrowedFd<'_>, line: &[u8]) -> io::Result<usize> {
        self.stuck = !self.is_writable(stream);
        if self.stuck {
            return Ok(line.len());
        }
        nix::unistd::write(stream, line).map_err(io::Error::from)
    }
}

impl io::Write for Patient {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.stream {
            Stream::Stdout => self.write_to(io::stdout().as_fd(), line),
            Stream::Stderr => self.write_to(io::stderr().as_fd(), line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The level a name of the configuration stands for: DEBUG, INFO, WARNING or ERROR, in any letter case.
///
/// WARN is WARNING. CRITICAL, which the course's programs accept, shows errors: nothing here is graver.
pub fn level_from(text: &str) -> Option<LevelFilter> {
    Some(match text.to_ascii_uppercase().as_str() {
        "DEBUG" => LevelFilter::Debug,
        "INFO" => LevelFilter::Info,
        "WARNING" | "WARN" => LevelFilter::Warn,
        "ERROR" | "CRITICAL" => LevelFilter::Error,
        _ => return None,
    })
}

/// Writes one record into the buffer that is then written in one call.
fn layout(buffer: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let mut message = String::with_capacity(128);
    // The error only says that the message was cut, which its last character shows.
    let _cut = write!(Clean::new(&mut message, MESSAGE_MAX, Pipes::Keep), "{}", record.args());
    let time = ZonedDateTime::now().datetime();
    let (date, time) = (time.date(), time.time());
    writeln!(
        buffer,
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} {:<8} {message}",
        date.year(),
        date.month(),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        name(record.level()),
    )
}

/// The level as the course's programs print it.
fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_known_by_the_names_of_the_course_in_any_case() {
        for (text, level) in [
            ("DEBUG", Some(LevelFilter::Debug)),
            ("info", Some(LevelFilter::Info)),
            ("Warning", Some(LevelFilter::Warn)),
            ("WARN", Some(LevelFilter::Warn)),
            ("ERROR", Some(LevelFilter::Error)),
            ("CRITICAL", Some(LevelFilter::Error)),
            ("", None),
            ("TRACE", None),
            ("INFO ", None),
        ] {
            assert_eq!(level_from(text), level, "{text}");
        }
    }
}
