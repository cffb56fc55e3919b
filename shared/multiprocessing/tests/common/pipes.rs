//! What the tests of pipes and listeners share: ends, messages, and limits on open files.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use multiprocessing::{Connection, Process, Sends, pipe};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Length of a large message: sixteen times the longest packet.
pub const LARGE: usize = 1 << 20;

/// Starts a child that alone has the other end of a pipe.
pub fn child_with(body: impl FnOnce(Connection)) -> (Connection, Process) {
    let (here, there) = pipe().unwrap();
    let child = Process::fork_with(there, |there| {
        body(there);
        0
    });
    (here, child.unwrap())
}

/// Returns true if programs that this process starts do not inherit the descriptor.
pub fn stays_here(descriptor: impl AsFd) -> bool {
    fcntl(descriptor, FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits() != 0
}

/// Keeps this process from opening one more file: all numbers below the first free one are taken.
pub fn open_no_more() {
    let free = File::open("/dev/null").unwrap().as_raw_fd();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, free as u64, hard).unwrap();
}

/// Lets this process open as many files as it may, and returns that number.
pub fn open_more() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    hard
}

/// Returns bytes that differ from those of other numbers and at other places.
pub fn pattern(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|place| (number.wrapping_mul(59) ^ place ^ (place >> 8)) as u8).collect()
}

/// Sends a message until there is no room, and returns how often it was sent.
pub fn fill<D: Sends>(end: &Connection<D>, message: &[u8]) -> usize {
    let mut sent = 0;
    while end.send_bytes_timeout(message, Duration::ZERO).unwrap() {
        sent += 1;
    }
    sent
}
