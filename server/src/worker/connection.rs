//! One connection of an agency: its bytes, and its phase.
//!
//! A connection is *receiving* until a request is whole, *committing* while the request's ticket
//! waits for the commit, and *answering* until the reply is sent. Then it closes or, where the
//! dialect keeps connections, receives the next request. An agency that asks for its winners before
//! the draw *waits* in between. A connection *lingers* before it closes if bytes of the peer may
//! still be on their way. Closing at once would make the kernel reset the connection, and a reset
//! can destroy a reply that the peer has not read yet.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use lottery::protocol::{CentralCodec, Dialect, Then};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use socket2::{SockRef, TcpKeepalive};

use super::answers::ReplyBytes;
use super::pace::{Mark, Pace};
use super::table::Token;

/// Bytes of a reply that are sent at a time. A client that reads as fast as the worker sends must
/// not hold up the others.
const SEND_BYTES: usize = 256 * 1024;
/// How long a connection may linger.
const LINGER: Duration = Duration::from_secs(2);
/// Maximum number of bytes that a lingering connection reads and discards.
const LINGER_BYTES: usize = 256 * 1024;
/// Idle time after which the kernel probes a peer that waits for the draw, which may take days. If
/// the peer answers no probe, its machine has vanished and the kernel ends the connection.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered probes after which the kernel gives the connection up.
const KEEPALIVE_PROBES: u32 = 4;

/// Lets the kernel wait with the last bytes for what follows at once. nix has no name for this
/// flag.
const MSG_MORE: MsgFlags = MsgFlags::from_bits_retain(nix::libc::MSG_MORE);

/// A connection and everything it needs. Between requests it owns no buffer.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Names this connection in events and tickets.
    pub token: Token,
    /// The dialect of its listening socket.
    pub dialect: &'static Dialect,
    /// Decodes its requests and encodes its replies.
    pub codec: Box<dyn CentralCodec>,
    /// Bytes that have arrived and belong to no decoded request yet.
    pub buffer: Vec<u8>,
    /// Time at which it is closed, in any phase; `None` while it waits for the draw.
    pub deadline: Option<Instant>,
    /// Its in-flight mark. The ticket of a batch takes this mark over.
    pub mark: Mark,
    /// How fast the batch that has begun arrives.
    pub pace: Pace,
    /// Bytes that the codec has skipped as a greeting.
    pub greeting: Vec<u8>,
    /// True once a request was decoded or refused. Before that, the bytes of the connection show
    /// its dialect.
    pub has_spoken: bool,
    /// Replies that were sent whole.
    pub replies: u32,
    /// True once its agency has reported on it that it has finished.
    pub finished: bool,
    /// What epoll watches for; `None` before it is registered. Only the table changes it.
    pub watched: Option<Watched>,
    /// True while it is in the queue for the next round. Only the table changes it.
    pub in_queue: bool,
    /// The phase.
    pub phase: Phase,
}

/// Readiness that epoll watches for. It always reports errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Errors only.
    Errors,
    /// Bytes to read.
    Input,
    /// Room to write.
    Output,
    /// The peer's end only: the bytes it sends are not read.
    Hangup,
}

/// Phase of a connection.
#[derive(Debug)]
pub enum Phase {
    /// A request is arriving.
    Receiving,
    /// The buffer may hold another whole request, which is decoded in the next round.
    Queued,
    /// Nothing is read at the moment, because the store is behind.
    Held,
    /// A large request is arriving, and its next slice is read when it is this connection's turn.
    Deferred {
        /// True once the peer has sent more bytes. They must not wake the worker repeatedly.
        muted: bool,
        /// When it began to wait for its turn.
        since: Instant,
    },
    /// The request's ticket is in a round and not answered yet.
    Committing {
        /// True once the peer has sent more bytes. They must not wake the worker repeatedly.
        muted: bool,
    },
    /// The agency waits for the draw.
    Waiting {
        /// The agency that asked for its winners.
        agency: u16,
    },
    /// The reply is being sent.
    Answering {
        /// The whole reply.
        reply: ReplyBytes,
        /// Bytes of it that the kernel has taken.
        sent: usize,
        /// When sending began.
        since: Instant,
        /// What follows it.
        then: Then,
        /// True if closing has to wait for bytes that the peer is still sending.
        linger: bool,
    },
    /// The reply is sent. Bytes of the peer are discarded until it closes its side.
    Lingering {
        /// Bytes that may still be discarded.
        left: usize,
    },
    /// The connection is done; the table removes it.
    Closed,
}

/// Result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// This many bytes.
    Bytes(usize),
    /// No bytes at the moment.
    Blocked,
    /// The peer has closed its side.
    Ended,
    /// The connection is broken.
    Broken(Errno),
}

/// Result of sending a reply as far as the kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    Whole {
        /// What follows it.
        then: Then,
        /// True if closing has to wait for bytes that the peer is still sending.
        linger: bool,
    },
    /// Not all of it: the kernel takes no more at the moment, or it is another connection's turn.
    Partly,
    /// The connection is broken.
    Broken,
}

impl Connection {
    /// Returns a connection that was just accepted.
    pub fn new(
        stream: TcpStream,
        peer: SocketAddr,
        token: Token,
        dialect: &'static Dialect,
        deadline: Instant,
    ) -> Self {
        Self {
            stream,
            peer,
            token,
            dialect,
            codec: (dialect.central)(),
            buffer: Vec::new(),
            deadline: Some(deadline),
            mark: Mark::None,
            pace: Pace::new(Instant::now()),
            greeting: Vec::new(),
            has_spoken: false,
            replies: 0,
            finished: false,
            watched: None,
            in_queue: false,
            phase: Phase::Receiving,
        }
    }

    /// Returns true if no byte of an unanswered request has arrived.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Receiving) && self.buffer.is_empty()
    }

    /// Returns the bytes it keeps in memory.
    pub fn buffered(&self) -> usize {
        let reply = match &self.phase {
            Phase::Answering { reply, .. } => reply.kept(),
            _ => 0,
        };
        self.buffer.capacity() + reply
    }

    /// Returns what epoll should watch for in this phase. In brief phases that is what it already
    /// watches for, because a change would cost a system call per request.
    pub fn wants(&self) -> Option<Watched> {
        match self.phase {
            Phase::Receiving | Phase::Lingering { .. } => Some(Watched::Input),
            Phase::Answering { .. } => Some(Watched::Output),
            Phase::Waiting { .. } => Some(Watched::Hangup),
            Phase::Held
            | Phase::Committing { muted: true }
            | Phase::Deferred { muted: true, .. } => Some(Watched::Errors),
            Phase::Committing { muted: false }
            | Phase::Deferred { muted: false, .. }
            | Phase::Queued
            | Phase::Closed => self.watched,
        }
    }

    /// Starts to wait for the draw, without a deadline and without unused buffer capacity.
    pub fn wait_for_draw(&mut self, agency: u16) {
        self.phase = Phase::Waiting { agency };
        self.deadline = None;
        self.buffer.shrink_to_fit();
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        // This fails if the peer is already gone, which epoll reports anyway.
        let _: io::Result<()> = SockRef::from(&self.stream).set_tcp_keepalive(&keepalive);
    }

    /// Reads into `bytes` without blocking.
    pub fn read(&self, bytes: &mut [u8]) -> Read {
        // The flag saves the system call that would make the socket non-blocking.
        match retry(|| recv(self.stream.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT)) {
            Ok(0) => Read::Ended,
            Ok(read) => Read::Bytes(read),
            Err(Errno::EAGAIN) => Read::Blocked,
            Err(errno) => Read::Broken(errno),
        }
    }

    /// Sends more of the reply without blocking, and closes the sending side after a last reply.
    pub fn send(&mut self) -> Sent {
        let Phase::Answering { reply, sent, then, linger, .. } = &mut self.phase else {
            return Sent::Broken;
        };
        let visit_end = reply.len().min(*sent + SEND_BYTES);
        let mut flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        if *then == Then::Close && visit_end == reply.len() {
            // The end of the stream follows below, in the same segment. If the kernel takes only a
            // part of the bytes, it sends that part as if the flag were not set.
            flags |= MSG_MORE;
        }
        while *sent < visit_end {
            match retry(|| send(self.stream.as_raw_fd(), &reply[*sent..visit_end], flags)) {
                Ok(written) => *sent += written,
                Err(Errno::EAGAIN) => return Sent::Partly,
                Err(_) => return Sent::Broken,
            }
        }
        if *sent < reply.len() {
            return Sent::Partly;
        }
        self.replies = self.replies.saturating_add(1);
        if *then == Then::Close {
            // Closing without this would discard the last bytes if the peer has sent more.
            // This fails if the peer is already gone; then the next read ends the connection.
            let _: io::Result<()> = self.stream.shutdown(Shutdown::Write);
        }
        Sent::Whole { then: *then, linger: *linger }
    }

    /// Starts to linger until the peer closes its side.
    pub fn linger(&mut self) {
        self.phase = Phase::Lingering { left: LINGER_BYTES };
        self.buffer = Vec::new();
        let last = Instant::now() + LINGER;
        self.deadline = Some(self.deadline.map_or(last, |deadline| deadline.min(last)));
    }

    /// Discards what a lingering connection receives. Returns true once it has lingered enough.
    pub fn discard(&mut self, scratch: &mut [u8]) -> bool {
        loop {
            let read = self.read(scratch);
            let Phase::Lingering { left } = &mut self.phase else { return true };
            match read {
                Read::Blocked => return false,
                Read::Bytes(read) if read < *left => *left -= read,
                Read::Bytes(_) | Read::Ended | Read::Broken(_) => return true,
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Repeats a call that a signal interrupted.
fn retry(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
