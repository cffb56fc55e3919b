//! One TCP connection to the central: made, written to and read from within limits, and left at once when a signal says so.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use lottery::protocol::{MAX_PACKET_BYTES, ProtocolError};
use nix::errno::Errno;
use nix::poll::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};

use crate::dialect::Reader;
use crate::stop::{FINISH_LIMIT, Heed, Stop, Wake};

/// Most bytes of a reply. The reply to a batch repeats its winners, so it is shorter than the batch; a longer one is no reply
/// to it, and reading on would let a peer fill the memory.
const MAX_REPLY_BYTES: usize = MAX_PACKET_BYTES;

/// Bytes asked for with one read.
const READ_BYTES: usize = 4096;

/// What went wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The name of the central has no address.
    #[error("the name cannot be resolved: {0}")]
    Unresolved(io::Error),
    /// The connection was not made: nothing was sent.
    #[error("{0}")]
    NotConnected(io::Error),
    /// The connection was not made in time: nothing was sent.
    #[error("no connection within {}", conventions::duration::GoDuration(*.0))]
    ConnectTimedOut(Duration),
    /// The connection failed while the request was sent or the reply awaited.
    #[error("the connection was lost: {source}")]
    Lost {
        /// Bytes of the request that were handed to the system before.
        sent: usize,
        /// What the system says.
        source: io::Error,
    },
    /// The central closed the connection before its reply was whole.
    #[error("the central closed the connection before its reply was whole ({received} bytes of it came)")]
    Closed {
        /// Bytes of the reply that came.
        received: usize,
    },
    /// The reply was not whole in time.
    #[error("no whole reply within {} ({received} bytes of it came)", conventions::duration::GoDuration(*.limit))]
    ReplyTimedOut {
        /// The limit that passed.
        limit: Duration,
        /// Bytes of the reply that came.
        received: usize,
    },
    /// The reply is longer than any reply to such a request.
    #[error("the reply has more than {MAX_REPLY_BYTES} bytes")]
    ReplyTooLong,
    /// The reply is no reply of the dialect.
    #[error("the reply is not understood: {0}")]
    Protocol(#[from] ProtocolError),
    /// A signal asked to stop.
    #[error("stopped by a signal")]
    Stopped,
}

/// What a signal does to an exchange that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSignal {
    /// The reply is awaited a little longer ([`FINISH_LIMIT`]): without it nobody knows whether the request was carried out.
    Finish,
    /// It is given up: nothing is lost with it.
    Abandon,
}

/// A connection that is made.
#[derive(Debug)]
pub(crate) struct Connection<'s> {
    /// Never blocks: all waiting is done by [`Stop::wait`].
    stream: TcpStream,
    /// Ends the waiting.
    stop: &'s Stop,
}

impl<'s> Connection<'s> {
    /// Connects within `limit`.
    ///
    /// # Errors
    /// [`ConnectionError`] of the kinds after which nothing was sent, or `Stopped`.
    pub(crate) fn open(
        address: SocketAddr,
        limit: Duration,
        stop: &'s Stop,
    ) -> Result<Self, ConnectionError> {
        let failed = ConnectionError::NotConnected;
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        // A batch is one write, but more than one segment: without this its last segment would wait for the peer's
        // acknowledgement of the others, which peers like to delay.
        socket.set_tcp_nodelay(true).map_err(failed)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {
                let deadline = Instant::now() + limit;
                match stop
                    .wait(socket.as_fd(), PollFlags::POLLOUT, Heed::Signals, deadline)
                    .map_err(failed)?
                {
                    Wake::Ready => {}
                    Wake::TimedOut => return Err(ConnectionError::ConnectTimedOut(limit)),
                    Wake::Stopped => return Err(ConnectionError::Stopped),
                }
                if let Some(error) = socket.take_error().map_err(failed)? {
                    return Err(failed(error));
                }
            }
            connected => connected.map_err(failed)?,
        }
        Ok(Self { stream: socket.into(), stop })
    }

    /// Sends a request and reads until `read` finds the reply whole; what the peer does afterwards does not matter, in
    /// particular it need not close. `reply` is room for the bytes, kept by the caller to be used again.
    ///
    /// # Errors
    /// [`ConnectionError`]; after all but `Lost` with 0 bytes sent, the request may have been carried out.
    pub(crate) fn exchange<T>(
        &mut self,
        request: &[u8],
        reply: &mut Vec<u8>,
        read: Reader<T>,
        limit: Duration,
        on_signal: OnSignal,
    ) -> Result<T, ConnectionError> {
        let mut progress = Progress::new(limit, on_signal);
        self.send(request, &mut progress)?;
        reply.clear();
        let mut chunk = [0; READ_BYTES];
        loop {
            // Waiting first spares a read that would find nothing: the reply is never there yet.
            self.wait(PollFlags::POLLIN, &mut progress)?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ConnectionError::Closed { received: reply.len() }),
                Ok(bytes) => reply.extend_from_slice(&chunk[..bytes]),
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(progress.lost(error)),
            }
            progress.received = reply.len();
            if let Some(value) = read(reply)? {
                return Ok(value);
            }
            if reply.len() > MAX_REPLY_BYTES {
                return Err(ConnectionError::ReplyTooLong);
            }
        }
    }

    /// Hands the whole request to the system.
    fn send(&mut self, request: &[u8], progress: &mut Progress) -> Result<(), ConnectionError> {
        while progress.sent < request.len() {
            match self.stream.write(&request[progress.sent..]) {
                Ok(bytes) => progress.sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::POLLOUT, progress)?;
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(progress.lost(error)),
            }
        }
        Ok(())
    }

    /// Waits for the socket, as long as the exchange may still take.
    fn wait(&self, events: PollFlags, progress: &mut Progress) -> Result<(), ConnectionError> {
        loop {
            let woken = self.stop.wait(self.stream.as_fd(), events, progress.heed, progress.deadline);
            match woken.map_err(|error| progress.lost(error))? {
                Wake::Ready => return Ok(()),
                Wake::TimedOut => {
                    let Progress { limit, received, .. } = *progress;
                    return Err(ConnectionError::ReplyTimedOut { limit, received });
                }
                Wake::Stopped if progress.on_signal == OnSignal::Abandon => {
                    return Err(ConnectionError::Stopped);
                }
                Wake::Stopped => progress.hurry(),
            }
        }
    }
}

/// How far an exchange has come and how long it may still take.
#[derive(Debug)]
struct Progress {
    /// Bytes of the request handed to the system.
    sent: usize,
    /// Bytes of the reply that came.
    received: usize,
    /// The limit that `deadline` was made from, for the message when it passes.
    limit: Duration,
    /// When the exchange has failed.
    deadline: Instant,
    /// What a signal does.
    on_signal: OnSignal,
    /// Whether a signal is still news.
    heed: Heed,
}

impl Progress {
    fn new(limit: Duration, on_signal: OnSignal) -> Self {
        let deadline = Instant::now() + limit;
        Self { sent: 0, received: 0, limit, deadline, on_signal, heed: Heed::Signals }
    }

    /// Takes notice of a signal: the exchange may go on, but not for long.
    fn hurry(&mut self) {
        let last = Instant::now() + FINISH_LIMIT;
        if last < self.deadline {
            (self.limit, self.deadline) = (FINISH_LIMIT, last);
        }
        self.heed = Heed::Nothing;
    }

    /// The error for a connection that failed now.
    fn lost(&self, source: io::Error) -> ConnectionError {
        ConnectionError::Lost { sent: self.sent, source }
    }
}

/// Whether the same call is simply to be made again.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
