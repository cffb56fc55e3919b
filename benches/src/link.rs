//! Connections to the server, and what must not happen to them during a measurement.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// A reply that takes longer ends the run: the server hangs, and so would the bench.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Linux repeats an unanswered SYN after a second, so a connection that took nearly that long lost one.
const LOST_SYN: Duration = Duration::from_millis(900);

/// The first address `text` (HOST:PORT) stands for.
pub(crate) fn resolve(text: &str) -> io::Result<SocketAddr> {
    text.to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address of that name"))
}

/// Opens a connection.
///
/// # Errors
/// Also when the network lost the first packet: a run that waits for repetitions measures the network's limits and not the
/// server. A connection tracking firewall does that when its table is full, which takes seconds at this rate.
pub(crate) fn open(server: SocketAddr) -> io::Result<TcpStream> {
    let begun = Instant::now();
    let stream = TcpStream::connect(server)?;
    let took = begun.elapsed();
    if took >= LOST_SYN {
        let reason = format!(
            "connecting took {:.1} s: a packet was lost (listen queue or connection tracking table full)",
            took.as_secs_f64()
        );
        return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
    }
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    Ok(stream)
}
