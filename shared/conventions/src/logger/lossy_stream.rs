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

/// What a stream is.
#[derive(Debug)]
enum Target {
    /// A pipe, opened again so that writing to it never blocks.
    Pipe(File),
    /// A regular file, which no reader holds up.
    File,
    /// Anything else, and a pipe that cannot be opened again: writing to it may block.
    Other,
}

/// A stream that drops what a stuck reader does not take.
#[derive(Debug)]
pub struct LossyStream {
    stream: Stream,
    target: Target,
    /// True if the last write was dropped, so that the next one does not wait.
    stuck: bool,
}

impl LossyStream {
    /// Returns the stream as the program has it now.
    pub fn new(stream: Stream) -> Self {
        Self { stream, target: stream.target(), stuck: false }
    }

    /// Returns which stream it is.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Looks again at the stream, whose place another file has taken.
    pub fn replace(&mut self) {
        self.target = self.stream.target();
    }

    /// Writes lines, or drops them. They are one call, and stay together on a pipe if they have at
    /// most `PIPE_BUF` bytes.
    pub fn write(&mut self, lines: &[u8]) {
        let may_block = matches!(self.target, Target::Other);
        self.stuck = match (&self.target, self.stream) {
            (Target::Pipe(pipe), _) => write_or_drop(pipe.as_fd(), lines, may_block, self.stuck),
            (_, Stream::Stdout) => {
                write_or_drop(io::stdout().as_fd(), lines, may_block, self.stuck)
            }
            (_, Stream::Stderr) => {
                write_or_drop(io::stderr().as_fd(), lines, may_block, self.stuck)
            }
        };
    }
}

impl Stream {
    fn target(self) -> Target {
        match self {
            Self::Stdout => Target::of(io::stdout().as_fd()),
            Self::Stderr => Target::of(io::stderr().as_fd()),
        }
    }
}

/// Writes as much as the stream takes. Returns true if the reader is stuck. A stream that may block
/// is asked for room before each write, any other one only once it has none.
fn write_or_drop(
    stream: BorrowedFd<'_>,
    mut lines: &[u8],
    may_block: bool,
    was_stuck: bool,
) -> bool {
    let mut waits = may_block;
    while !lines.is_empty() {
        if waits && !is_writable(stream, was_stuck) {
            return true;
        }
        match write(stream, lines) {
            Ok(written) => lines = &lines[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if !waits => waits = true,
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

impl Target {
    /// Examines a stream, and opens a pipe a second time, so that writing to it never blocks.
    ///
    /// The check before each write is not enough: when there is room for one line, several
    /// processes may write, and all but one would wait for the reader. The flag cannot be set on
    /// the descriptor that this program has inherited, because other programs share it.
    fn of(stream: BorrowedFd<'_>) -> Self {
        let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
        let Ok(kind) = fs::metadata(&path).map(|metadata| metadata.file_type()) else {
            return Self::Other;
        };
        if kind.is_file() {
            return Self::File;
        }
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        match kind.is_fifo().then(|| options.open(&path)) {
            Some(Ok(pipe)) => Self::Pipe(pipe),
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_full_pipe_blocks_no_writer_and_other_users_of_the_pipe_notice_nothing() {
        let (mut reader, mut inherited) = io::pipe().unwrap();
        let Target::Pipe(mut pipe) = Target::of(inherited.as_fd()) else { panic!("no pipe") };
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
    fn a_line_waits_for_room_in_a_full_pipe_once_and_is_then_dropped_at_once() {
        let (mut reader, inherited) = io::pipe().unwrap();
        let Target::Pipe(pipe) = Target::of(inherited.as_fd()) else { panic!("no pipe") };
        let write = |was_stuck| write_or_drop(pipe.as_fd(), &[b'x'; 4096], false, was_stuck);
        while !write(true) {}

        let start = Instant::now();
        assert!(write(false));
        assert!(start.elapsed() >= Duration::from_millis(MAX_WAIT_MS.into()));
        io::Read::read(&mut reader, &mut [0; 1 << 20]).unwrap();
        assert!(!write(true));
    }

    #[test]
    fn a_file_is_not_opened_a_second_time() {
        let file = File::open("/proc/self/exe").unwrap();
        assert!(matches!(Target::of(file.as_fd()), Target::File));
    }
}
