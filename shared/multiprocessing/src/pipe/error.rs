//! What can go wrong with a pipe.

use std::error::Error;

use nix::errno::Errno;

/// Why nothing was sent, received or connected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipeError {
    /// Nobody has the other end any more: all who had it closed it, have ended, or were killed. Whatever they sent before has
    /// been received.
    #[error("the pipe is closed: nobody has its other end any more")]
    Closed,
    /// This process was forked by [`Process::spawn_with`](crate::Process::spawn_with) and the end was not handed over to it.
    #[error("this end of the pipe was not handed over to this process")]
    NotHandedOver,
    /// The message has more bytes than there was room for. It is in here.
    #[error("a message of {} bytes does not fit into {room}", message.len())]
    TooShort {
        /// The whole message.
        message: Vec<u8>,
        /// How many bytes there was room for.
        room: usize,
    },
    /// The value cannot be encoded; nothing was sent.
    #[error("the value cannot be sent: {0}")]
    Encode(#[source] Box<dyn Error + Send + Sync>),
    /// The message is not the encoding of a value of this type. It is gone.
    #[error("the message is no value of this type: {0}")]
    Decode(#[source] Box<dyn Error + Send + Sync>),
    /// A descriptor was to be received, and a message came. It is in here.
    #[error("a message of {} bytes came instead of a descriptor", .0.len())]
    NoDescriptor(Vec<u8>),
    /// A message was to be received, and a descriptor came. It is closed.
    #[error("a descriptor came instead of a message")]
    Descriptor,
    /// What came was not sent by this library. It is gone; what comes next may be a message.
    #[error("what came through the pipe is no message")]
    Malformed,
    /// Somebody listens under this name already.
    #[error("somebody listens under this name already")]
    AddressInUse,
    /// Nobody listens under this name.
    #[error("nobody listens under this name")]
    NobodyListens,
    /// Who listens under this name is a process of another user.
    #[error("who listens under this name is a process of another user")]
    OtherUser,
    /// A descriptor came, or a message of more than 64 KiB, and this process may not open one more file. It is gone.
    #[error("too many files are open in this process to take what came")]
    NoRoom,
    /// The operating system refused.
    #[error("pipe: {0}")]
    System(Errno),
}

impl From<Errno> for PipeError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EPIPE | Errno::ECONNRESET => Self::Closed,
            // What stands in for an end that was given up is connected to nobody.
            Errno::ENOTCONN => Self::NotHandedOver,
            Errno::EADDRINUSE => Self::AddressInUse,
            Errno::ECONNREFUSED => Self::NobodyListens,
            other => Self::System(other),
        }
    }
}
