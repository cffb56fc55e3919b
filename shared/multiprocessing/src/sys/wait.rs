//! Waiting for several objects at once: ends of pipes, children, sockets, anything with a
//! descriptor.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};

use crate::sys::deadline::Deadline;

/// Waits without a limit until at least one of these objects is ready, like Python's
/// `multiprocessing.connection.wait`. A [`Connection`](crate::Connection) is ready when it has a
/// message, or when no message can come any more. So an end that only sends is always ready. A
/// [`Listener`](crate::Listener) is ready when a client connects, a [`Process`](crate::Process)
/// when it has ended. Sockets and other files can wait beside them.
///
/// Returns the indexes of those that are ready, in order. With an empty list it returns at once.
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
/// [`Errno::EINVAL`] if there are more objects than this process may open.
pub fn wait(objects: &[&dyn AsFd]) -> Result<Vec<usize>, Errno> {
    ready(objects, Deadline::NEVER)
}

/// Works like [`wait`], but waits at most this long. The result is empty if the time is over.
/// Signals do not change the length of the wait.
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

/// Waits until one of these is ready or the deadline passes. Returns true if one is ready.
pub(crate) fn poll_until(polled: &mut [PollFd], deadline: Deadline) -> Result<bool, Errno> {
    loop {
        match ppoll(polled, deadline.left()?, None) {
            Err(Errno::EINTR) => {}
            ready => return ready.map(|ready| ready > 0),
        }
    }
}
