//! One non-blocking TCP connection to the central, with time limits and signal handling.

mod error;
mod exchange;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

pub(crate) use self::error::ConnectionError;
use self::exchange::Exchange;
pub(crate) use self::exchange::{ExchangeOptions, OnSignal};
use crate::stop::{Interrupt, Stop, Wake};

/// Smallest and largest size of one read in bytes. A read asks for as many bytes as have already
/// arrived, within these bounds: the reply is decoded from its start after each read, so a long
/// reply needs few reads.
const READ_BYTES: [usize; 2] = [4096, 65536];

/// TCP keepalive while a reply has no time limit. The kernel probes after 30 s of silence and then
/// every 10 s. After three unanswered probes, a minute in all, the connection is lost.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// An established connection.
#[derive(Debug)]
pub(crate) struct Connection<'s> {
    /// Non-blocking socket; [`Stop::wait`] does all the waiting.
    stream: TcpStream,
    /// Interrupts the waits when a signal arrives.
    stop: &'s Stop,
    /// Bytes that are sent before the first request; empty afterwards.
    greeting: Vec<u8>,
}

impl<'s> Connection<'s> {
    /// Connects within `limit`. The `greeting` is sent together with the first request.
    pub(crate) fn open(
        address: SocketAddr,
        limit: Duration,
        stop: &'s Stop,
        greeting: Vec<u8>,
    ) -> Result<Self, ConnectionError> {
        let failed = ConnectionError::NotConnected;
        let kind = Type::STREAM.nonblocking();
        let socket =
            Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP)).map_err(failed)?;
        // A batch is one write but several segments. With Nagle's algorithm the last segment would
        // wait for the acknowledgement of the others, which peers delay.
        socket.set_tcp_nodelay(true).map_err(failed)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {
                wait_until_connected(&socket, limit, stop)?;
            }
            connected => connected.map_err(failed)?,
        }
        Ok(Self { stream: socket.into(), stop, greeting })
    }

    /// Checks that a connection that has carried a request can carry another.
    ///
    /// Fails with [`ConnectionError::Stale`] if the central has closed it or has sent unexpected
    /// bytes.
    pub(crate) fn check(&self) -> Result<(), ConnectionError> {
        match self.stream.peek(&mut [0]) {
            Ok(0) => Err(ConnectionError::Stale("closed it")),
            Ok(_) => Err(ConnectionError::Stale("sent bytes without a request")),
            Err(error) if is_transient(&error) => Ok(()),
            Err(source) => Err(ConnectionError::Lost { sent: 0, source }),
        }
    }

    /// Sends a request and reads until `read` finds a complete reply. The central need not close
    /// the connection after it.
    ///
    /// `reply` is a buffer that the caller reuses; it holds the bytes of the reply afterwards.
    /// `meanwhile` is called once the request is sent.
    /// After any error other than `Lost` with 0 bytes sent, the central may have processed the
    /// request.
    pub(crate) fn exchange<T>(
        &mut self,
        request: &[u8],
        reply: &mut Vec<u8>,
        meanwhile: impl FnOnce(),
        read: impl Fn(&[u8]) -> Result<Option<T>, ConnectionError>,
        options: ExchangeOptions,
    ) -> Result<T, ConnectionError> {
        let mut exchange = Exchange::new(options, self.greeting.len());
        if self.greeting.is_empty() {
            self.send(request, &mut exchange)?;
        } else {
            let mut opening = std::mem::take(&mut self.greeting);
            opening.extend_from_slice(request);
            self.send(&opening, &mut exchange)?;
        }
        if options.waits_for_draw {
            let result = SockRef::from(&self.stream).set_tcp_keepalive(&KEEPALIVE);
            result.map_err(|error| exchange.lost(error))?;
            exchange.clear_deadline();
        }
        meanwhile();
        reply.clear();
        loop {
            // The reply has almost never arrived yet, so waiting first saves a read.
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
            exchange.set_received(reply.len());
            if let Some(value) = read(reply)? {
                return Ok(value);
            }
            if reply.len() > options.max_reply_bytes {
                return Err(ConnectionError::ReplyTooLong { max: options.max_reply_bytes });
            }
        }
    }

    /// Sends bytes that have no reply.
    pub(crate) fn send_only(
        &self,
        bytes: &[u8],
        options: ExchangeOptions,
    ) -> Result<(), ConnectionError> {
        self.send(bytes, &mut Exchange::new(options, 0))
    }

    /// Writes all bytes to the socket.
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

    /// Waits for the socket until the exchange's deadline.
    fn wait(&self, events: PollFlags, exchange: &mut Exchange) -> Result<(), ConnectionError> {
        loop {
            let woken =
                self.stop.wait(self.stream.as_fd(), events, exchange.interrupt, exchange.deadline);
            match woken.map_err(|error| exchange.lost(error))? {
                Wake::Ready => return Ok(()),
                Wake::TimedOut => return Err(exchange.timed_out()),
                Wake::Stopped if exchange.on_signal == OnSignal::Abandon => {
                    return Err(ConnectionError::Stopped);
                }
                Wake::Stopped => exchange.shorten_deadline(),
            }
        }
    }
}

/// Waits until a socket that is connecting is connected.
fn wait_until_connected(
    socket: &Socket,
    limit: Duration,
    stop: &Stop,
) -> Result<(), ConnectionError> {
    // To the same machine the connection is already established, which saves a wait.
    if socket.peer_addr().is_ok() {
        return Ok(());
    }
    let failed = ConnectionError::NotConnected;
    let deadline = Some(Instant::now() + limit);
    let woken = stop.wait(socket.as_fd(), PollFlags::POLLOUT, Interrupt::OnSignal, deadline);
    match woken.map_err(failed)? {
        Wake::Ready => {}
        Wake::TimedOut => return Err(ConnectionError::ConnectTimedOut(limit)),
        Wake::Stopped => return Err(ConnectionError::Stopped),
    }
    socket.take_error().map_err(failed)?.map_or(Ok(()), |error| Err(failed(error)))
}

/// Returns true if the failed call can simply be repeated.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
