//! A socket that keeps messages apart, and the list of those that this process has.
//!
//! Of the kind `SOCK_SEQPACKET`: the kernel takes a whole message or none and hands out a whole one, also when several processes
//! send, several receive, and any of them is killed. A stream would leave half a message in the pipe, and what follows it would
//! be read as nonsense.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socket, socketpair,
};

use crate::deadline::Deadline;
use crate::wait::poll_until;

/// Descriptors of the sockets of this process; a forked child inherits the list and what is on it.
static OPEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

fn open() -> MutexGuard<'static, BTreeSet<RawFd>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket of this process.
#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: OwnedFd,
}

/// What came out of a socket.
pub(super) struct Arrival {
    /// The first byte of the message.
    pub(super) tag: u8,
    /// How many bytes of the room the others took.
    pub(super) bytes: usize,
    /// A descriptor that came with it.
    pub(super) attached: Option<OwnedFd>,
}

impl Socket {
    /// Two that are connected.
    pub(super) fn pair() -> Result<(Self, Self), Errno> {
        let (one, other) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self::new(one), Self::new(other)))
    }

    pub(super) fn new(descriptor: OwnedFd) -> Self {
        open().insert(descriptor.as_raw_fd());
        Self { descriptor }
    }

    /// Sends a message of a first byte and others, and maybe a descriptor. `None` when there was no room all the time.
    pub(super) fn send(
        &self,
        tag: u8,
        bytes: &[u8],
        attached: Option<BorrowedFd>,
        deadline: Deadline,
    ) -> Result<Option<()>, Errno> {
        let parts = [IoSlice::new(std::slice::from_ref(&tag)), IoSlice::new(bytes)];
        let attached = attached.map(|descriptor| [descriptor.as_raw_fd()]);
        let rights = attached.as_ref().map(|descriptors| [ControlMessage::ScmRights(descriptors)]);
        let rights = rights.as_ref().map_or(&[][..], |rights| &rights[..]);
        let socket = self.descriptor.as_raw_fd();
        self.until(deadline, PollFlags::POLLOUT, |flags| {
            sendmsg::<()>(socket, &parts, rights, flags | MsgFlags::MSG_NOSIGNAL, None).map(drop)
        })
    }

    /// The next message, which must fit into the room; `None` when none came all the time. Of no bytes at all, not even a first
    /// one, is what the kernel tells when there is nobody at the other end any more: that is [`Errno::EPIPE`].
    pub(super) fn recv(&self, room: &mut [u8], deadline: Deadline) -> Result<Option<Arrival>, Errno> {
        let mut tag = [0];
        // One more than there ever is: were there two, the second would be closed and not lost.
        let mut control = nix::cmsg_space!([RawFd; 2]);
        let socket = self.descriptor.as_raw_fd();
        self.until(deadline, PollFlags::POLLIN, |flags| {
            let mut parts = [IoSliceMut::new(&mut tag), IoSliceMut::new(room)];
            let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<()>(socket, &mut parts, Some(&mut control), flags)?;
            let mut attached = None;
            // Cut off only when there was no room for one more descriptor in this process.
            for part in message.cmsgs().map_err(|_| Errno::EMFILE)? {
                if let ControlMessageOwned::ScmRights(descriptors) = part {
                    for descriptor in descriptors {
                        // SAFETY: the kernel has just opened it for this process, and nobody else knows its number.
                        attached = Some(unsafe { OwnedFd::from_raw_fd(descriptor) });
                    }
                }
            }
            let is_whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
            match message.bytes.checked_sub(1) {
                None => Err(Errno::EPIPE),
                Some(bytes) if is_whole => Ok(Arrival { tag: 0, bytes, attached }),
                Some(_) => Err(Errno::EMSGSIZE),
            }
        })
        .map(|arrival| arrival.map(|arrival| Arrival { tag: tag[0], ..arrival }))
    }

    /// Whether it would not wait, now or within the time.
    pub(super) fn is_readable(&self, deadline: Deadline) -> Result<bool, Errno> {
        poll_until(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], deadline)
    }

    /// Tries until it works or the time is over.
    pub(super) fn until<R>(
        &self,
        deadline: Deadline,
        event: PollFlags,
        mut attempt: impl FnMut(MsgFlags) -> Result<R, Errno>,
    ) -> Result<Option<R>, Errno> {
        let flags = if deadline.is_never() { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
        loop {
            match attempt(flags) {
                Ok(outcome) => return Ok(Some(outcome)),
                Err(Errno::EAGAIN) => {
                    if deadline.has_passed()?
                        || !poll_until(&mut [PollFd::new(self.as_fd(), event)], deadline)?
                    {
                        return Ok(None);
                    }
                }
                // The other end is gone, without having read everything, and what it sent before is still to come. The kernel
                // says so once.
                Err(Errno::ECONNRESET) if event == PollFlags::POLLIN => {}
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
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

/// What a forked child does about the sockets that it inherited: prepared by the parent, for in the child nothing may fail.
pub(crate) struct Release {
    given_up: Vec<RawFd>,
    /// A socket that is connected to nobody.
    nobody: OwnedFd,
}

impl Release {
    /// Of all sockets of this process but these.
    pub(super) fn of_all_but(kept: &[RawFd]) -> Result<Self, Errno> {
        let nobody = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        let given_up = open().iter().filter(|socket| !kept.contains(socket)).copied().collect();
        Ok(Self { given_up, nobody })
    }

    /// Closes them in the calling process. The handles stay: they are connected to nobody from here on.
    pub(crate) fn in_child(self) {
        for socket in self.given_up {
            // SAFETY: the number belongs to a `Socket`, in memory that this process got a copy of, and to nobody else; the
            // `Socket` goes on owning an open descriptor, which is another file. dup3(2) touches no memory.
            let replaced = unsafe { libc::dup3(self.nobody.as_raw_fd(), socket, libc::O_CLOEXEC) };
            debug_assert!(replaced == socket, "giving up a socket: {}", Errno::last());
            open().remove(&socket);
        }
    }
}
