//! What goes through a pipe as one message: bytes of any length, or a descriptor.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::PipeError;
use super::socket::Socket;
use crate::deadline::Deadline;

/// Longer messages travel as a file in memory whose descriptor is sent: the kernel takes no packet of any length, and a message
/// in several packets could be torn by a death or by another sender.
const LONGEST_PACKET: usize = 1 << 16;

/// First bytes of packets.
const BYTES: u8 = 1;
const LARGE: u8 = 2;
const DESCRIPTOR: u8 = 3;

thread_local! {
    /// Room for a packet. Taken out while it is in use, for decoding a value may receive another one.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A message that came.
pub(super) enum Message<'a> {
    Bytes(&'a [u8]),
    Large(Vec<u8>),
    Descriptor(OwnedFd),
}

impl Message<'_> {
    pub(super) fn into_bytes(self) -> Result<Vec<u8>, PipeError> {
        match self {
            Message::Bytes(bytes) => Ok(bytes.to_vec()),
            Message::Large(bytes) => Ok(bytes),
            Message::Descriptor(_) => Err(PipeError::Descriptor),
        }
    }

    pub(super) fn into_value<T: DeserializeOwned>(self) -> Result<T, PipeError> {
        match self {
            Message::Bytes(bytes) => decode(bytes),
            Message::Large(bytes) => decode(&bytes),
            Message::Descriptor(_) => Err(PipeError::Descriptor),
        }
    }

    pub(super) fn into_descriptor(self) -> Result<OwnedFd, PipeError> {
        match self {
            Message::Descriptor(descriptor) => Ok(descriptor),
            message => Err(PipeError::NoDescriptor(message.into_bytes()?)),
        }
    }
}

/// The bytes of a value.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, PipeError> {
    postcard::to_stdvec(value).map_err(|error| PipeError::Encode(error.into()))
}

/// The value of these bytes, all of them.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PipeError> {
    let failed = |error: postcard::Error| PipeError::Decode(error.into());
    match postcard::take_from_bytes(bytes).map_err(failed)? {
        (value, []) => Ok(value),
        (_, rest) => Err(PipeError::Decode(format!("{} bytes are too many", rest.len()).into())),
    }
}

/// Sends bytes. `None` when there was no room all the time.
pub(super) fn send_bytes(socket: &Socket, bytes: &[u8], deadline: Deadline) -> Result<Option<()>, PipeError> {
    if bytes.len() <= LONGEST_PACKET {
        return Ok(socket.send(BYTES, bytes, None, deadline)?);
    }
    let mut file = File::from(memfd_create(c"multiprocessing-message", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes).map_err(os_error)?;
    file.rewind().map_err(os_error)?;
    Ok(socket.send(LARGE, &[], Some(file.as_fd()), deadline)?)
}

/// Sends a descriptor. `None` when there was no room all the time.
pub(super) fn send_descriptor(
    socket: &Socket,
    descriptor: BorrowedFd,
    deadline: Deadline,
) -> Result<Option<()>, PipeError> {
    Ok(socket.send(DESCRIPTOR, &[], Some(descriptor), deadline)?)
}

/// What `take` makes of the next message; `None` when none came all the time.
pub(super) fn receive<R>(
    socket: &Socket,
    deadline: Deadline,
    take: impl FnOnce(Message) -> Result<R, PipeError>,
) -> Result<Option<R>, PipeError> {
    let mut room = ROOM.take();
    room.resize(LONGEST_PACKET, 0);
    let outcome = match socket.recv(&mut room, deadline) {
        Ok(None) => Ok(None),
        Err(errno) => Err(errno.into()),
        Ok(Some(arrival)) => match (arrival.tag, arrival.attached) {
            (BYTES, None) => take(Message::Bytes(&room[..arrival.bytes])).map(Some),
            (LARGE, Some(file)) => read_whole(file).and_then(|bytes| take(Message::Large(bytes))).map(Some),
            (DESCRIPTOR, Some(descriptor)) => take(Message::Descriptor(descriptor)).map(Some),
            _ => Err(PipeError::Malformed),
        },
    };
    ROOM.set(room);
    outcome
}

/// Not by mapping it: whoever sent it could shorten it, and a read notices.
fn read_whole(file: OwnedFd) -> Result<Vec<u8>, PipeError> {
    let mut bytes = Vec::new();
    File::from(file).read_to_end(&mut bytes).map_err(os_error)?;
    Ok(bytes)
}

fn os_error(error: std::io::Error) -> PipeError {
    PipeError::System(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}
