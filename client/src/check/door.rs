//! Where the server listens, and how patient the examination is with it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use lottery::protocol::ConnectionUse;

use super::wire::Wire;
use crate::stop::Stop;

/// How much shorter than for a reply the patience is where none must come.
const SILENCE_SHARE: u32 = 4;

/// The server's door.
#[derive(Debug)]
pub(super) struct Door {
    /// What the address stands for.
    addresses: Vec<SocketAddr>,
    /// How an agency uses its connections.
    pub(super) connection: ConnectionUse,
    /// How long a reply may take.
    pub(super) patience: Duration,
    /// Does the waiting.
    stop: Arc<Stop>,
}

impl Door {
    /// Finds the door of `host:port`.
    ///
    /// # Errors
    /// When the name stands for nothing.
    pub(super) fn new(
        address: &str,
        connection: ConnectionUse,
        patience: Duration,
        stop: Arc<Stop>,
    ) -> io::Result<Self> {
        let addresses = address.to_socket_addrs()?.collect();
        Ok(Self { addresses, connection, patience, stop })
    }

    /// A new connection.
    ///
    /// # Errors
    /// What the system said last.
    pub(super) fn connect(&self) -> io::Result<Wire> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
        for address in &self.addresses {
            match Wire::connect(address, self.patience, Arc::clone(&self.stop)) {
                Err(error) => failure = error,
                connected => return connected,
            }
        }
        Err(failure)
    }

    /// For how long nothing must come before it counts as silence.
    pub(super) fn silence(&self) -> Duration {
        self.patience / SILENCE_SHARE
    }
}

/// What came instead of a connection, in words.
pub(super) fn no_connection(error: &io::Error) -> String {
    format!("no connection: {error}")
}
