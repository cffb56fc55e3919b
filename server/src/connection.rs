//! One connection of an agency: its bytes, and where in its short life it is.
//!
//! *receiving* (until the request is whole) → *answering* (the reply may not fit the socket at once) → closed; or → *lingering*, when
//! bytes of the peer may still be on their way: closing at once would make the kernel reset the connection, and a reset can destroy
//! a reply, or the clean end, that the peer has not read yet.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use lottery::protocol::typed::Decoder;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

/// How long a connection may linger, and how many bytes are read and thrown away meanwhile.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// A connection and everything it needs; without a request in hand it owns no buffer.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Who it is.
    pub peer: SocketAddr,
    /// Tells this connection from a later one at the same place in the worker's table.
    pub serial: u32,
    /// When it is closed whatever it does.
    pub deadline: Instant,
    /// Its agency counts as in flight.
    pub in_flight: bool,
    /// What the kernel was asked to watch for.
    pub watched: Watched,
    /// Where in its life it is.
    pub phase: Phase,
}

/// Readiness a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Not registered yet: most connections are served before they have to wait.
    Nothing,
    /// Bytes to read.
    Input,
    /// Room to write.
    Output,
}

/// Where in its life a connection is.
#[derive(Debug)]
pub enum Phase {
    /// The request is arriving.
    Receiving {
        /// What has arrived, if it was not whole at once.
        buffer: Vec<u8>,
        /// Knows how much of it was understood.
        decoder: Decoder,
    },
    /// The request is stored and waits for being published with the others of this round.
    Settling,
    /// The reply is being sent.
    Answering {
        /// The whole reply.
        reply: Vec<u8>,
        /// Bytes of it the kernel has taken.
        sent: usize,
        /// The peer has sent more than the request.
        linger: bool,
    },
    /// Everything is said; the peer's last bytes are thrown away until it ends.
    Lingering {
        /// How many more.
        left: usize,
    },
}

/// What came of reading or writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This many bytes.
    Bytes(usize),
    /// Nothing more at the moment.
    Blocked,
    /// The peer has closed its side.
    Ended,
    /// The connection is broken.
    Broken(Errno),
}

impl Connection {
    /// A connection just accepted.
    pub fn new(stream: TcpStream, peer: SocketAddr, serial: u32, deadline: Instant) -> Self {
        let phase = Phase::Receiving { buffer: Vec::new(), decoder: Decoder::default() };
        Self { stream, peer, serial, deadline, in_flight: false, watched: Watched::Nothing, phase }
    }

    /// Whether nothing of a request has arrived.
    pub fn is_idle(&self) -> bool {
        matches!(&self.phase, Phase::Receiving { buffer, .. } if buffer.is_empty())
    }

    /// Bytes it keeps in memory.
    pub fn buffered(&self) -> usize {
        match &self.phase {
            Phase::Receiving { buffer, .. } => buffer.capacity(),
            Phase::Answering { reply, .. } => reply.capacity(),
            Phase::Settling | Phase::Lingering { .. } => 0,
        }
    }

    /// Reads into `bytes` without waiting.
    pub fn read(&self, bytes: &mut [u8]) -> Progress {
        // The flag instead of a non-blocking socket saves a system call a connection.
        match retried(|| recv(self.stream.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT)) {
            Ok(0) => Progress::Ended,
            Ok(read) => Progress::Bytes(read),
            Err(Errno::EAGAIN) => Progress::Blocked,
            Err(errno) => Progress::Broken(errno),
        }
    }

    /// Writes as much as the kernel takes without waiting.
    pub fn write(&self, bytes: &[u8]) -> Progress {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match retried(|| send(self.stream.as_raw_fd(), bytes, flags)) {
            Ok(written) => Progress::Bytes(written),
            Err(Errno::EAGAIN) => Progress::Blocked,
            Err(errno) => Progress::Broken(errno),
        }
    }

    /// Says goodbye and waits for the peer to do so.
    pub fn linger(&mut self) {
        // Fails when the peer is gone already; then lingering ends at the next read.
        let _: io::Result<()> = self.stream.shutdown(Shutdown::Write);
        self.phase = Phase::Lingering { left: LINGER_BYTES };
        self.deadline = self.deadline.min(Instant::now() + LINGER);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Repeats a call that a signal interrupted.
fn retried(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
