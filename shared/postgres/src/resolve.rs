//! Name resolution, which blocks, and the passwords of the hosts.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::password::{PasswordFileError, PasswordSources};
use crate::servers::{MAX_REPLY, Server, Servers, Unresolved};
use crate::url::{Host, Url};

/// Why the hosts of a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No name has an address.
    #[error("no host has an address: {}", list(.0))]
    Hosts(Vec<Unresolved>),
    /// The password file cannot be used.
    #[error(transparent)]
    PasswordFile(#[from] PasswordFileError),
}

fn list(hosts: &[Unresolved]) -> String {
    hosts.iter().map(Unresolved::to_string).collect::<Vec<_>>().join("; ")
}

impl Url {
    /// Resolves the names of the hosts, which blocks, and finds their passwords. If the URL has
    /// none, it is that of `PGPASSWORD`, or of the first line that matches in the file
    /// `PGPASSFILE` or `~/.pgpass`.
    ///
    /// A name with several addresses gives several servers. Names that are not resolved are left
    /// out: see [`Servers::unresolved`].
    pub fn resolve(&self) -> Result<Servers, ResolveError> {
        self.resolve_with(&PasswordSources::of_environment())
    }

    /// Like [`Url::resolve`], with other sources of passwords.
    pub fn resolve_with(&self, sources: &PasswordSources) -> Result<Servers, ResolveError> {
        let passwords = match &self.password {
            Some(_) => None,
            None => Some(sources.read()?),
        };
        let mut list = Vec::<Server>::new();
        let mut unresolved = Vec::new();
        for host in &self.hosts {
            let password = match &passwords {
                Some(passwords) => passwords.of(host, &self.database, &self.user),
                None => self.password.clone(),
            };
            match (host.name.as_str(), host.port).to_socket_addrs() {
                Ok(addresses) => {
                    for address in addresses {
                        if list.iter().all(|server| server.address != address) {
                            let host = label(host, address);
                            list.push(Server { host, address, password: password.clone() });
                        }
                    }
                }
                Err(error) => unresolved
                    .push(Unresolved { host: host.to_string(), reason: error.to_string() }),
            }
        }
        if list.is_empty() {
            return Err(ResolveError::Hosts(unresolved));
        }
        Ok(Servers {
            list,
            user: self.user.clone(),
            database: self.database.clone(),
            application_name: self.application_name.clone(),
            parameters: Vec::new(),
            connect_timeout: self.connect_timeout,
            max_reply: MAX_REPLY,
            unresolved,
        })
    }
}

/// Returns the name of a server for messages, with its address if the host is a name.
fn label(host: &Host, address: SocketAddr) -> String {
    if host.name.parse::<IpAddr>().is_ok() {
        host.to_string()
    } else {
        format!("{host} ({})", address.ip())
    }
}
