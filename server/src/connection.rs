//! One connection of an agency: its bytes, and where in its life it is.
//!
//! *receiving* (until a request is whole) → *settling* (stored or noted, not published yet) → *answering* (the reply may not fit the
//! socket at once) → receiving again, where the dialect keeps connections; or closed. An agency that asks for its winners before the
//! draw is *waiting* in between. A closing connection is *lingering* when bytes of the peer may still be on their way: closing at
//! once would make the kernel reset the connection, and a reset can destroy a reply, or the clean end, that the peer has not read yet.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use lottery::protocol::{CentralCodec, Dialect, Then};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use socket2::{SockRef, TcpKeepalive};

/// How long a connection may linger, and how many bytes are read and thrown away meanwhile.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;
/// An agency may wait for the draw for days. The kernel asks for a sign of life after this time, again after each of the
/// intervals, and gives the connection up when all of them stayed unanswered: a machine that vanished keeps no place for ever.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// A connection and everything it needs; without part of a request in hand it owns no buffer.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Who it is.
    pub peer: SocketAddr,
    /// Tells this connection from a later one at the same place in the worker's table.
    pub serial: u32,
    /// What is spoken on it.
    pub dialect: &'static Dialect,
    /// Understands its bytes.
    pub codec: Box<dyn CentralCodec>,
    /// What has arrived and was not carried out yet.
    pub buffer: Vec<u8>,
    /// When it is closed whatever it does; `None` while it waits for the draw.
    pub deadline: Option<Instant>,
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
    /// The peer's end only: what it sends is not read.
    Hangup,
}

/// Where in its life a connection is.
#[derive(Debug)]
pub enum Phase {
    /// A request is arriving.
    Receiving,
    /// The request is carried out and waits for being published with the others of this round.
    Settling,
    /// Its winners are asked for and the draw was not held yet.
    Waiting {
        /// Whose winners.
        agency: u16,
    },
    /// The reply is being sent.
    Answering {
        /// The whole reply.
        reply: Vec<u8>,
        /// Bytes of it the kernel has taken.
        sent: usize,
        /// What comes after it.
        then: Then,
        /// The peer has sent, or is sending, more than will be read.
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
    pub fn new(
        stream: TcpStream,
        peer: SocketAddr,
        serial: u32,
        dialect: &'static Dialect,
        deadline: Instant,
    ) -> Self {
        Self {
            stream,
            peer,
            serial,
            dialect,
            codec: (dialect.central)(),
            buffer: Vec::new(),
            deadline: Some(deadline),
            in_flight: false,
            watched: Watched::Nothing,
            phase: Phase::Receiving,
        }
    }

    /// Whether nothing of a request has arrived that was not answered.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Receiving) && self.buffer.is_empty()
    }

    /// Bytes it keeps in memory.
    pub fn buffered(&self) -> usize {
        let reply = match &self.phase {
            Phase::Answering { reply, .. } => reply.capacity(),
            _ => 0,
        };
        self.buffer.capacity() + reply
    }

    /// Begins to wait for the draw: without a limit of time, and without memory for what is not there.
    pub fn wait_for_draw(&mut self, agency: u16) {
        self.phase = Phase::Waiting { agency };
        self.deadline = None;
        self.buffer.shrink_to_fit();
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        // Fails when the peer is gone already, which the kernel tells anyway.
        let _: io::Result<()> = SockRef::from(&self.stream).set_tcp_keepalive(&keepalive);
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
        self.buffer = Vec::new();
        let last = Instant::now() + LINGER;
        self.deadline = Some(self.deadline.map_or(last, |deadline| deadline.min(last)));
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
