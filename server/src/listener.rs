//! A listening socket and its dialect: the supervisor creates it, and every worker inherits it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::{Duration, Instant};

use lottery::protocol::Dialect;
use socket2::{Domain, Protocol, Socket, Type};

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
    /// Listens on `ip` (an address, or a host name) and `port` (0 means any free one).
    pub fn bind(
        ip: &str,
        port: u16,
        backlog: u32,
        dialect: &'static Dialect,
    ) -> Result<Self, ListenError> {
        let wanted = SocketAddr::new(address_of(ip), port);
        let deadline = Instant::now() + PORT_TIMEOUT;
        loop {
            match listen(wanted, backlog) {
                Ok((socket, address)) => {
                    let backlog = backlog.min(longest_backlog());
                    return Ok(Self { socket, dialect, address, backlog });
                }
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(ListenError { address: wanted, reason: reason(&error) }),
            }
        }
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
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

/// Returns the address to bind. A literal address is used unchanged. A host name means the first of
/// its addresses that belongs to this machine, or all addresses if none does. The course sets
/// `SERVER_IP = server`, which resolves only in the container's network and elsewhere means all
/// addresses.
fn address_of(ip: &str) -> IpAddr {
    let all = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if let Ok(literal) = ip.parse() {
        return literal;
    }
    let resolved = (ip, 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let is_local = |address: &SocketAddr| std::net::UdpSocket::bind(address).is_ok();
    resolved.iter().find(|address| is_local(address)).map_or(all, SocketAddr::ip)
}

/// Returns the machine's limit for a listen queue. The kernel silently shortens a longer one.
fn longest_backlog() -> u32 {
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    limit.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(port: u16) -> Result<Listener, ListenError> {
        Listener::bind("127.0.0.1", port, 5, &lottery::protocol::DIALECTS[0])
    }

    #[test]
    fn a_host_name_of_another_machine_means_all_addresses() {
        assert_eq!(address_of("no-such-host.invalid"), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }

    #[test]
    fn port_0_means_any_free_port() {
        let listener = bind(0).unwrap();
        assert_ne!(listener.address.port(), 0);
        assert_eq!(listener.backlog, 5);
    }

    #[test]
    fn a_taken_port_is_an_error_with_advice() {
        let taken = bind(0).unwrap();
        let error = bind(taken.address.port()).unwrap_err().to_string();
        assert!(
            error.contains("SERVER_PORT") && error.contains(&taken.address.to_string()),
            "{error}"
        );
    }
}
