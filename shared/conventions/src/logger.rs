//! The log of a program: `YYYY-MM-DD HH:MM:SS LEVEL    message`, whole lines per `write` call.
//!
//! Several processes write to one pipe, and the kernel does not split a write of up to `PIPE_BUF`
//! bytes. So each call has only whole lines, and its length is limited. A closed or stuck pipe
//! loses lines, but never stops the program.
//!
//! A line is text or a [JSON object](Format::Json). On a stream that is connected to the journal of
//! systemd, a line begins with its priority (`<6>`), which the journal removes, and a line of text
//! has no time, because the journal has its own.
//!
//! Usually a call writes one line. A process that [holds](hold) its lines writes those below
//! WARNING together. If it is killed or aborts, it loses the lines that it holds; a panic loses
//! none.

mod journal;
mod lossy_stream;
mod time_stamp;

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use log::{Level, LevelFilter, Log, Metadata, Record};

use self::lossy_stream::LossyStream;
use self::time_stamp::TimeStamp;
use crate::clean::{Clean, Form};

/// Bytes of the longest line with its newline: Linux's `PIPE_BUF`. A longer line is cut and ends in
/// `…`.
pub const LINE_MAX: usize = 4096;

/// Bytes of the longest message: the line without date, time, level and newline.
pub(crate) const MESSAGE_MAX: usize = LINE_MAX - "2026-11-20 08:40:00 WARNING  \n".len();

/// Bytes of the longest message in JSON: the line without priority, time, level, braces and
/// newline.
pub(crate) const MEMBERS_MAX: usize =
    LINE_MAX - "<6>{\"time\":\"2026-11-20T08:40:00.123Z\",\"level\":\"WARNING\",}\n".len();

/// Target of a record whose text is the members of a JSON object.
pub(crate) const MEMBERS: &str = "conventions::log_line::members";

/// The layout of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The layout of the course, in local time.
    #[default]
    Text,
    /// A JSON object with `time` in UTC, `level`, `action`, `result` and the details.
    Json,
}

impl Format {
    /// The names of the formats.
    pub const NAMES: [&str; 2] = ["text", "json"];

    /// Returns the format of a name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// The stream to which a program logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, which the client uses.
    Stdout,
    /// Standard error, which the server uses.
    Stderr,
}

/// Starts logging to `stream`, from `level` upwards, in local time and without colours.
///
/// Forked processes inherit the log. A second call only changes the level. Environment variables
/// such as `RUST_LOG` are not read, because the programs have their own setting for the level.
pub fn init(level: LevelFilter, stream: Stream) {
    output().get_or_insert_with(|| Output::new(stream));
    if log::set_logger(&Logger).is_err() {
        log::debug!("the log was already set up");
    }
    log::set_max_level(level);
}

/// Changes the lowest level that is logged.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// True if the lines are JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// Sets the format of the lines that begin from now on.
pub fn set_format(format: Format) {
    JSON.store(format == Format::Json, Ordering::Relaxed);
}

/// Returns the format of a line that begins now.
pub(crate) fn format() -> Format {
    if JSON.load(Ordering::Relaxed) { Format::Json } else { Format::Text }
}

/// True if another file has taken the place of the stream since the last line.
static REPLACED: AtomicBool = AtomicBool::new(false);

/// Reports that the program has put another file in the place of the stream. Without this, a log
/// that was a pipe would stay there.
pub fn stream_was_replaced() {
    REPLACED.store(true, Ordering::Relaxed);
}

/// Holds the lines below WARNING in memory until [`flush`], until the next line that is not below
/// WARNING, or until they fill a call. Dropping the result writes them and ends this.
///
/// This saves system calls in an event loop. The caller must flush before it waits.
pub fn hold() -> Hold {
    set_hold(true);
    Hold(())
}

/// Writes the lines that this process holds.
pub fn flush() {
    Logger.flush();
}

/// Lines are held while this exists; see [`hold`].
#[derive(Debug)]
#[must_use = "lines are held until this is dropped"]
pub struct Hold(());

impl Drop for Hold {
    fn drop(&mut self) {
        set_hold(false);
        flush();
    }
}

fn set_hold(holds: bool) {
    if let Some(output) = &mut *output() {
        output.holds = holds;
    }
}

/// The log of this process, once it was started.
static OUTPUT: Mutex<Option<Output>> = Mutex::new(None);

fn output() -> MutexGuard<'static, Option<Output>> {
    OUTPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stream of a log, and the lines on their way to it.
#[derive(Debug)]
struct Output {
    stream: LossyStream,
    /// True if the stream is connected to the journal.
    journal: bool,
    time: TimeStamp,
    /// Whole lines that are not written yet, at most [`LINE_MAX`] bytes.
    lines: String,
    /// True if lines wait for a flush.
    holds: bool,
}

impl Output {
    fn new(stream: Stream) -> Self {
        let (journal, time) = (journal::has(stream), TimeStamp::default());
        let stream = LossyStream::new(stream);
        Self { stream, journal, time, lines: String::new(), holds: false }
    }

    /// Adds a line, and writes it unless it is held.
    fn add(&mut self, level: Level, message: &str, format: Format) {
        self.look_again();
        let begin = self.lines.len();
        if self.journal {
            self.lines.push_str(journal::priority(level));
        }
        let (now, name) = (Timestamp::now(), name(level));
        // Writing to a string does not fail.
        let _ = match (format, self.journal) {
            (Format::Json, _) => {
                let time = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
                writeln!(self.lines, r#"{{"time":"{time}","level":"{name}",{message}}}"#)
            }
            (Format::Text, true) => writeln!(self.lines, "{name:<8} {message}"),
            (Format::Text, false) => {
                writeln!(self.lines, "{} {name:<8} {message}", self.time.text(now))
            }
        };
        debug_assert!(self.lines.len() - begin <= LINE_MAX, "{} bytes", self.lines.len() - begin);
        if self.lines.len() > LINE_MAX {
            let line = self.lines.split_off(begin);
            self.write();
            self.lines = line;
        }
        if !self.holds || level <= Level::Warn {
            self.write();
        }
    }

    /// Writes the lines in one call.
    fn write(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        self.look_again();
        self.stream.write(self.lines.as_bytes());
        self.lines.clear();
    }

    /// Examines the stream if another file has taken its place.
    fn look_again(&mut self) {
        if REPLACED.swap(false, Ordering::Relaxed) {
            self.stream.replace();
            self.journal = journal::has(self.stream.stream());
        }
    }
}

/// The entry of the `log` crate into this module.
#[derive(Debug)]
struct Logger;

impl Log for Logger {
    // Only `log::max_level` filters.
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Formatted before the lock is taken: a value may log while it is formatted.
        let mut message = String::with_capacity(128);
        // An error only means that the message was cut, which its last character shows.
        let (format, _cut) = match (record.target(), format()) {
            (MEMBERS, _) => (Format::Json, write!(message, "{}", record.args())),
            // A message of a library has no pairs.
            (_, Format::Json) => {
                message.push_str("\"message\":\"");
                let mut text = Clean::new(&mut message, MEMBERS_MAX - 1, Form::Json);
                let cut = write!(text, "{}", record.args());
                message.push('"');
                (Format::Json, cut)
            }
            (_, Format::Text) => {
                let mut text = Clean::new(&mut message, MESSAGE_MAX, Form::Message);
                (Format::Text, write!(text, "{}", record.args()))
            }
        };
        if let Some(output) = &mut *output() {
            output.add(record.level(), &message, format);
        }
    }

    fn flush(&self) {
        if let Some(output) = &mut *output() {
            output.write();
        }
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
