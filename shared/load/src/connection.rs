//! One connection that never blocks.

use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::SocketAddr;

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, Socket, Type};

use crate::conversation::Conversation;

/// Longest reply in bytes. A server that sends more does not speak the protocol.
const MAX_REPLY_BYTES: usize = 16 << 20;

/// A connection and its progress with the current request.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    /// Bytes of the message that are sent.
    sent: usize,
    /// The incomplete reply, if it arrives in several parts.
    received: Vec<u8>,
    /// True until the first request is answered.
    first: bool,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The socket accepts no more bytes at the moment.
    Sending,
    /// The message is sent, and the reply is not complete.
    Waiting,
    /// The reply is complete.
    Answered,
}

impl Connection {
    /// Begins to connect.
    pub(crate) fn open(server: SocketAddr, source: Option<SocketAddr>) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(server), kind, Some(Protocol::TCP))?;
        if let Some(source) = source {
            // The port is chosen by `connect`, which knows that different servers may share one.
            setsockopt(&socket, IpBindAddressNoPort, &true)?;
            socket.bind(&source.into())?;
        }
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
            _ => Ok(Self { socket, sent: 0, received: Vec::new(), first: true }),
        }
    }

    /// Prepares for the next request on the same connection.
    pub(crate) fn next_request(&mut self) {
        self.sent = 0;
        self.received.clear();
        self.first = false;
    }

    /// Returns true if nothing has been sent.
    pub(crate) fn is_new(&self) -> bool {
        self.first && self.sent == 0
    }

    /// Sends the rest of the message.
    pub(crate) fn send(&mut self, conversation: &mut impl Conversation) -> io::Result<Progress> {
        let [greeting, request] = conversation.message();
        let greeting = if self.first { greeting } else { &[] };
        let bytes = greeting.len() + request.len();
        while self.sent < bytes {
            let sent = match self.sent.checked_sub(greeting.len()) {
                Some(sent) => self.socket.send(&request[sent..]),
                None => {
                    let parts = [&greeting[self.sent..], request].map(IoSlice::new);
                    self.socket.send_vectored(&parts)
                }
            };
            match sent {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Sending);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Waiting)
    }

    /// Receives what has arrived of the reply. `buffer` is scratch space.
    pub(crate) fn receive(
        &mut self,
        conversation: &mut impl Conversation,
        buffer: &mut [u8],
    ) -> Result<Progress, String> {
        loop {
            let count = match (&self.socket).read(buffer) {
                Ok(0) => return Err("the connection ended before the reply".to_owned()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Waiting);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            // Most replies arrive in one part and are judged where they are.
            let is_complete = if self.received.is_empty() {
                let is_complete = conversation.judge(&buffer[..count], self.first)?;
                if !is_complete {
                    self.received.extend_from_slice(&buffer[..count]);
                }
                is_complete
            } else {
                self.received.extend_from_slice(&buffer[..count]);
                conversation.judge(&self.received, self.first)?
            };
            if is_complete {
                return Ok(Progress::Answered);
            }
            if self.received.len() > MAX_REPLY_BYTES {
                return Err(format!("the reply has more than {MAX_REPLY_BYTES} bytes"));
            }
            if count < buffer.len() {
                return Ok(Progress::Waiting);
            }
        }
    }
}
