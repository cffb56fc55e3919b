//! The messages of a pipe: bytes of any length, or a descriptor.

use std::borrow::Cow;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::PipeError;
use super::socket::{Arrival, Socket};
use crate::memory::encoding;
use crate::sys::deadline::Deadline;

/// How many bytes of a message its packet holds. The rest of a longer message is in a file in
/// memory, whose descriptor travels with the packet. The kernel limits the length of packets, and a
/// message in several packets could be torn by a death or by another sender. Bytes in a packet cost
/// a quarter of those in a file, but for more than about 80 KiB the kernel needs contiguous pages,
/// which it may not find. The packet of a longer message is full too, which limits the number of
/// such messages in flight.
const LONGEST_PACKET: usize = 1 << 16;

/// First bytes of packets. In a large one they are followed by the number of bytes in the file,
/// little-endian.
const BYTES: u8 = 1;
const LARGE: u8 = 2;
const DESCRIPTOR: u8 = 3;

/// Bytes of that number.
const NUMBER_BYTES: usize = 8;

/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

thread_local! {
    /// Room for a packet. It is taken out while it is in use, because decoding a value may receive
    /// another one.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A received message.
pub(super) enum Message<'a> {
    Bytes(Cow<'a, [u8]>),
    Descriptor(OwnedFd),
}

impl<'a> Message<'a> {
    /// Reads an arrival whose bytes are at the start of this room.
    fn of(arrival: Arrival, room: &'a [u8]) -> Result<Self, PipeError> {
        let bytes = &room[..arrival.bytes];
        match (arrival.tag, arrival.attached) {
            (BYTES, None) => Ok(Self::Bytes(bytes.into())),
            (LARGE, Some(file)) => {
                let (number, start) = bytes.split_first_chunk().ok_or(PipeError::Malformed)?;
                Ok(Self::Bytes(read_on(start, u64::from_le_bytes(*number), file.into())?.into()))
            }
            (DESCRIPTOR, Some(descriptor)) if bytes.is_empty() => Ok(Self::Descriptor(descriptor)),
            _ => Err(PipeError::Malformed),
        }
    }

    fn bytes(self) -> Result<Cow<'a, [u8]>, PipeError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Descriptor(_) => Err(PipeError::Descriptor),
        }
    }

    pub(super) fn into_bytes(self) -> Result<Vec<u8>, PipeError> {
        Ok(self.bytes()?.into_owned())
    }

    pub(super) fn into_value<T: DeserializeOwned>(self) -> Result<T, PipeError> {
        decode(&self.bytes()?)
    }

    pub(super) fn into_room(self, room: &mut [u8]) -> Result<usize, PipeError> {
        let message = self.bytes()?;
        match room.get_mut(..message.len()) {
            Some(start) => start.copy_from_slice(&message),
            None => {
                return Err(PipeError::TooShort {
                    room: room.len(),
                    message: message.into_owned(),
                });
            }
        }
        Ok(message.len())
    }

    pub(super) fn into_descriptor(self) -> Result<OwnedFd, PipeError> {
        match self {
            Self::Descriptor(descriptor) => Ok(descriptor),
            Self::Bytes(bytes) => Err(PipeError::NoDescriptor(bytes.into_owned())),
        }
    }
}

/// Encodes a value.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, PipeError> {
    encoding::encode(value).map_err(PipeError::Encode)
}

/// Decodes a value from these bytes, which must hold nothing else.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PipeError> {
    encoding::decode(bytes).map_err(PipeError::Decode)
}

/// Sends bytes. Returns `None` if there was no room until the deadline.
pub(super) fn send_bytes(
    socket: &Socket,
    bytes: &[u8],
    deadline: Deadline,
) -> Result<Option<()>, PipeError> {
    let Some((start, rest)) =
        bytes.split_at_checked(LONGEST_PACKET).filter(|(_, rest)| !rest.is_empty())
    else {
        return Ok(socket.send(&[BYTES], bytes, None, deadline)?);
    };
    let file = File::from(memfd_create(c"multiprocessing-message", MFdFlags::MFD_CLOEXEC)?);
    // The file position, which the receiver shares with this process, stays at the start.
    file.write_all_at(rest, 0).map_err(os_error)?;
    let mut head = [LARGE; 1 + NUMBER_BYTES];
    head[1..].copy_from_slice(&(rest.len() as u64).to_le_bytes());
    Ok(socket.send(&head, start, Some(file.as_fd()), deadline)?)
}

/// Sends a descriptor. Returns `None` if there was no room until the deadline.
pub(super) fn send_descriptor(
    socket: &Socket,
    descriptor: BorrowedFd,
    deadline: Deadline,
) -> Result<Option<()>, PipeError> {
    Ok(socket.send(&[DESCRIPTOR], &[], Some(descriptor), deadline)?)
}

/// Receives the next message and returns the result of `take` for it. Returns `None` if no message
/// came until the deadline.
pub(super) fn receive<R>(
    socket: &Socket,
    deadline: Deadline,
    take: impl FnOnce(Message) -> Result<R, PipeError>,
) -> Result<Option<R>, PipeError> {
    let mut room = ROOM.take();
    room.resize(NUMBER_BYTES + LONGEST_PACKET, 0);
    let arrival = socket.recv(&mut room, deadline);
    let outcome = arrival.and_then(|arrival| {
        arrival.map(|arrival| Message::of(arrival, &room).and_then(take)).transpose()
    });
    ROOM.set(room);
    outcome
}

/// Reads the rest of a message, `rest` bytes, from its file. The sender could announce a wrong
/// length, and the file could be endless or empty. So this process makes room only for bytes that
/// the file really has. The file is not mapped, because the sender could shorten it. A read detects
/// that.
fn read_on(start: &[u8], rest: u64, file: File) -> Result<Vec<u8>, PipeError> {
    let file_is = file.metadata().map_err(os_error)?;
    if !file_is.is_file()
        || file_is.len() != rest
        || file_is.blocks().saturating_mul(BLOCK_BYTES) < rest
    {
        return Err(PipeError::Malformed);
    }
    let mut bytes = Vec::new();
    let length = usize::try_from(rest).unwrap_or(usize::MAX).saturating_add(start.len());
    bytes.try_reserve_exact(length).map_err(|_| Errno::ENOMEM)?;
    bytes.extend_from_slice(start);
    file.take(rest).read_to_end(&mut bytes).map_err(os_error)?;
    if bytes.len() == length { Ok(bytes) } else { Err(PipeError::Malformed) }
}

fn os_error(error: io::Error) -> PipeError {
    PipeError::System(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}
