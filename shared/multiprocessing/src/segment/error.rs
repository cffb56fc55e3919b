//! The errors of creating, opening and using a segment.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use shared_memory::ShmemError;

use crate::memory::layout::LAYOUT_VERSION;
use crate::sys::name::{DIRECTORY, SegmentName};

/// The error of creating, opening or using a segment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The name is taken.
    #[error("shared memory {name} exists already")]
    Exists {
        /// The name.
        name: SegmentName,
    },
    /// Living processes use the segment of this name.
    #[error("shared memory {name} is in use by the living process {creator} or its children")]
    InUse {
        /// The name.
        name: SegmentName,
        /// The process that created it.
        creator: u32,
    },
    /// There is no such segment.
    #[error("there is no shared memory {name}")]
    NotFound {
        /// The name.
        name: SegmentName,
    },
    /// Another user owns the entry, or other users may open it. Such a segment could make a lock of
    /// this program write to any address.
    #[error(
        "/dev/shm/{name} belongs to user {owner} and has mode {permissions:03o}: only a segment of \
         the effective user with mode 600 is safe to use; run as its owner, or remove that file if \
         no process uses it"
    )]
    NotPrivate {
        /// The name.
        name: SegmentName,
        /// User id of the owner.
        owner: u32,
        /// Permission bits.
        permissions: u32,
    },
    /// The entry is not shared with the group that the caller has chosen, or others may open it.
    #[error(
        "/dev/shm/{name} belongs to group {found} and has mode {permissions:03o}: a segment that \
         group {group} shares has that group and mode 660; create it with `SegmentOptions::group`"
    )]
    NotOfGroup {
        /// The name.
        name: SegmentName,
        /// The group that the caller has chosen.
        group: u32,
        /// The group of the entry.
        found: u32,
        /// Permission bits.
        permissions: u32,
    },
    /// Another member of the group owns the entry, so this process cannot remove it.
    #[error(
        "shared memory {name} belongs to user {owner}: only that user and root can remove it from \
         {DIRECTORY}; run `shm rm` as one of them"
    )]
    OfOtherUser {
        /// The name.
        name: SegmentName,
        /// User id of the owner.
        owner: u32,
    },
    /// The segment is removed: its creator has ended, or another process has replaced it.
    #[error(
        "shared memory {name} is removed, because its creator has ended or another process has \
         replaced it: open it again"
    )]
    Removed {
        /// The name.
        name: SegmentName,
    },
    /// The segment was created in another pid or time namespace. Its users could not tell whether a
    /// process of this namespace lives: its pid or its start time is another number there.
    #[error(
        "shared memory {name} was created in another {namespace} namespace: run this program in that \
         one (Docker: --pid), or give it a /dev/shm of its own"
    )]
    OtherNamespace {
        /// The segment.
        name: SegmentName,
        /// The kind of namespace, `pid` or `time`.
        namespace: &'static str,
    },
    /// A version of this library with another layout created the segment.
    #[error(
        "shared memory {name} has layout version {version}; this program reads version {LAYOUT_VERSION}"
    )]
    OtherLayout {
        /// The segment.
        name: SegmentName,
        /// The version of its layout.
        version: u32,
    },
    /// The entry is not a segment of this library, or is a broken one.
    #[error(
        "/dev/shm/{name} is not a segment of this library: {reason}; remove that file if no process uses it"
    )]
    Foreign {
        /// The name.
        name: SegmentName,
        /// What differs.
        reason: String,
    },
    /// The plan is impossible.
    #[error("segment plan: {0}")]
    Plan(String),
    /// `/dev/shm` has too little room.
    #[error(
        "/dev/shm has no room for {bytes} bytes: enlarge it (Docker: --shm-size) or remove what fills it"
    )]
    NoSpace {
        /// Bytes that the plan needs.
        bytes: usize,
    },
    /// The machine or the container has no `/dev/shm`.
    #[error(
        "there is no directory {DIRECTORY}, where shared memory has its names: mount a tmpfs there \
         (mount -t tmpfs -o mode=1777 tmpfs {DIRECTORY}; Docker: no --ipc=none)"
    )]
    NoDirectory,
    /// The segment has no such object, or it has another kind, element type or length.
    #[error("shared memory {name}: {}", mismatch(object, wanted, found.as_deref()))]
    Object {
        /// The segment.
        name: SegmentName,
        /// The name of the object.
        object: String,
        /// The kind, element type and length that the program expects.
        wanted: String,
        /// What the segment has under this name, if anything.
        found: Option<String>,
    },
    /// The operating system returned an error.
    #[error("{action} shared memory {name}: {source}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// The segment.
        name: SegmentName,
        /// The cause.
        source: io::Error,
    },
}

fn mismatch(object: &str, wanted: &str, found: Option<&str>) -> String {
    match found {
        Some(found) => format!("object {object:?} is {found}; expected {wanted}"),
        None => format!("there is no object {object:?}; expected {wanted}"),
    }
}

pub(super) fn io_error(
    name: &SegmentName,
    action: &'static str,
    source: io::Error,
) -> SegmentError {
    match source.kind() {
        io::ErrorKind::NotFound if !Path::new(DIRECTORY).is_dir() => SegmentError::NoDirectory,
        io::ErrorKind::NotFound => SegmentError::NotFound { name: name.clone() },
        _ => SegmentError::System { action, name: name.clone(), source },
    }
}

pub(super) fn system(name: &SegmentName, action: &'static str, errno: Errno) -> SegmentError {
    io_error(name, action, errno.into())
}

pub(super) fn shmem_error(
    name: &SegmentName,
    action: &'static str,
    error: ShmemError,
) -> SegmentError {
    let errno = match error {
        ShmemError::MappingIdExists | ShmemError::LinkExists => {
            return SegmentError::Exists { name: name.clone() };
        }
        ShmemError::MapCreateFailed(errno)
        | ShmemError::MapOpenFailed(errno)
        | ShmemError::UnknownOsError(errno) => errno,
        other => {
            return SegmentError::System {
                action,
                name: name.clone(),
                source: io::Error::other(other.to_string()),
            };
        }
    };
    io_error(name, action, io::Error::from_raw_os_error(errno.cast_signed()))
}
