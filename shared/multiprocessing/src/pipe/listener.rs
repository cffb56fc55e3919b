//! A name under which processes that are not of one family find each other.

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

/// So many connections may wait to be accepted; who comes next waits in its call of connect.
const BACKLOG: i32 = 128;

/// Accepts connections under a name, like Python's `multiprocessing.connection.Listener` with an abstract address.
///
/// | Python | here |
/// |---|---|
/// | `listener = Listener('\0name')` | `let listener = Listener::bind("name")?;` |
/// | `connection = listener.accept()` | `let connection = listener.accept()?;` |
/// | `connection = Client('\0name')` | `let connection = Connection::connect("name")?;` |
/// | `authkey`, challenge and answer | none: the kernel tells who the other one is |
///
/// The name is one of Linux's abstract socket addresses: 107 bytes at most, known in one network namespace, and no file. Whatever is
/// killed, nothing is left behind: the name is free when the last process that has the listener is gone. Such a name has no
/// permissions, so both sides ask the kernel whose process the other one is, and a connection to or from another user is refused.
/// Another user can take a name first, though: that is [`PipeError::AddressInUse`] here and [`PipeError::OtherUser`] there.
///
/// Who connected, sent and left, or was killed, before it was accepted has sent all the same. Several processes may accept, and a
/// listener can wait beside other things in [`wait`](crate::wait()). A child has it from [`Process::spawn`](crate::Process::spawn), but
/// from [`Process::spawn_with`](crate::Process::spawn_with) only when it is handed over.
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
    /// Takes the name, which nobody may listen under.
    ///
    /// # Errors
    /// [`PipeError::AddressInUse`], or what the system says: [`Errno::ENAMETOOLONG`].
    pub fn bind(name: &str) -> Result<Self, PipeError> {
        // Several processes may be told of one connection: those that come too late must not wait for the next one inside of
        // accept, where no time ends.
        let socket = Socket::unconnected(SockFlag::SOCK_NONBLOCK)?;
        bind(socket.as_fd().as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        Ok(Self { socket })
    }

    /// Accepts the next connection of a process of this user; waits for one, however long that takes.
    ///
    /// # Errors
    /// [`PipeError::NotHandedOver`], or what the system says. After [`Errno::EMFILE`] the connection can still be accepted.
    pub fn accept(&self) -> Result<Connection, PipeError> {
        done(self.accept_until(Deadline::NEVER)?)
    }

    /// As [`accept`](Self::accept), at most this long; `None` when the time is over.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Option<Connection>, PipeError> {
        self.accept_until(Deadline::after(timeout)?)
    }

    fn accept_until(&self, deadline: Deadline) -> Result<Option<Connection>, PipeError> {
        loop {
            match self.socket.accept(deadline) {
                Ok(Some(socket)) if is_of_this_user(&socket)? => {
                    return Ok(Some(Connection::new(socket)));
                }
                // Many of them must not take this one's time.
                Ok(Some(_foreign)) if !deadline.has_passed()? => {}
                Ok(_) => return Ok(None),
                // What stands in for a listener that was given up does not listen.
                Err(Errno::EINVAL) => return Err(PipeError::NotHandedOver),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Connection {
    /// Connects to the [`Listener`] of this name; waits while too many others do, however long that takes. What is sent before it
    /// is accepted is not lost.
    ///
    /// # Errors
    /// [`PipeError::NobodyListens`], at once; [`PipeError::OtherUser`]; or what the system says.
    pub fn connect(name: &str) -> Result<Self, PipeError> {
        done(connect_until(name, Deadline::NEVER)?)
    }

    /// As [`connect`](Self::connect), at most this long; `None` when the time is over.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_timeout(name: &str, timeout: Duration) -> Result<Option<Self>, PipeError> {
        connect_until(name, Deadline::after(timeout)?)
    }
}

fn connect_until(name: &str, deadline: Deadline) -> Result<Option<Connection>, PipeError> {
    let address = UnixAddr::new_abstract(name.as_bytes())?;
    let socket = Socket::unconnected(SockFlag::empty())?;
    loop {
        if let Some(left) = deadline.left()? {
            // None at all would be for ever. It may stay: no other call waits in the kernel to send.
            let left = TimeVal::microseconds(left.num_microseconds().max(1));
            setsockopt(&socket, SendTimeout, &left)?;
        }
        match connect(socket.as_fd().as_raw_fd(), &address) {
            Ok(()) => break,
            // Under a storm of signals it never gets as far as to say that there is no room.
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

/// Whether the one at the other end is, or was, a process of the user as whom this one acts.
fn is_of_this_user(socket: &Socket) -> Result<bool, Errno> {
    Ok(getsockopt(socket, PeerCredentials)?.uid() == geteuid().as_raw())
}

impl AsFd for Listener {
    /// For [`wait`](crate::wait()).
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
