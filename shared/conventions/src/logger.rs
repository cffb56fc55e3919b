//! The log of a program: `YYYY-MM-DD HH:MM:SS LEVEL    message`, one `write` call per line.
//!
//! Several processes write to one pipe, and the kernel does not split a write of up to `PIPE_BUF`
//! bytes. So each line is one call, and its length is limited. A closed or stuck pipe loses lines,
//! but never stops the program.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

use env_logger::fmt::Formatter;
use env_logger::{Builder, Target, WriteStyle};
use jiff::ZonedDateTime;
use log::{Level, LevelFilter, Record};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::clean::{Clean, Pipes};

/// Bytes of the longest line with its newline: Linux's `PIPE_BUF`. A longer line is cut and ends in
/// `…`.
pub const LINE_MAX: usize = 4096;

/// Bytes of the longest message: the line without date, time, level and newline.
pub(crate) const MESSAGE_MAX: usize = LINE_MAX - "2026-11-20 08:40:00 WARNING  \n".len();

/// The stream to which a program logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, which the client uses.
    Stdout,
    /// Standard error, which the server uses.
    Stderr,
}

impl Stream {
    fn without_blocking(self) -> Option<File> {
        match self {
            Self::Stdout => without_blocking(io::stdout().as_fd()),
            Self::Stderr => without_blocking(io::stderr().as_fd()),
        }
    }
}

/// Starts logging to `stream`, from `level` upwards, in local time and without colours.
///
/// Forked processes inherit the log. A second call only changes the level. Environment variables
/// such as `RUST_LOG` are not read, because the programs have their own setting for the level.
pub fn init(level: LevelFilter, stream: Stream) {
    let pipe = stream.without_blocking();
    let target = Target::Pipe(Box::new(LossyStream { stream, pipe, stuck: false }));
    // Only `log::max_level` filters by level. A filter in the logger would keep the level of the
    // first call.
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

/// Changes the lowest level that is logged.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// True if another file has taken the place of the stream since the last line.
static REPLACED: AtomicBool = AtomicBool::new(false);

/// Reports that the program has put another file in the place of the stream. Without this, a log
/// that was a pipe would stay there.
pub fn stream_was_replaced() {
    REPLACED.store(true, Ordering::Relaxed);
}

/// A stream that drops lines while its reader is stuck (a pager, a stopped terminal, a full log
/// driver). The program must be able to serve and to stop nevertheless.
#[derive(Debug)]
struct LossyStream {
    stream: Stream,
    /// The pipe that the stream is, if it is one and can be opened again.
    pipe: Option<File>,
    /// True if the last line was dropped, so that the next one does not wait.
    stuck: bool,
}

/// Milliseconds that a line waits for a stuck reader. The lines after it do not wait until one is
/// written again.
const MAX_WAIT_MS: u8 = 200;

impl LossyStream {
    /// Returns true if the stream has room for a line.
    fn is_writable(&self, stream: BorrowedFd<'_>) -> bool {
        let limit = if self.stuck { PollTimeout::ZERO } else { PollTimeout::from(MAX_WAIT_MS) };
        // A pipe is writable if it has room for PIPE_BUF bytes, which is enough for any line.
        let mut wanted = [PollFd::new(stream, PollFlags::POLLOUT)];
        // After an error or an interruption, the write itself reports the failure.
        poll(&mut wanted, limit) != Ok(0)
    }

    fn write_to(&mut self, stream: BorrowedFd<'_>, line: &[u8]) -> io::Result<usize> {
        self.stuck = !self.is_writable(stream);
        if self.stuck {
            return Ok(line.len());
        }
        match nix::unistd::write(stream, line) {
            // Another process has filled the pipe since the check.
            Err(Errno::EAGAIN) => {
                self.stuck = true;
                Ok(line.len())
            }
            written => written.map_err(io::Error::from),
        }
    }
}

/// Opens a pipe a second time, so that writing to it never blocks. Returns `None` for anything
/// else, and if the system does not allow it.
///
/// The check before each write is not enough: when there is room for one line, several processes
/// may write, and all but one would wait for the reader. The flag cannot be set on the descriptor
/// that this program has inherited, because other programs share it.
fn without_blocking(stream: BorrowedFd<'_>) -> Option<File> {
    let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
    if !fs::metadata(&path).ok()?.file_type().is_fifo() {
        return None;
    }
    OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path).ok()
}

impl io::Write for LossyStream {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if REPLACED.swap(false, Ordering::Relaxed) {
            self.pipe = self.stream.without_blocking();
        }
        // A duplicate of the handle would cost a system call per line.
        if let Some(pipe) = self.pipe.take() {
            let written = self.write_to(pipe.as_fd(), line);
            self.pipe = Some(pipe);
            return written;
        }
        match self.stream {
            Stream::Stdout => self.write_to(io::stdout().as_fd(), line),
            Stream::Stderr => self.write_to(io::stderr().as_fd(), line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the name of a level: DEBUG, INFO, WARNING or ERROR, in any letter case.
///
/// WARN means WARNING. CRITICAL, which the course's programs accept, means ERROR, the highest level
/// here.
pub fn level_from(text: &str) -> Option<LevelFilter> {
    Some(match text.to_ascii_uppercase().as_str() {
        "DEBUG" => LevelFilter::Debug,
        "INFO" => LevelFilter::Info,
        "WARNING" | "WARN" => LevelFilter::Warn,
        "ERROR" | "CRITICAL" => LevelFilter::Error,
        _ => return None,
    })
}

/// Formats one record into the buffer, which is then written in one call.
fn layout(buffer: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let mut message = String::with_capacity(128);
    // An error only means that the message was cut, which its last character shows.
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

/// Returns the level as the course's programs print it.
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
    fn a_full_pipe_blocks_no_writer_and_other_users_of_the_pipe_notice_nothing() {
        let (mut reader, mut inherited) = io::pipe().unwrap();
        let mut pipe = without_blocking(inherited.as_fd()).unwrap();
        let full = std::iter::repeat_with(|| pipe.write_all(&[b'x'; 64])).find_map(Result::err);
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);

        // The other descriptor still waits until there is room.
        let writer = std::thread::spawn(move || inherited.write_all(&[b'y'; 64]));
        let mut read = vec![0; 1 << 20];
        while !read.contains(&b'y') {
            io::Read::read(&mut reader, &mut read).unwrap();
        }
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn a_file_is_not_opened_a_second_time() {
        let file = File::open("/proc/self/exe").unwrap();
        assert!(without_blocking(file.as_fd()).is_none());
    }

    #[test]
    fn levels_have_the_names_of_the_course_in_any_letter_case() {
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
