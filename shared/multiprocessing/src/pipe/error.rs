//! The errors of pipes.

use std::error::Error;

use nix::errno::Errno;

/// The error of sending, receiving or connecting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipeError {
    /// No process has the other end any more: those that had it closed it, ended, or were killed.
    /// Everything that they sent before has been received.
    #[error("the pipe is closed: no process has its other end any more")]
    Closed,
    /// This process was forked by [`Process::fork_with`](crate::Process::fork_with), and the end
    /// was not handed over to it.
    #[error("this end of the pipe was not handed over to this process")]
    NotHandedOver,
    /// The message has more bytes than there is room for. It is kept here.
    #[error("a message of {} bytes does not fit into {room}", message.len())]
    TooShort {
        /// The whole message.
        message: Vec<u8>,
        /// Number of bytes that there is room for.
        room: usize,
    },
    /// The value cannot be encoded. Nothing was sent.
    #[error("the value cannot be sent: {0}")]
    Encode(#[source] Box<dyn Error + Send + Sync>),
    /// The message does not encode a value of this type. It is lost.
    #[error("the message is not a value of this type: {0}")]
    Decode(#[source] Box<dyn Error + Send + Sync>),
    /// A message came where a descriptor was expected. It is kept here.
    #[error("a message of {} bytes came instead of a descriptor", .0.len())]
    NoDescriptor(Vec<u8>),
    /// A descriptor came where a message was expected. It was closed.
    #[error("a descriptor came instead of a message")]
    Descriptor,
    /// The packet was not sent by this library. It is lost; the next one may be a message.
    #[error("the packet is not a message of this library")]
    Malformed,
    /// Another listener has this name.
    #[error("another listener has this name")]
    AddressInUse,
    /// No process listens under this name.
    #[error("no process listens under this name")]
    NoListener,
    /// The listener of this name is a process of another user.
    #[error("the listener of this name is a process of another user")]
    OtherUser,
    /// A descriptor came, or a message of more than 64 KiB, and this process may not open another
    /// file. It is lost.
    #[error("too many files are open in this process to receive the message")]
    NoRoom,
    /// The operating system refused.
    #[error("pipe: {0}")]
    System(Errno),
}

impl From<Errno> for PipeError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EPIPE | Errno::ECONNRESET => Self::Closed,
            // The socket that replaces an end that was not handed over is not connected.
            Errno::ENOTCONN => Self::NotHandedOver,
            Errno::EADDRINUSE => Self::AddressInUse,
            Errno::ECONNREFUSED => Self::NoListener,
            other => Self::System(other),
        }
    }
}
