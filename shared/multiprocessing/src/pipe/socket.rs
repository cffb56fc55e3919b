//! A socket that keeps messages apart, and the list of the sockets of this process.
//!
//! The socket has the type `SOCK_SEQPACKET`: the kernel takes a whole message or none and delivers
//! whole messages, even if several processes send and receive and any of them is killed. In a
//! stream, half a message could stay in the pipe, and the receiver would misread everything after
//! it.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, accept4, recvmsg, sendmsg, socket,
    socketpair,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::error::PipeError;
use crate::sys::deadline::Deadline;
use crate::sys::wait::poll_until;

/// Room for the control data of a packet, in words of 8 bytes. The kernel closes descriptors that
/// do not fit.
const CONTROL_WORDS: usize = 8;

/// Descriptors of the sockets of this process. A forked child inherits the list and the sockets on
/// it.
static OPEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

fn open() -> MutexGuard<'static, BTreeSet<RawFd>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket of this process.
#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: OwnedFd,
}

/// What was received from a socket.
pub(super) struct Arrival {
    /// The first byte of the message.
    pub(super) tag: u8,
    /// Number of bytes that the rest of the message takes of the room.
    pub(super) bytes: usize,
    /// The descriptor that came with the message.
    pub(super) attached: Option<OwnedFd>,
}

impl Socket {
    /// Creates two connected sockets.
    pub(super) fn pair() -> Result<(Self, Self), Errno> {
        let (one, other) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self::new(one), Self::new(other)))
    }

    /// Creates a socket that is not connected yet.
    pub(super) fn unconnected(flags: SockFlag) -> Result<Self, Errno> {
        Ok(Self::new(socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC | flags,
            None,
        )?))
    }

    pub(super) fn new(descriptor: OwnedFd) -> Self {
        open().insert(descriptor.as_raw_fd());
        Self { descriptor }
    }

    /// Accepts the next connection to this socket, which listens and does not block. Returns `None`
    /// if none came until the deadline.
    pub(super) fn accept(&self, deadline: Deadline) -> Result<Option<Self>, Errno> {
        self.until(deadline, PollFlags::POLLIN, || {
            accept4(&self.descriptor, SockFlag::SOCK_CLOEXEC).map(Self::new)
        })
    }

    /// Sends a message of a head and bytes, with a descriptor if there is one. Returns `None` if
    /// there was no room until the deadline.
    pub(super) fn send(
        &self,
        head: &[u8],
        bytes: &[u8],
        attached: Option<BorrowedFd>,
        deadline: Deadline,
    ) -> Result<Option<()>, Errno> {
        let parts = [IoSlice::new(head), IoSlice::new(bytes)];
        let attached = attached.map(|descriptor| [descriptor.as_raw_fd()]);
        let rights = attached.as_ref().map(|descriptors| [ControlMessage::ScmRights(descriptors)]);
        let rights = rights.as_ref().map_or(&[][..], |rights| &rights[..]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        self.until(deadline, PollFlags::POLLOUT, || {
            sendmsg::<()>(self.descriptor.as_raw_fd(), &parts, rights, flags, None).map(drop)
        })
    }

    /// Receives the next message, which must fit into the room. Returns `None` if none came until
    /// the deadline.
    pub(super) fn recv(
        &self,
        room: &mut [u8],
        deadline: Deadline,
    ) -> Result<Option<Arrival>, PipeError> {
        let mut tag = [0];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let arrival = self.until(deadline, PollFlags::POLLIN, || {
            let mut parts = [IoSliceMut::new(&mut tag), IoSliceMut::new(room)];
            let mut control = [0_u64; CONTROL_WORDS];
            let room_for = Some(control.as_mut_bytes());
            let message = recvmsg::<()>(self.descriptor.as_raw_fd(), &mut parts, room_for, flags)?;
            let (bytes, flags) = (message.bytes, message.flags);
            Ok((bytes, flags, attached(control.as_bytes())))
        });
        let Some((bytes, flags, mut attached)) = arrival? else { return Ok(None) };
        let is_cut = flags.contains(MsgFlags::MSG_CTRUNC);
        match bytes.checked_sub(1) {
            None if self.has_no_peer()? => Err(PipeError::Closed),
            Some(_) if is_cut && attached.is_empty() => Err(PipeError::NoRoom),
            Some(bytes)
                if !is_cut && !flags.contains(MsgFlags::MSG_TRUNC) && attached.len() < 2 =>
            {
                Ok(Some(Arrival { tag: tag[0], bytes, attached: attached.pop() }))
            }
            _ => Err(PipeError::Malformed),
        }
    }

    /// Returns true if receiving would not wait. Waits for that until the deadline.
    pub(super) fn is_readable(&self, deadline: Deadline) -> Result<bool, Errno> {
        poll_until(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], deadline)
    }

    /// Returns true if nothing can come any more. This distinguishes the end from an empty packet.
    fn has_no_peer(&self) -> Result<bool, Errno> {
        let hung_up = PollFlags::from_bits_retain(libc::POLLRDHUP);
        poll_until(&mut [PollFd::new(self.as_fd(), hung_up)], Deadline::after(Duration::ZERO)?)
    }

    /// Repeats an attempt until it succeeds or the deadline passes, and once more after that. The
    /// attempt itself does not wait. A process that is killed just after it was woken inside
    /// recvmsg(2) would lose a message. One that only polls loses none.
    fn until<R>(
        &self,
        deadline: Deadline,
        event: PollFlags,
        mut attempt: impl FnMut() -> Result<R, Errno>,
    ) -> Result<Option<R>, Errno> {
        loop {
            let over = deadline.has_passed()?;
            match attempt() {
                Err(Errno::EAGAIN | Errno::ETOOMANYREFS) if over => return Ok(None),
                Err(Errno::EAGAIN) => {
                    poll_until(&mut [PollFd::new(self.as_fd(), event)], deadline)?;
                }
                // This user has as many descriptors in flight, over all sockets, as this process
                // may have open, so the socket counts as full. Poll reports only the end of the
                // other side, so the rest needs repeated checks.
                Err(Errno::ETOOMANYREFS) => {
                    poll_until(
                        &mut [PollFd::new(self.as_fd(), PollFlags::empty())],
                        deadline.look()?,
                    )?;
                }
                // The other end is gone and did not read everything. What it sent before is still
                // to come. The kernel reports this once.
                Err(Errno::ECONNRESET) if event == PollFlags::POLLIN => {}
                Err(Errno::EINTR) => {}
                outcome => return outcome.map(Some),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        open().remove(&self.descriptor.as_raw_fd());
    }
}

/// The `struct cmsghdr` of the kernel.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ControlHead {
    /// Bytes of head and body. 0 after the last one, because the room was zeroed.
    bytes: usize,
    level: i32,
    kind: i32,
}

/// Returns the descriptors in the control data of a packet, even if it was cut off. They belong to
/// this process, and one that was missed would stay open forever.
fn attached(mut control: &[u8]) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    while let Ok((head, _)) = ControlHead::read_from_prefix(control)
        && let Some(body) = control.get(size_of::<ControlHead>()..head.bytes)
    {
        if (head.level, head.kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            for number in body
                .chunks_exact(size_of::<RawFd>())
                .filter_map(|it| RawFd::read_from_bytes(it).ok())
            {
                // SAFETY: the kernel has just opened it for this process, and no other code knows
                // its number.
                found.push(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
        control =
            control.get(head.bytes.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
    }
    found
}

/// The release of the sockets that a forked child inherited. The parent prepares it, so that little
/// can fail in the child.
pub(crate) struct Release {
    given_up: Vec<RawFd>,
    /// A socket that is not connected.
    unconnected: OwnedFd,
}

impl Release {
    /// Prepares the release of all sockets of this process except these.
    pub(super) fn of_all_but(kept: &[RawFd]) -> Result<Self, Errno> {
        let unconnected =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        let given_up = open().iter().filter(|socket| !kept.contains(socket)).copied().collect();
        Ok(Self { given_up, unconnected })
    }

    /// Closes them in the calling process. The handles stay, without a connection.
    pub(crate) fn in_child(self) -> Result<(), Errno> {
        for socket in self.given_up {
            // SAFETY: the number belongs to a `Socket`, in memory that this process has a copy of,
            // and to nothing else. That `Socket` keeps owning an open descriptor, which now refers
            // to another file. dup3(2) touches no memory.
            let replaced =
                unsafe { libc::dup3(self.unconnected.as_raw_fd(), socket, libc::O_CLOEXEC) };
            Errno::result(replaced)?;
        }
        Ok(())
    }
}
