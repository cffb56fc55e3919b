//! The server under test: its addresses and the time limits of the check.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use lottery::protocol::ConnectionUse;

use super::connection::TestConnection;
use crate::stop::Stop;

/// Where no reply is expected, silence for this fraction of the reply timeout is enough.
const SILENCE_DIVISOR: u32 = 4;

/// The server under test.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Resolved addresses.
    addresses: Vec<SocketAddr>,
    /// How an agency uses its connections.
    pub(super) connection_use: ConnectionUse,
    /// Time limit for a reply.
    pub(super) timeout: Duration,
    /// Does the waiting.
    stop: Arc<Stop>,
}

impl Target {
    /// Resolves `host:port`.
    pub(super) fn new(
        address: &str,
        connection_use: ConnectionUse,
        timeout: Duration,
        stop: Arc<Stop>,
    ) -> io::Result<Self> {
        let addresses = address.to_socket_addrs()?.collect();
        Ok(Self { addresses, connection_use, timeout, stop })
    }

    /// Opens a new connection. Tries each address once and returns the last error.
    pub(super) fn connect(&self) -> io::Result<TestConnection> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in &self.addresses {
            match TestConnection::open(address, self.timeout, Arc::clone(&self.stop)) {
                Err(error) => failure = error,
                connected => return connected,
            }
        }
        Err(failure)
    }

    /// Returns the same server with a shorter time limit for replies, for attempts that mostly
    /// fail.
    pub(super) fn in_haste(&self) -> Self {
        Self { timeout: self.silence(), ..self.clone() }
    }

    /// Returns how long to listen where no reply is expected.
    pub(super) fn silence(&self) -> Duration {
        self.timeout / SILENCE_DIVISOR
    }
}

/// Returns the text for a failed connection attempt.
pub(super) fn cannot_connect(error: &io::Error) -> String {
    format!("cannot connect: {error}")
}
