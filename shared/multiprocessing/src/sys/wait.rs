//! Waiting for several things at once: ends of pipes, children, sockets, whatever has a descriptor.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};

use crate::sys::deadline::Deadline;

/// Waits until at least one of these has something to read, has ended or has been closed, however long that takes, like Python's
/// `multiprocessing.connection.wait`. A [`Connection`](crate::Connection) is ready when a message is there or none can come any
/// more (so one that only sends always is), a [`Listener`](crate::Listener) when somebody connects, a [`Process`](crate::Process) when
/// it has ended; sockets and other files of one's own can wait beside them.
///
/// Returns the places of those that are ready, in order. With nothing to wait for it returns at once.
///
/// ```
/// use multiprocessing::{pipe, wait};
///
/// let (first, _silent) = pipe()?;
/// let (second, other) = pipe()?;
/// other.send_bytes(b"hello")?;
/// assert_eq!(wait(&[&first, &second])?, [1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// What poll(2) says, [`Errno::EINVAL`] when there are more than this process may open.
pub fn wait(objects: &[&dyn AsFd]) -> Result<Vec<usize>, Errno> {
    ready(objects, Deadline::NEVER)
}

/// As [`wait`], at most this long; nothing is ready when the time is over. Signals do not shorten or lengthen it.
///
/// # Errors
/// As [`wait`].
pub fn wait_timeout(objects: &[&dyn AsFd], timeout: Duration) -> Result<Vec<usize>, Errno> {
    ready(objects, Deadline::after(timeout)?)
}

fn ready(objects: &[&dyn AsFd], deadline: Deadline) -> Result<Vec<usize>, Errno> {
    let mut polled: Vec<_> =
        objects.iter().map(|object| PollFd::new(object.as_fd(), PollFlags::POLLIN)).collect();
    if !polled.is_empty() {
        poll_until(&mut polled, deadline)?;
    }
    let is_ready = |polled: &PollFd| polled.any().unwrap_or(true);
    Ok(polled
        .iter()
        .enumerate()
        .filter(|(_, polled)| is_ready(polled))
        .map(|(place, _)| place)
        .collect())
}

/// Waits until one of these is ready. Whether one is.
pub(crate) fn poll_until(polled: &mut [PollFd], deadline: Deadline) -> Result<bool, Errno> {
    loop {
        match ppoll(polled, deadline.left()?, None) {
            Err(Errno::EINTR) => {}
            ready => return ready.map(|ready| ready > 0),
        }
    }
}
