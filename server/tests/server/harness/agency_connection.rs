//! A connection of an agency to a central, under the test's control byte by byte.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::time::Duration;

use lottery::Results;
use lottery::protocol::{ProtocolError, typed};
use socket2::{Domain, SockRef, Socket, Type};

/// How long a reply may take before the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a central. Methods that begin with `try_` report a broken connection, the others
/// panic.
#[derive(Debug)]
pub struct AgencyConnection {
    stream: TcpStream,
}

impl AgencyConnection {
    /// Connects to a port of this machine.
    pub fn open(port: u16) -> Self {
        Self::try_open(port).unwrap()
    }

    /// Connects to a port of this machine on which the central may have exited.
    pub fn try_open(port: u16) -> io::Result<Self> {
        Self::try_open_at("127.0.0.1", port)
    }

    /// Connects to a port of an address on which no central may listen.
    pub fn try_open_at(address: &str, port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((address, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Connects to a port of this machine from an address of 127.0.0.0/8.
    pub fn open_from(source: Ipv4Addr, port: u16) -> Self {
        Self::try_open_from(source, port).unwrap()
    }

    pub(super) fn try_open_from(source: Ipv4Addr, port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddrV4::new(source, 0).into())?;
        socket.connect(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.write(bytes).unwrap();
    }

    /// Sends bytes. Returns false if the connection is broken.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.write(bytes).is_ok()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Returns everything that the central sends until it closes the connection. Panics after a
    /// reset.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        self.stream.read_to_end(&mut reply).unwrap();
        reply
    }

    /// Returns everything that the central sends until the connection ends in any way, including a
    /// reset.
    pub fn read_until_gone(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        match self.stream.read_to_end(&mut reply) {
            Err(error) if is_timeout(&error) => panic!("the central is silent"),
            _ => reply,
        }
    }

    /// Reads one reply and returns what `decode` makes of it. `decode` sees all bytes so far and
    /// returns `None` until the reply is complete.
    pub fn read_reply<T>(
        &mut self,
        decode: impl FnMut(&[u8]) -> Result<Option<T>, ProtocolError>,
    ) -> T {
        self.try_read_reply(decode).unwrap()
    }

    /// Reads one reply as [`read_reply`](Self::read_reply) does, from a central that may die in
    /// the meantime.
    pub fn try_read_reply<T>(
        &mut self,
        mut decode: impl FnMut(&[u8]) -> Result<Option<T>, ProtocolError>,
    ) -> io::Result<T> {
        let mut reply = Vec::new();
        loop {
            let mut byte = [0];
            match self.stream.read_exact(&mut byte) {
                Err(error) if is_timeout(&error) => {
                    panic!("the central is silent after {reply:?}")
                }
                Err(error) => {
                    return Err(io::Error::new(error.kind(), format!("{error} after {reply:?}")));
                }
                Ok(()) => reply.push(byte[0]),
            }
            let decoded = decode(&reply).unwrap_or_else(|error| panic!("{error} in {reply:?}"));
            if let Some(value) = decoded {
                return Ok(value);
            }
        }
    }

    /// Reads exactly `count` bytes.
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Returns true if the connection is open and no unread byte has arrived.
    pub fn is_quiet(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends a query in `typed` and returns the answer.
    pub fn results(mut self) -> Results {
        self.send(&typed::QUERY);
        let reply = self.read_to_end();
        typed::decode_results(&reply)
            .unwrap()
            .unwrap_or_else(|| panic!("no complete answer: {reply:?}"))
    }

    /// Closes the sending direction. Replies can still be read.
    pub fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes the connection with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Returns the local port, which the central logs as the port of the client.
    pub fn port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }

    /// Returns the socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// Returns true if a read failed because nothing arrived for too long.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
