//! A listening socket and its dialect: the supervisor creates it, and every worker inherits it.

mod resolve;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use lottery::protocol::Dialect;
use socket2::{Domain, Protocol, Socket, Type};

pub use self::resolve::addresses_of;
use crate::config::ListenAddress;

/// How long a start waits for the last workers of a killed central to release the port.
const PORT_TIMEOUT: Duration = Duration::from_secs(1);

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    /// The non-blocking socket.
    pub socket: TcpListener,
    /// The dialect of its connections.
    pub dialect: &'static Dialect,
    /// The bound address. If port 0 was requested, it has the port that the system chose.
    pub address: SocketAddr,
    /// Maximum number of connections that the kernel queues: the requested number, or the
    /// machine's limit if that is lower.
    pub backlog: u32,
}

/// Failure to listen on an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct ListenError {
    address: SocketAddr,
    reason: String,
}

impl Listener {
    /// Listens on a port of every address in `ips`, of which there is at least one. Port 0 means
    /// any port that is free on all of them.
    pub fn bind(
        ips: &[IpAddr],
        wanted: &ListenAddress,
        backlog: u32,
    ) -> Result<Vec<Self>, ListenError> {
        let deadline = Instant::now() + PORT_TIMEOUT;
        loop {
            match listen_on_all(ips, wanted.port, backlog) {
                Ok(sockets) => {
                    let backlog = backlog.min(longest_backlog());
                    let listener = |(socket, address)| Self {
                        socket,
                        dialect: wanted.dialect,
                        address,
                        backlog,
                    };
                    return Ok(sockets.into_iter().map(listener).collect());
                }
                Err((_, error))
                    if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err((address, error)) => {
                    return Err(ListenError { address, reason: reason(&error) });
                }
            }
        }
    }
}

/// A listening socket and the address that it has got.
type Bound = (TcpListener, SocketAddr);

fn listen_on_all(
    ips: &[IpAddr],
    mut port: u16,
    backlog: u32,
) -> Result<Vec<Bound>, (SocketAddr, io::Error)> {
    // Without an IPv4 address in the list, `::` accepts IPv4 clients too.
    let dual_stack = !ips.iter().any(IpAddr::is_ipv4);
    let mut sockets = Vec::new();
    for ip in ips {
        let wanted = SocketAddr::new(*ip, port);
        let bound = listen(wanted, dual_stack, backlog).map_err(|error| (wanted, error))?;
        port = bound.1.port();
        sockets.push(bound);
    }
    Ok(sockets)
}

fn listen(address: SocketAddr, dual_stack: bool, backlog: u32) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // The machine's default (`net.ipv6.bindv6only`) must not decide.
        socket.set_only_v6(!dual_stack)?;
    }
    // A restart must not wait for the closed connections of the previous run.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    let socket = TcpListener::from(socket);
    let address = socket.local_addr()?;
    Ok((socket, address))
}

fn reason(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; stop the program that uses it, or choose another SERVER_PORT (0 = any free one)"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need privileges: choose another SERVER_PORT"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; it is not an address of this machine: choose another SERVER_IP (0.0.0.0 = all)"
        }
        _ => "",
    };
    format!("{error}{advice}")
}

/// Returns the machine's limit for a listen queue. The kernel silently shortens a longer one.
fn longest_backlog() -> u32 {
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    limit.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(ips: &[IpAddr], port: u16) -> Result<Vec<Listener>, ListenError> {
        Listener::bind(ips, &ListenAddress { port, dialect: &lottery::protocol::DIALECTS[0] }, 5)
    }

    #[test]
    fn port_0_means_a_port_that_is_free_on_every_address() {
        let ips = ["127.0.0.1", "127.0.0.2"].map(|ip| ip.parse().unwrap());
        let listeners = bind(&ips, 0).unwrap();
        let port = listeners[0].address.port();
        assert_ne!(port, 0);
        let found: Vec<_> = listeners.iter().map(|it| (it.address, it.backlog)).collect();
        assert_eq!(found, ips.map(|ip| (SocketAddr::new(ip, port), 5)));
    }

    #[test]
    fn a_taken_port_is_an_error_with_advice() {
        let ips = ["127.0.0.1".parse().unwrap()];
        let taken = bind(&ips, 0).unwrap();
        let error = bind(&ips, taken[0].address.port()).unwrap_err().to_string();
        assert!(
            error.contains("SERVER_PORT") && error.contains(&taken[0].address.to_string()),
            "{error}"
        );
    }
}
