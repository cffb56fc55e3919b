//! Listening under a name, so that unrelated processes can connect.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{PeerCredentials, SendTimeout};
use nix::sys::socket::{
    Backlog, SockFlag, UnixAddr, bind, connect, getsockopt, listen, setsockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::geteuid;

use super::ends::{Ends, sealed};
use super::error::PipeError;
use super::socket::Socket;
use super::{Connection, done};
use crate::sys::deadline::Deadline;

/// How many connections may wait to be accepted. A further client waits inside connect(2).
const BACKLOG: i32 = 128;

/// Accepts connections under a name, like Python's `multiprocessing.connection.Listener` with an
/// abstract address.
///
/// | Python | here |
/// |---|---|
/// | `listener = Listener('\0name')` | `let listener = Listener::bind("name")?;` |
/// | `connection = listener.accept()` | `let connection = listener.accept()?;` |
/// | `connection = Client('\0name')` | `let connection = Connection::connect("name")?;` |
/// | `authkey`, challenge and answer | none: the kernel identifies the other process |
///
/// The name is an abstract socket address of Linux: 107 bytes at most, known in one network
/// namespace, and no file. A killed process leaves nothing behind: the name is free once no process
/// has the listener any more. Such a name has no permissions. So both sides ask the kernel for the
/// user of the other process, and refuse a connection with another user. Another user can take a
/// name first, however. Then the listener gets [`PipeError::AddressInUse`] and the client
/// [`PipeError::OtherUser`].
///
/// Messages of a client arrive even if it left or was killed before it was accepted. Several
/// processes may accept, and a listener can wait beside other objects in [`wait`](crate::wait()). A
/// child inherits it from [`Process::fork`](crate::Process::fork), but from
/// [`Process::fork_with`](crate::Process::fork_with) only if it is handed over.
///
/// ```
/// use multiprocessing::{Connection, Listener};
///
/// let name = format!("doc.{}", std::process::id());
/// let listener = Listener::bind(&name)?;
/// let here = Connection::connect(&name)?;
/// here.send("hello")?;
/// drop(here);
/// let there = listener.accept()?;
/// assert_eq!(there.recv::<String>()?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
}

impl Listener {
    /// Takes the name and listens.
    ///
    /// # Errors
    /// [`PipeError::AddressInUse`] if another listener has the name, and [`Errno::ENAMETOOLONG`].
    pub fn bind(name: &str) -> Result<Self, PipeError> {
        // The kernel may wake several processes for one connection. Those that come too late must
        // not wait for the next one inside accept(2), which knows no deadline.
        let socket = Socket::unconnected(SockFlag::SOCK_NONBLOCK)?;
        bind(socket.as_fd().as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        Ok(Self::of(socket))
    }

    pub(super) fn of(socket: Socket) -> Self {
        Self { socket }
    }

    /// Accepts the next connection of a process of this user. Waits for one without a limit.
    ///
    /// # Errors
    /// [`PipeError::NotHandedOver`]. After [`Errno::EMFILE`] the connection can still be accepted.
    pub fn accept(&self) -> Result<Connection, PipeError> {
        done(self.accept_until(Deadline::NEVER)?)
    }

    /// Works like [`accept`](Self::accept), but waits at most this long. Returns `None` if the time
    /// is over.
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Option<Connection>, PipeError> {
        self.accept_until(Deadline::after(timeout)?)
    }

    fn accept_until(&self, deadline: Deadline) -> Result<Option<Connection>, PipeError> {
        loop {
            match self.socket.accept(deadline) {
                Ok(Some(socket)) if is_of_this_user(&socket)? => {
                    return Ok(Some(Connection::new(socket)));
                }
                // Connections of other users must not use up the time of this call.
                Ok(Some(_foreign)) if !deadline.has_passed()? => {}
                Ok(_) => return Ok(None),
                // The socket that replaces a listener that was not handed over does not listen.
                Err(Errno::EINVAL) => return Err(PipeError::NotHandedOver),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Connection {
    /// Connects to the [`Listener`] of this name. Waits without a limit while too many other
    /// connections wait to be accepted. Messages that are sent before it is accepted are not lost.
    ///
    /// # Errors
    /// [`PipeError::NoListener`] at once, or [`PipeError::OtherUser`].
    pub fn connect(name: &str) -> Result<Self, PipeError> {
        done(connect_until(name, Deadline::NEVER)?)
    }

    /// Works like [`connect`](Self::connect), but waits at most this long. Returns `None` if the
    /// time is over.
    pub fn connect_timeout(name: &str, timeout: Duration) -> Result<Option<Self>, PipeError> {
        connect_until(name, Deadline::after(timeout)?)
    }
}

fn connect_until(name: &str, deadline: Deadline) -> Result<Option<Connection>, PipeError> {
    let address = UnixAddr::new_abstract(name.as_bytes())?;
    let socket = Socket::unconnected(SockFlag::empty())?;
    loop {
        if let Some(left) = deadline.left()? {
            // A timeout of 0 would mean no timeout. It may stay set: no other call waits in the
            // kernel to send.
            let left = TimeVal::microseconds(left.num_microseconds().max(1));
            setsockopt(&socket, SendTimeout, &left)?;
        }
        match connect(socket.as_fd().as_raw_fd(), &address) {
            Ok(()) => break,
            // Frequent signals can keep connect(2) from ever reporting that there is no room.
            Err(Errno::EAGAIN | Errno::EINTR) if deadline.has_passed()? => return Ok(None),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    if is_of_this_user(&socket)? {
        Ok(Some(Connection::new(socket)))
    } else {
        Err(PipeError::OtherUser)
    }
}

/// Returns true if the process at the other end belongs, or belonged, to the effective user of this
/// one.
fn is_of_this_user(socket: &Socket) -> Result<bool, Errno> {
    Ok(getsockopt(socket, PeerCredentials)?.uid() == geteuid().as_raw())
}

impl AsFd for Listener {
    /// Returns the descriptor, for [`wait`](crate::wait()).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Ends for Listener {}
impl sealed::Ends for Listener {
    fn list(&self, descriptors: &mut Vec<RawFd>) {
        descriptors.push(self.as_fd().as_raw_fd());
    }
}
