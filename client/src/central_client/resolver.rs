//! Name resolution that a signal can interrupt.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::connection::ConnectionError;
use crate::stop::{Interrupt, Stop, Wake};

/// Returns the addresses of `host:port`, or fails after `limit`.
///
/// The system's resolver cannot be interrupted, so it runs in a thread of its own. The thread is
/// abandoned when a signal arrives or the limit passes.
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
        // Closing this end wakes the waiting side.
        drop(done);
    };
    thread::Builder::new().name("resolver".to_owned()).spawn(resolver).map_err(failed)?;
    let deadline = Some(Instant::now() + limit);
    let woken = stop.wait(waiting.as_fd(), PollFlags::POLLIN, Interrupt::OnSignal, deadline);
    match woken.map_err(failed)? {
        Wake::Ready => {
            let answer =
                receiver.recv().unwrap_or_else(|_| Err(io::Error::other("the resolver failed")));
            answer.map_err(failed)
        }
        Wake::TimedOut => Err(failed(io::ErrorKind::TimedOut.into())),
        Wake::Stopped => Err(ConnectionError::Stopped),
    }
}
