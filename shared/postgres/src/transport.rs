//! A non-blocking socket, and the messages that travel on it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use postgres_protocol::message::backend::{Header, Message};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::error::{Fault, Step};

/// Bytes that one call reads from the socket.
const READ_SIZE: usize = 32 << 10;
/// Bytes of memory that a message may take in addition to its own, as a row does.
const OVERHEAD: usize = 64;
/// Idle time after which the kernel probes the server, the time between probes, and their number
/// before it gives up.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_secs(2), 3);
/// Time after which the kernel gives up on bytes that the server does not acknowledge.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// A socket with the bytes that wait to be sent, and those that are not a complete message yet.
pub(crate) struct Transport {
    socket: TcpStream,
    scratch: Box<[u8]>,
    /// The last read returned less than it could, so the socket had no more.
    is_drained: bool,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// Bytes of the messages since [`Transport::forget_size`].
    received: usize,
    limit: usize,
}

impl Transport {
    /// Begins to connect. `limit` is the largest sum of the messages of a reply in bytes.
    pub(crate) fn connect(address: SocketAddr, limit: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let (time, interval, retries) = KEEPALIVE;
        socket.set_tcp_keepalive(
            &TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(retries),
        )?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
            done => done?,
        }
        Ok(Self {
            socket: socket.into(),
            scratch: vec![0; READ_SIZE].into_boxed_slice(),
            is_drained: false,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            received: 0,
            limit,
        })
    }

    /// Returns true once the socket is connected.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Returns true if bytes wait until the socket is writable.
    pub(crate) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Returns the buffer to append messages to.
    pub(crate) fn outgoing(&mut self) -> &mut BytesMut {
        &mut self.outgoing
    }

    /// Sends these bytes next. All others were sent.
    pub(crate) fn send(&mut self, bytes: BytesMut) {
        debug_assert!(self.outgoing.is_empty(), "one request at a time");
        self.outgoing = bytes;
    }

    /// Returns the memory of the last request, if all of it was sent.
    pub(crate) fn take_buffer(&mut self) -> BytesMut {
        if self.outgoing.is_empty() { std::mem::take(&mut self.outgoing) } else { BytesMut::new() }
    }

    /// Starts to count the bytes of a reply.
    pub(crate) fn forget_size(&mut self) {
        self.received = 0;
    }

    /// Sends what the socket takes.
    pub(crate) fn flush(&mut self, step: Step) -> Result<(), Fault> {
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(sent) => self.outgoing.advance(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Io(step, error)),
            }
        }
        Ok(())
    }

    /// Returns the next message, or `None` if none has arrived completely.
    pub(crate) fn receive(&mut self, step: Step) -> Result<Option<Message>, Fault> {
        loop {
            if let Some(message) = self.next(step)? {
                return Ok(Some(message));
            }
            if std::mem::take(&mut self.is_drained) {
                return Ok(None);
            }
            match self.socket.read(&mut self.scratch) {
                Ok(0) => return Err(Fault::Closed(step)),
                Ok(count) => {
                    self.incoming.extend_from_slice(&self.scratch[..count]);
                    self.is_drained = count < self.scratch.len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Io(step, error)),
            }
        }
    }

    /// Takes the next message from the bytes that have arrived.
    fn next(&mut self, step: Step) -> Result<Option<Message>, Fault> {
        let violates = |error: io::Error| Fault::Protocol(step, error.to_string());
        let Some(header) = Header::parse(&self.incoming).map_err(violates)? else {
            return Ok(None);
        };
        // The parser reserves the length that the header states, so it gets only what is complete.
        let size = 1 + header.len() as usize;
        let total = self.received.saturating_add(size + OVERHEAD);
        if total > self.limit {
            return Err(Fault::TooLarge(step, total, self.limit));
        }
        if self.incoming.len() < size {
            return Ok(None);
        }
        self.received = total;
        Message::parse(&mut self.incoming).map_err(violates)
    }
}
