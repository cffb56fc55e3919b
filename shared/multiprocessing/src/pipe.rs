//! Pipes: messages between two ends, whole and in order.

mod argument;
mod ends;
mod error;
mod listener;
mod message;
mod socket;

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::argument::{Handed, decode_argument, encode_argument};
pub use self::ends::Ends;
pub(crate) use self::ends::release_all_but;
pub use self::error::PipeError;
pub use self::listener::Listener;
pub(crate) use self::message::{decode, encode};
use self::message::{receive, send_bytes, send_descriptor};
use self::socket::Socket;
use crate::sys::deadline::Deadline;

/// The direction of both ends of a [`pipe`].
#[derive(Debug)]
pub struct Duplex(());
/// The direction of the receiving end of a [`one_way_pipe`].
#[derive(Debug)]
pub struct ReceiveOnly(());
/// The direction of the sending end of a [`one_way_pipe`].
#[derive(Debug)]
pub struct SendOnly(());

/// A direction that allows sending.
pub trait Sends: sealed::Direction {}
impl Sends for Duplex {}
impl Sends for SendOnly {}

/// A direction that allows receiving.
pub trait Receives: sealed::Direction {}
impl Receives for Duplex {}
impl Receives for ReceiveOnly {}

mod sealed {
    pub trait Direction {}
    impl Direction for super::Duplex {}
    impl Direction for super::ReceiveOnly {}
    impl Direction for super::SendOnly {}
}

/// An end of a pipe, like Python's `multiprocessing.connection.Connection`.
///
/// | Python | here |
/// |---|---|
/// | `a, b = Pipe()` | `let (a, b) = pipe()?;` |
/// | `r, w = Pipe(duplex=False)` | `let (r, w) = one_way_pipe()?;` |
/// | `Process(target=f, args=(b,)).start(); b.close()` | `let p = Process::fork_with(b, f)?;` or `Process::spawn(f, b)?` |
/// | `a.send({'bets': [7574]})` | `a.send(&bets)?` of any type that is `serde::Serialize` |
/// | `bets = b.recv()` | `let bets: Vec<u16> = b.recv()?;` any type that is `serde::Deserialize` |
/// | `a.send_bytes(b'hello')`, `b.recv_bytes()` | `a.send_bytes(b"hello")?`, `b.recv_bytes()?` |
/// | `a.send_bytes(text, 2, 3)` | `a.send_bytes(&text[2..5])?` |
/// | `b.recv_bytes_into(buffer)` | `b.recv_bytes_into(&mut buffer)?` |
/// | `BufferTooShort` | [`PipeError::TooShort`] |
/// | `b.poll()`, `b.poll(0.5)` | `b.poll(Duration::ZERO)?`, `b.poll(Duration::from_millis(500))?` |
/// | `wait([a, p.sentinel], timeout)` | [`wait_timeout(&[&a, &p], timeout)`](crate::wait_timeout) |
/// | `send_handle(a, fd, pid)`, `recv_handle(b)` | `a.send_fd(&file)?`, `b.recv_fd()?` |
/// | `EOFError`, `BrokenPipeError` | [`PipeError::Closed`] |
/// | `a.close()` | `drop(a)` |
///
/// Messages have any length. Each arrives whole, once, and at one receiver, even if several
/// processes send to an end or receive from it. So when a process is killed
///
/// * while it sends: the whole message is in flight, or nothing of it;
/// * while it receives: the message is lost with it, or can still be received;
/// * while it waits: other processes continue, and no message is lost;
/// * while no other process has its end: a waiter at the other end gets [`PipeError::Closed`] at
///   once, after it has received what was sent before.
///
/// For the last point, no other process may have a copy of the end, such as one that a child
/// inherited. [`Process::fork_with`](crate::Process::fork_with) ensures that. Unrelated processes
/// connect through a [`Listener`].
///
/// Sending waits while about 200 kB are in flight (`net.core.wmem_default`, which must be more than
/// 64 KiB), or four messages of more than 64 KiB. Each of these needs a file descriptor until it is
/// received, at both ends: see [`PipeError::NoRoom`].
pub struct Connection<D = Duplex> {
    socket: Socket,
    direction: PhantomData<fn() -> D>,
}

/// Creates a pipe for both directions, like Python's `Pipe()`.
///
/// # Errors
/// [`PipeError::System`], usually because of too many open files.
pub fn pipe() -> Result<(Connection, Connection), PipeError> {
    let (one, other) = Socket::pair()?;
    Ok((Connection::new(one), Connection::new(other)))
}

/// Creates a pipe from the second end to the first one, like Python's `Pipe(duplex=False)`. The
/// wrong direction does not compile:
///
/// ```compile_fail,E0599
/// let (receiver, _sender) = multiprocessing::one_way_pipe()?;
/// receiver.send("never")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// ```compile_fail,E0599
/// let (_receiver, sender) = multiprocessing::one_way_pipe()?;
/// sender.poll(std::time::Duration::ZERO)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn one_way_pipe() -> Result<(Connection<ReceiveOnly>, Connection<SendOnly>), PipeError> {
    let (receiver, sender) = Socket::pair()?;
    // The type alone does not fix the direction, because the descriptor of an end can be sent and
    // turned into an end of any type.
    shutdown(sender.as_fd().as_raw_fd(), Shutdown::Read)?;
    Ok((Connection::new(receiver), Connection::new(sender)))
}

impl<D> Connection<D> {
    fn new(socket: Socket) -> Self {
        Self { socket, direction: PhantomData }
    }
}

impl<D: Sends> Connection<D> {
    /// Sends a value, encoded. Waits while the pipe is full, without a limit.
    pub fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), PipeError> {
        self.send_bytes(&encode(value)?)
    }

    /// Works like [`send`](Self::send), but waits at most this long. Returns true if it was sent.
    pub fn send_timeout<T: Serialize + ?Sized>(
        &self,
        value: &T,
        timeout: Duration,
    ) -> Result<bool, PipeError> {
        self.send_bytes_timeout(&encode(value)?, timeout)
    }

    /// Sends a message of these bytes, which may be none. Waits while the pipe is full, without a
    /// limit.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), PipeError> {
        done(send_bytes(&self.socket, bytes, Deadline::NEVER)?)
    }

    /// Works like [`send_bytes`](Self::send_bytes), but waits at most this long. Returns true if it
    /// was sent.
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<bool, PipeError> {
        self.send_bytes_until(bytes, Deadline::after(timeout)?)
    }

    pub(crate) fn send_bytes_until(
        &self,
        bytes: &[u8],
        deadline: Deadline,
    ) -> Result<bool, PipeError> {
        Ok(send_bytes(&self.socket, bytes, deadline)?.is_some())
    }

    /// Sends a file, a socket or an end of a pipe: the receiver gets its own descriptor for it.
    pub fn send_fd(&self, descriptor: impl AsFd) -> Result<(), PipeError> {
        done(send_descriptor(&self.socket, descriptor.as_fd(), Deadline::NEVER)?)
    }

    /// Works like [`send_fd`](Self::send_fd), but waits at most this long. Returns true if it was
    /// sent.
    pub fn send_fd_timeout(
        &self,
        descriptor: impl AsFd,
        timeout: Duration,
    ) -> Result<bool, PipeError> {
        Ok(send_descriptor(&self.socket, descriptor.as_fd(), Deadline::after(timeout)?)?.is_some())
    }
}

impl<D: Receives> Connection<D> {
    /// Receives the next message as a value of this type. Waits for one without a limit.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<T, PipeError> {
        done(receive(&self.socket, Deadline::NEVER, |message| message.into_value())?)
    }

    /// Works like [`recv`](Self::recv), but waits at most this long. Returns `None` if the time is
    /// over.
    pub fn recv_timeout<T: DeserializeOwned>(
        &self,
        timeout: Duration,
    ) -> Result<Option<T>, PipeError> {
        receive(&self.socket, Deadline::after(timeout)?, |message| message.into_value())
    }

    /// Receives the bytes of the next message. Waits for one without a limit.
    pub fn recv_bytes(&self) -> Result<Vec<u8>, PipeError> {
        done(receive(&self.socket, Deadline::NEVER, |message| message.into_bytes())?)
    }

    /// Works like [`recv_bytes`](Self::recv_bytes), but waits at most this long. Returns `None` if
    /// the time is over.
    pub fn recv_bytes_timeout(&self, timeout: Duration) -> Result<Option<Vec<u8>>, PipeError> {
        self.recv_bytes_until(Deadline::after(timeout)?)
    }

    pub(crate) fn recv_bytes_until(
        &self,
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>, PipeError> {
        receive(&self.socket, deadline, |message| message.into_bytes())
    }

    /// Receives the bytes of the next message into the start of `room`, and returns how many there
    /// are. Waits for one without a limit.
    ///
    /// # Errors
    /// [`PipeError::TooShort`] with the message if it has more bytes than `room`, which is then
    /// unchanged.
    pub fn recv_bytes_into(&self, room: &mut [u8]) -> Result<usize, PipeError> {
        done(receive(&self.socket, Deadline::NEVER, |message| message.into_room(room))?)
    }

    /// Works like [`recv_bytes_into`](Self::recv_bytes_into), but waits at most this long. Returns
    /// `None` if the time is over.
    pub fn recv_bytes_into_timeout(
        &self,
        room: &mut [u8],
        timeout: Duration,
    ) -> Result<Option<usize>, PipeError> {
        receive(&self.socket, Deadline::after(timeout)?, |message| message.into_room(room))
    }

    /// Receives a descriptor that was sent. Waits for the next message without a limit.
    ///
    /// # Errors
    /// [`PipeError::NoDescriptor`] with the message if the next message is one of bytes.
    pub fn recv_fd(&self) -> Result<OwnedFd, PipeError> {
        done(receive(&self.socket, Deadline::NEVER, |message| message.into_descriptor())?)
    }

    /// Works like [`recv_fd`](Self::recv_fd), but waits at most this long. Returns `None` if the
    /// time is over.
    pub fn recv_fd_timeout(&self, timeout: Duration) -> Result<Option<OwnedFd>, PipeError> {
        receive(&self.socket, Deadline::after(timeout)?, |message| message.into_descriptor())
    }

    /// Returns true if receiving would not wait: a message has arrived, or none can come any more.
    /// Waits for that at most this long. It takes nothing, so another receiving process may take
    /// the message first.
    pub fn poll(&self, timeout: Duration) -> Result<bool, PipeError> {
        Ok(self.socket.is_readable(Deadline::after(timeout)?)?)
    }
}

/// Unwraps the outcome of a wait without a deadline, which always has one.
fn done<R>(outcome: Option<R>) -> Result<R, PipeError> {
    outcome.ok_or(PipeError::System(Errno::EAGAIN))
}

impl<D> AsFd for Connection<D> {
    /// Returns the descriptor, for [`wait`](crate::wait()) and to send the end through another
    /// pipe.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<D: sealed::Direction> From<OwnedFd> for Connection<D> {
    /// Turns a descriptor that was sent through another pipe into an end. The end keeps its
    /// direction, whatever its type is: using the wrong one fails with [`PipeError::Closed`].
    fn from(descriptor: OwnedFd) -> Self {
        Self::new(Socket::new(descriptor))
    }
}

impl<D> fmt::Debug for Connection<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.socket.as_fd().as_raw_fd()).finish()
    }
}
