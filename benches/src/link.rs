//! Connections to the server under load.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Time limit for a reply. When it passes, the run fails, because the server hangs.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Linux retransmits an unanswered SYN after one second. A connection that took nearly that long
/// has lost a SYN.
const LOST_SYN: Duration = Duration::from_millis(900);

/// Returns the first address of `text` (HOST:PORT).
pub(crate) fn resolve(text: &str) -> io::Result<SocketAddr> {
    text.to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

/// Opens a connection. Fails if the network lost the first packet.
///
/// A run with retransmissions measures the network's limits and not the server. A firewall with
/// connection tracking drops packets when its table is full, which takes seconds at this rate.
pub(crate) fn open(server: SocketAddr) -> io::Result<TcpStream> {
    let begun = Instant::now();
    let stream = TcpStream::connect(server)?;
    let took = begun.elapsed();
    if took >= LOST_SYN {
        let reason = format!(
            "connecting took {:.1} s: a packet was lost \
             (the listen queue or the connection tracking table is full)",
            took.as_secs_f64()
        );
        return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
    }
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    Ok(stream)
}
