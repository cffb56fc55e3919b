//! One TCP connection to the central: made, written to and read from within limits, and left at once when a signal says so.

mod error;
mod exchange;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use lottery::protocol::ProtocolError;
use nix::errno::Errno;
use nix::poll::PollFlags;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

pub(crate) use self::error::ConnectionError;
use self::exchange::Exchange;
pub(crate) use self::exchange::{OnSignal, Terms};
use crate::stop::{Heed, Stop, Wake};

/// Bytes asked for with one read: the first of these, or as many as have come, up to the second. The reply is looked at from its
/// start after each, which should not be often when it is long.
const READ_BYTES: [usize; 2] = [4096, 65536];

/// How the system finds out, while a reply is waited for without limit, that the central's machine is gone: asked after 30 s
/// of silence and every 10 s, and lost with the third question that nobody answers. A minute in all.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// A connection that is made.
#[derive(Debug)]
pub(crate) struct Connection<'s> {
    /// Never blocks: all waiting is done by [`Stop::wait`].
    stream: TcpStream,
    /// Ends the waiting.
    stop: &'s Stop,
    /// Goes out with the first request, before it; empty afterwards.
    greeting: Vec<u8>,
}

impl<'s> Connection<'s> {
    /// Connects within `limit`. The `greeting` is sent with the first request.
    ///
    /// # Errors
    /// [`ConnectionError`] of the kinds after which nothing was sent, or `Stopped`.
    pub(crate) fn open(
        address: SocketAddr,
        limit: Duration,
        stop: &'s Stop,
        greeting: Vec<u8>,
    ) -> Result<Self, ConnectionError> {
        let failed = ConnectionError::NotConnected;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
            .map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        // A batch is one write, but more than one segment: without this its last segment would wait for the peer's
        // acknowledgement of the others, which peers like to delay.
        socket.set_tcp_nodelay(true).map_err(failed)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {
                let deadline = Some(Instant::now() + limit);
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
        Ok(Self { stream: socket.into(), stop, greeting })
    }

    /// Finds out whether a connection that carried a request before can carry another.
    ///
    /// # Errors
    /// [`ConnectionError::Stale`] when the central has closed it or is out of step, `Lost` when it failed meanwhile.
    pub(crate) fn check(&self) -> Result<(), ConnectionError> {
        match self.stream.peek(&mut [0]) {
            Ok(0) => Err(ConnectionError::Stale("closed it")),
            Ok(_) => Err(ConnectionError::Stale("said more than it was asked")),
            Err(error) if is_transient(&error) => Ok(()),
            Err(source) => Err(ConnectionError::Lost { sent: 0, source }),
        }
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
        read: impl Fn(&[u8]) -> Result<Option<T>, ProtocolError>,
        terms: Terms,
    ) -> Result<T, ConnectionError> {
        let mut exchange = Exchange::new(terms, self.greeting.len());
        if self.greeting.is_empty() {
            self.send(request, &mut exchange)?;
        } else {
            let mut opening = std::mem::take(&mut self.greeting);
            opening.extend_from_slice(request);
            self.send(&opening, &mut exchange)?;
        }
        if terms.waits {
            let asked = SockRef::from(&self.stream).set_tcp_keepalive(&KEEPALIVE);
            asked.map_err(|error| exchange.lost(error))?;
            exchange.wait();
        }
        reply.clear();
        loop {
            // Waiting first spares a read that would find nothing: the reply is never there yet.
            self.wait(PollFlags::POLLIN, &mut exchange)?;
            let before = reply.len();
            reply.resize(before + before.clamp(READ_BYTES[0], READ_BYTES[1]), 0);
            let read_bytes = self.stream.read(&mut reply[before..]);
            reply.truncate(before + *read_bytes.as_ref().unwrap_or(&0));
            match read_bytes {
                Ok(0) => return Err(ConnectionError::Closed { received: before }),
                Ok(_) => {}
                Err(error) if is_transient(&error) => continue,
                Err(error) => return Err(exchange.lost(error)),
            }
            exchange.receive(reply.len());
            if let Some(value) = read(reply)? {
                return Ok(value);
            }
            if reply.len() > terms.reply_bytes {
                return Err(ConnectionError::ReplyTooLong { most: terms.reply_bytes });
            }
        }
    }

    /// Sends bytes that have no reply.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub(crate) fn tell(&self, bytes: &[u8], terms: Terms) -> Result<(), ConnectionError> {
        self.send(bytes, &mut Exchange::new(terms, 0))
    }

    /// Hands all the bytes to the system.
    fn send(&self, bytes: &[u8], exchange: &mut Exchange) -> Result<(), ConnectionError> {
        while let Some(rest) = bytes.get(exchange.sent..).filter(|rest| !rest.is_empty()) {
            match (&self.stream).write(rest) {
                Ok(written) => exchange.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::POLLOUT, exchange)?;
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(exchange.lost(error)),
            }
        }
        Ok(())
    }

    /// Waits for the socket, as long as the exchange may still take.
    fn wait(&self, events: PollFlags, exchange: &mut Exchange) -> Result<(), ConnectionError> {
        loop {
            let woken =
                self.stop.wait(self.stream.as_fd(), events, exchange.heed, exchange.deadline);
            match woken.map_err(|error| exchange.lost(error))? {
                Wake::Ready => return Ok(()),
                Wake::TimedOut => return Err(exchange.timed_out()),
                Wake::Stopped if exchange.on_signal == OnSignal::Abandon => {
                    return Err(ConnectionError::Stopped);
                }
                Wake::Stopped => exchange.hurry(),
            }
        }
    }
}

/// Whether the same call is simply to be made again.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
