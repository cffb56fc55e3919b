//! A server that says what a test wants.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use postgres_link::Servers;

use super::{PATIENCE, servers};

/// Starts a server that serves its connections one after the other, in a thread that ends with the
/// test program. Returns its address.
pub fn start(mut serve: impl FnMut(Client) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(Client::new(stream.unwrap()));
        }
    });
    address
}

/// Returns an address at which no server listens.
pub fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Returns a list of servers.
pub fn list(addresses: &[SocketAddr]) -> Servers {
    let hosts = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
    servers(&format!("postgres://central:secret@{hosts}/lottery"))
}

/// Returns a message of the server.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

/// Returns the report of a parameter.
pub fn parameter(name: &str, value: &str) -> Vec<u8> {
    message(b'S', format!("{name}\0{value}\0").as_bytes())
}

/// Returns an error or a notice.
pub fn error(tag: u8, severity: &str, code: &str) -> Vec<u8> {
    message(tag, format!("S{severity}\0V{severity}\0C{code}\0Mtext\0\0").as_bytes())
}

/// Returns the end of a reply.
pub fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// Returns the messages of a server that asks for no password, until it is ready.
pub fn greeting(in_hot_standby: &str) -> Vec<u8> {
    [
        message(b'R', &[0; 4]),
        parameter("server_version", "15.0"),
        parameter("default_transaction_read_only", "off"),
        parameter("in_hot_standby", in_hot_standby),
        message(b'K', &[0, 0, 0, 9, 0, 0, 0, 1]),
        ready(),
    ]
    .concat()
}

/// The type `int4`.
pub const INT4: u16 = 23;

/// Returns the reply to `SELECT` of one column of the type `int4`, prepared for the first time.
pub fn one_row(value: i32) -> Vec<u8> {
    let row = [&[0, 1, 0, 0, 0, 4][..], &value.to_be_bytes()].concat();
    [
        message(b'1', &[]),
        message(b't', &[0, 0]),
        column(INT4),
        message(b'2', &[]),
        message(b'D', &row),
        message(b'C', b"SELECT 1\0"),
        ready(),
    ]
    .concat()
}

/// Returns the description of a column `n` of this type.
pub fn column(oid: u16) -> Vec<u8> {
    let [high, low] = oid.to_be_bytes();
    let fields = [0, 0, 0, 0, 0, 0, 0, 0, high, low, 0, 4, 255, 255, 255, 255, 0, 0];
    message(b'T', &[&[0, 1][..], b"n\0", &fields].concat())
}

/// A connection of the server.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    /// Sends bytes. The client may have closed the connection.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends each byte in a segment of its own.
    pub fn send_slowly(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.send(&[*byte]);
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Reads the first message of the client.
    pub fn read_startup(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        if self.stream.read_exact(&mut length).is_err() {
            return Vec::new();
        }
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        self.stream.read_exact(&mut body).unwrap();
        body
    }

    /// Reads the messages of a request up to its end, the sync message or a simple query.
    pub fn read_request(&mut self) -> Vec<u8> {
        let mut tags = Vec::new();
        loop {
            let mut header = [0; 5];
            if self.stream.read_exact(&mut header).is_err() {
                return tags;
            }
            let length = u32::from_be_bytes(header[1..].try_into().unwrap());
            let mut body = vec![0; length as usize - 4];
            self.stream.read_exact(&mut body).unwrap();
            tags.push(header[0]);
            if matches!(header[0], b'S' | b'Q') {
                return tags;
            }
        }
    }

    /// Greets the client as a primary.
    pub fn greet(&mut self) {
        self.read_startup();
        self.send(&greeting("off"));
    }

    /// Waits until the client closes the connection.
    pub fn wait_for_end(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the client keeps the connection: {error}"),
            }
        }
    }
}
