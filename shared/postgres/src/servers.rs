//! The resolved servers of a URL: what a connection needs to know, without name resolution.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::password::Password;

/// Time for connecting to a server and authenticating, unless the URL says otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The largest reply in bytes, unless the caller says otherwise.
pub const MAX_REPLY: usize = 64 << 20;

/// A server of the list.
#[derive(Clone)]
pub(crate) struct Server {
    /// Host and port for messages.
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
    pub(crate) password: Option<Password>,
}

/// Servers with their addresses, and how to connect to them.
///
/// `Debug` does not show passwords.
#[derive(Clone)]
pub struct Servers {
    pub(crate) list: Vec<Server>,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) application_name: Option<String>,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_reply: usize,
    pub(crate) unresolved: Vec<Unresolved>,
}

/// A name that was not resolved, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host}: {reason}")]
pub struct Unresolved {
    /// The name.
    pub host: String,
    /// Text of the resolver.
    pub reason: String,
}

impl Servers {
    /// Returns the names that were not resolved. The others are in use.
    pub fn unresolved(&self) -> &[Unresolved] {
        &self.unresolved
    }

    /// Returns the addresses, in the order of the URL.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = SocketAddr> {
        self.list.iter().map(|server| server.address)
    }

    /// Returns the name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Uses another database, for example `postgres` to create the one of the URL.
    pub fn set_database(&mut self, database: &str) {
        self.database = database.to_owned();
    }

    /// Sets a run-time parameter of PostgreSQL at the start of each connection, for example
    /// `lock_timeout`.
    pub fn set_parameter(&mut self, name: &str, value: &str) {
        self.parameters.push((name.to_owned(), value.to_owned()));
    }

    /// Sets the name of the connections in `pg_stat_activity`, unless the URL has one.
    pub fn set_application_name(&mut self, name: &str) {
        self.application_name.get_or_insert_with(|| name.to_owned());
    }

    /// Sets the time for connecting to a server and authenticating, instead of that of the URL.
    pub fn set_connect_timeout(&mut self, timeout: Duration) {
        self.connect_timeout = timeout;
    }

    /// Sets the largest reply to a request in bytes, where each message counts 64 bytes more. The
    /// connection to a server that sends more is closed.
    pub fn set_max_reply(&mut self, bytes: usize) {
        self.max_reply = bytes;
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers")
            .field("hosts", &self.list.iter().map(|server| &server.host).collect::<Vec<_>>())
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}
