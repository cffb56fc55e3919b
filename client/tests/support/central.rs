//! A central that the test plays itself, connection by connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A central that does what the test says.
pub(crate) struct Central {
    listener: TcpListener,
}

impl Central {
    /// Listens on a free port.
    pub(crate) fn new() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap())
    }

    /// Listens on this address.
    pub(crate) fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    /// An address where nobody listens.
    pub(crate) fn nobody() -> SocketAddr {
        Self::new().address()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// A connection, if one has come.
    pub(crate) fn try_accept(&self) -> Option<Link> {
        self.listener.accept().ok().map(|(stream, _)| Link::new(stream))
    }

    /// The next connection, which has to come.
    pub(crate) fn accept(&self) -> Link {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Link::new(stream),
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("no connection came: {error}"),
            }
        }
    }

    /// Fails if there is another connection. To be asked when the program has ended.
    pub(crate) fn assert_nobody_else_came(&self) {
        if let Ok((stream, _)) = self.listener.accept() {
            let mut bytes = Vec::new();
            Link::new(stream).stream.read_to_end(&mut bytes).unwrap();
            panic!("another connection came, with {:?}", String::from_utf8_lossy(&bytes));
        }
    }

    /// Takes a batch and acknowledges it without winners: its records.
    pub(crate) fn take_batch(&self) -> Vec<String> {
        let mut link = self.accept();
        let records = link.read_batch();
        link.reply(&[0, 0]);
        records
    }

    /// Takes a query and answers with a total.
    pub(crate) fn answer_total(&self, winners: u8) {
        let mut link = self.accept();
        link.read_query();
        link.reply(&[1, 0, 0, 0, winners]);
    }
}

/// One connection of the program to the central that the test plays.
pub(crate) struct Link {
    stream: TcpStream,
    /// Bytes of the last batch that was read, header included.
    pub(crate) packet: Vec<u8>,
}

impl Link {
    fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, packet: Vec::new() }
    }

    /// Reads a whole batch: its records.
    pub(crate) fn read_batch(&mut self) -> Vec<String> {
        self.packet.clear();
        let header = self.take(3);
        assert_eq!(header[0], 0, "the type of a batch");
        let count = u16::from_be_bytes([header[1], header[2]]);
        (0..count)
            .map(|_| {
                let length = self.take(2);
                let record = self.take(u16::from_be_bytes([length[0], length[1]]).into());
                String::from_utf8(record).unwrap()
            })
            .collect()
    }

    /// Looks at the next bytes without taking them.
    pub(crate) fn peek(&self, bytes: &mut [u8]) {
        assert_eq!(self.stream.peek(bytes).unwrap(), bytes.len());
    }

    /// Reads a query.
    pub(crate) fn read_query(&mut self) {
        assert_eq!(self.take(1), [1], "the type of a query");
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        self.packet.extend_from_slice(&bytes);
        bytes
    }

    /// Reads as many bytes as these, which they have to be.
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let heard = self.take(bytes.len());
        assert_eq!(
            heard,
            bytes,
            "heard {:?}, not {:?}",
            String::from_utf8_lossy(&heard),
            String::from_utf8_lossy(bytes)
        );
    }

    /// The bytes that are there, at least one; none when the program has closed its side.
    pub(crate) fn hear(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 * 1024];
        let count = self.stream.read(&mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    }

    /// The ports of the program and of the central.
    pub(crate) fn ports(&self) -> (u16, u16) {
        (self.stream.peer_addr().unwrap().port(), self.stream.local_addr().unwrap().port())
    }

    /// Sends bytes.
    pub(crate) fn reply(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends bytes, each in a segment of its own.
    pub(crate) fn reply_byte_by_byte(&mut self, bytes: &[u8]) {
        self.stream.set_nodelay(true).unwrap();
        for byte in bytes {
            self.reply(&[*byte]);
            // Long enough for the program to read it alone; too short would only make the test easier.
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends bytes again and again until the program does not take them any more.
    pub(crate) fn reply_until_closed(&mut self, bytes: &[u8]) {
        let bytes = bytes.repeat(1000);
        while self.stream.write_all(&bytes).is_ok() {}
    }

    /// Fails unless the program has sent nothing more and closes its side.
    pub(crate) fn assert_closed_by_agency(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "bytes after the request: {rest:?}");
    }

    /// Closes the connection without unread bytes, which the program sees as its end.
    pub(crate) fn close(self) {
        self.stream.shutdown(Shutdown::Both).unwrap();
    }

    /// Closes the connection so that the program sees a reset.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}
