//! The stream that a log goes to. It drops lines while its reader is stuck (a pager, a stopped
//! terminal, a full log driver), because the program must be able to serve and to stop
//! nevertheless.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use super::Stream;

/// Milliseconds that a write waits for a stuck reader. The writes after it do not wait until one
/// succeeds again.
const MAX_WAIT_MS: u8 = 200;

/// A stream that drops what a stuck reader does not take.
#[derive(Debug)]
pub struct LossyStream {
    stream: Stream,
    /// The pipe that the stream is, if it is one and can be opened again.
    pipe: Option<File>,
    /// True if the last write was dropped, so that the next one does not wait.
    stuck: bool,
}

impl LossyStream {
    /// Returns the stream as the program has it now.
    pub fn new(stream: Stream) -> Self {
        Self { stream, pipe: stream.without_blocking(), stuck: false }
    }

    /// Looks again at the stream, whose place another file has taken.
    pub fn replace(&mut self) {
        self.pipe = self.stream.without_blocking();
    }

    /// Writes lines, or drops them. They are one call, and stay together on a pipe if they have at
    /// most `PIPE_BUF` bytes.
    pub fn write(&mut self, lines: &[u8]) {
        self.stuck = match (&self.pipe, self.stream) {
            (Some(pipe), _) => write_or_drop(pipe.as_fd(), lines, self.stuck),
            (None, Stream::Stdout) => write_or_drop(io::stdout().as_fd(), lines, self.stuck),
            (None, Stream::Stderr) => write_or_drop(io::stderr().as_fd(), lines, self.stuck),
        };
    }
}

impl Stream {
    fn without_blocking(self) -> Option<File> {
        match self {
            Self::Stdout => without_blocking(io::stdout().as_fd()),
            Self::Stderr => without_blocking(io::stderr().as_fd()),
        }
    }
}

/// Writes as much as the stream takes. Returns true if the reader is stuck.
fn write_or_drop(stream: BorrowedFd<'_>, mut lines: &[u8], was_stuck: bool) -> bool {
    while !lines.is_empty() {
        if !is_writable(stream, was_stuck) {
            return true;
        }
        match write(stream, lines) {
            Ok(written) => lines = &lines[written..],
            Err(Errno::EINTR) => {}
            // Another process has filled the pipe since the check.
            Err(Errno::EAGAIN) => return true,
            // The reader is gone, or the disk is full.
            Err(_) => return false,
        }
    }
    false
}

/// Returns true if the stream has room. Waits for it for a moment, unless the reader was stuck.
fn is_writable(stream: BorrowedFd<'_>, was_stuck: bool) -> bool {
    let limit = if was_stuck { PollTimeout::ZERO } else { PollTimeout::from(MAX_WAIT_MS) };
    // A pipe is writable if it has room for PIPE_BUF bytes, which is enough for one call.
    let mut wanted = [PollFd::new(stream, PollFlags::POLLOUT)];
    // After an error or an interruption, the write itself reports the failure.
    poll(&mut wanted, limit) != Ok(0)
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

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
}
