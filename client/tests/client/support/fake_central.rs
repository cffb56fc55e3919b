//! A central that the test plays itself, connection by connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::PATIENCE;

/// Largest number of connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A central that does what the test says.
pub(crate) struct FakeCentral {
    listener: TcpListener,
}

impl FakeCentral {
    /// Listens on a free port.
    pub(crate) fn new() -> Self {
        ClosedPort::new().listen()
    }

    /// Listens on the address of an earlier central.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self::from(TcpListener::bind(address).unwrap())
    }

    fn from(listener: TcpListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    /// Returns its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Returns the next connection, if there is one.
    pub(crate) fn try_accept(&self) -> Option<ServerConnection> {
        self.listener.accept().ok().map(|(stream, _)| ServerConnection::new(stream))
    }

    /// Waits for the next connection.
    pub(crate) fn accept(&self) -> ServerConnection {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return ServerConnection::new(stream),
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("no connection arrived: {error}"),
            }
        }
    }

    /// Fails if there is another connection. Must be called after the program has ended.
    pub(crate) fn assert_no_other_connection(&self) {
        if let Ok((stream, _)) = self.listener.accept() {
            let mut bytes = Vec::new();
            ServerConnection::new(stream).stream.read_to_end(&mut bytes).unwrap();
            panic!("another connection arrived, with {:?}", String::from_utf8_lossy(&bytes));
        }
    }

    /// Receives a batch on a new connection and acknowledges it without winners. Returns its
    /// records.
    pub(crate) fn accept_batch(&self) -> Vec<String> {
        let mut connection = self.accept();
        let records = connection.read_batch();
        connection.reply(&[0, 0]);
        records
    }

    /// Receives a query on a new connection and answers with a total.
    pub(crate) fn answer_total(&self, winners: u8) {
        let mut connection = self.accept();
        connection.read_query();
        connection.reply(&[1, 0, 0, 0, winners]);
    }
}

/// A port that refuses connections and that no other test can get.
pub(crate) struct ClosedPort {
    /// Bound, but not listening.
    socket: Socket,
}

impl ClosedPort {
    /// Reserves a free port.
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Self { socket }
    }

    /// Returns its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap().as_socket().unwrap()
    }

    /// Starts a central on the port.
    pub(crate) fn listen(self) -> FakeCentral {
        self.socket.listen(BACKLOG).unwrap();
        FakeCentral::from(self.socket.into())
    }
}

/// The central's side of one connection of the program.
pub(crate) struct ServerConnection {
    stream: TcpStream,
    /// Bytes of the last batch that was read, including its header.
    pub(crate) packet: Vec<u8>,
}

impl ServerConnection {
    fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, packet: Vec::new() }
    }

    /// Reads a whole batch of the `typed` dialect. Returns its records.
    pub(crate) fn read_batch(&mut self) -> Vec<String> {
        self.packet.clear();
        let header = self.read_exact(3);
        assert_eq!(header[0], 0, "the type of a batch");
        let count = u16::from_be_bytes([header[1], header[2]]);
        (0..count)
            .map(|_| {
                let length = self.read_exact(2);
                let record = self.read_exact(u16::from_be_bytes([length[0], length[1]]).into());
                String::from_utf8(record).unwrap()
            })
            .collect()
    }

    /// Copies the next bytes without consuming them.
    pub(crate) fn peek(&self, bytes: &mut [u8]) {
        assert_eq!(self.stream.peek(bytes).unwrap(), bytes.len());
    }

    /// Reads a query of the `typed` dialect.
    pub(crate) fn read_query(&mut self) {
        assert_eq!(self.read_exact(1), [1], "the type of a query");
    }

    fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        self.packet.extend_from_slice(&bytes);
        bytes
    }

    /// Reads as many bytes as `bytes` has and fails if they differ.
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let received = self.read_exact(bytes.len());
        assert_eq!(
            received,
            bytes,
            "received {:?}, not {:?}",
            String::from_utf8_lossy(&received),
            String::from_utf8_lossy(bytes)
        );
    }

    /// Waits for bytes and returns all that are there. Returns none if the program has closed its
    /// side.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 * 1024];
        let count = self.stream.read(&mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    }

    /// Returns the ports of the program and of the central.
    pub(crate) fn ports(&self) -> (u16, u16) {
        (self.stream.peer_addr().unwrap().port(), self.stream.local_addr().unwrap().port())
    }

    /// Sends bytes.
    pub(crate) fn reply(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends each byte in a segment of its own.
    pub(crate) fn reply_byte_by_byte(&mut self, bytes: &[u8]) {
        self.stream.set_nodelay(true).unwrap();
        for byte in bytes {
            self.reply(&[*byte]);
            // Long enough for the program to read it alone. A shorter pause would only make the
            // test easier.
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends bytes repeatedly until the program closes the connection.
    pub(crate) fn reply_until_closed(&mut self, bytes: &[u8]) {
        let bytes = bytes.repeat(1000);
        while self.stream.write_all(&bytes).is_ok() {}
    }

    /// Fails unless the program sends nothing more and closes its side.
    pub(crate) fn assert_closed_by_agency(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "bytes after the request: {rest:?}");
    }

    /// Sends bytes and the end of the connection in one segment, so that the program cannot read
    /// one before the other has arrived.
    pub(crate) fn reply_and_close(mut self, bytes: &[u8]) {
        SockRef::from(&self.stream).set_tcp_cork(true).unwrap();
        self.reply(bytes);
        self.close();
    }

    /// Closes the connection so that the program reads its end.
    pub(crate) fn close(self) {
        self.stream.shutdown(Shutdown::Both).unwrap();
    }

    /// Closes the connection so that the program gets a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}
