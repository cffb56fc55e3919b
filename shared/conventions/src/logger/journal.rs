//! The journal of systemd as the reader of a stream: how to recognize it, and priorities of lines.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;

use log::Level;

use super::Stream;

/// Returns true if systemd has connected the stream to its journal: `JOURNAL_STREAM` has the device
/// and the inode of the socket. A stream that was redirected since then has others.
pub fn has(stream: Stream) -> bool {
    let path = match stream {
        Stream::Stdout => "/proc/self/fd/1",
        Stream::Stderr => "/proc/self/fd/2",
    };
    let (Ok(journal), Ok(file)) = (env::var("JOURNAL_STREAM"), fs::metadata(path)) else {
        return false;
    };
    journal == format!("{}:{}", file.dev(), file.ino())
}

/// Returns the prefix of a line from which the journal takes its priority (sd-daemon(3)).
pub fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}
