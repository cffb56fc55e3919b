//! From the central's name to its addresses, without letting the system's resolver hold up a signal.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::connection::ConnectionError;
use crate::stop::{Heed, Stop, Wake};

/// The addresses of `host:port`, found within `limit`. The system's resolver cannot be interrupted, so it has a thread to
/// itself, which is left behind when a signal or the limit comes first.
///
/// # Errors
/// [`ConnectionError::Unresolved`], or `Stopped`.
pub(super) fn resolve(
    address: &str,
    limit: Duration,
    stop: &Stop,
) -> Result<Vec<SocketAddr>, ConnectionError> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let failed = ConnectionError::Unresolved;
    let (done, waiting) = UnixStream::pair().map_err(failed)?;
    let (sender, receiver) = mpsc::channel();
    let name = address.to_owned();
    let resolver = move || {
        let _receiver_gone = sender.send(name.to_socket_addrs().map(Vec::from_iter));
        // The waiting side wakes up when this end is closed.
        drop(done);
    };
    thread::Builder::new().name("resolver".to_owned()).spawn(resolver).map_err(failed)?;
    let deadline = Some(Instant::now() + limit);
    match stop.wait(waiting.as_fd(), PollFlags::POLLIN, Heed::Signals, deadline).map_err(failed)? {
        Wake::Ready => {
            let answer =
                receiver.recv().unwrap_or_else(|_| Err(io::Error::other("the resolver failed")));
            answer.map_err(failed)
        }
        Wake::TimedOut => Err(failed(io::ErrorKind::TimedOut.into())),
        Wake::Stopped => Err(ConnectionError::Stopped),
    }
}
