//! Shared memory that is mapped into this process, and the places inside it.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use shared_memory::Shmem;

use crate::sys::namespaces::Namespaces;

/// A mapping of shared memory. It stays mapped as long as any handle to something inside it lives.
pub(crate) struct Mapping {
    memory: Memory,
    namespaces: Namespaces,
    /// True if this process, or an ancestor, opened the memory by its name.
    opened: bool,
}

enum Memory {
    /// It has an entry in `/dev/shm`.
    Named(Shmem),
    /// It has no entry, or its pages may only be read.
    Plain { start: NonNull<c_void>, bytes: usize },
}

// SAFETY: the mapping is plain memory of the whole process; it is not Send only because it holds a
// raw pointer. All access goes through atomics or under a lock (see `cell` and `mutex`), and
// unmapping happens once, in the last owner's drop.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Takes over mapped memory, which processes of these namespaces share. Its entry in `/dev/shm`
    /// is never removed here. If `shared_memory` owned the entry, a forked child that drops its
    /// copy would remove it while others use it.
    pub(crate) fn new(mut memory: Shmem, namespaces: Namespaces, opened: bool) -> Arc<Self> {
        memory.set_owner(false);
        Arc::new(Self { memory: Memory::Named(memory), namespaces, opened })
    }

    /// Maps this many zero bytes that this process and its children share.
    pub(crate) fn nameless(
        bytes: NonZeroUsize,
        namespaces: Namespaces,
    ) -> Result<Arc<Self>, Errno> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses where, so no other mapping is touched.
        let start = unsafe { mmap_anonymous(None, bytes, protection, MapFlags::MAP_SHARED) }?;
        let memory = Memory::Plain { start, bytes: bytes.get() };
        Ok(Arc::new(Self { memory, namespaces, opened: false }))
    }

    /// Maps a file that processes of these namespaces share, for reading. A write to it ends this
    /// process, so only what does not write may use it. Returns `None` if the file is empty.
    pub(crate) fn read_only(file: &File, namespaces: Namespaces) -> io::Result<Option<Arc<Self>>> {
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let Some(length) = NonZeroUsize::new(bytes) else { return Ok(None) };
        // SAFETY: the kernel chooses where, so no other mapping is touched.
        let start =
            unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, file, 0) }?;
        let memory = Memory::Plain { start, bytes };
        Ok(Some(Arc::new(Self { memory, namespaces, opened: true })))
    }

    /// Returns the number of mapped bytes.
    pub(crate) fn bytes(&self) -> usize {
        match &self.memory {
            Memory::Named(memory) => memory.len(),
            Memory::Plain { bytes, .. } => *bytes,
        }
    }

    fn start(&self) -> *mut u8 {
        match &self.memory {
            Memory::Named(memory) => memory.as_ptr(),
            Memory::Plain { start, .. } => start.as_ptr().cast(),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Self::Plain { start, bytes } = self {
            // SAFETY: it was mapped by this crate with this many bytes, and every place in it keeps
            // the mapping alive.
            let unmapped = unsafe { munmap(*start, *bytes) };
            debug_assert_eq!(unmapped, Ok(()));
        }
    }
}

/// A range of a mapping that is known to lie inside it.
#[derive(Clone)]
pub(crate) struct Place {
    /// Keeps the range mapped.
    mapping: Arc<Mapping>,
    /// Follows from the mapping. It is stored because computing it takes a twentieth of the time of
    /// a locked increment.
    start: *mut u8,
    bytes: usize,
}

// SAFETY: as for the mapping; the pointer is into it, and the same in all threads.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    /// Returns the place that is all of a mapping.
    pub(crate) fn whole(mapping: &Arc<Mapping>) -> Self {
        Self { mapping: Arc::clone(mapping), start: mapping.start(), bytes: mapping.bytes() }
    }

    /// Returns a range inside this one.
    ///
    /// # Panics
    /// If the range is not inside. Offsets come from the layout, so that would be a bug here.
    pub(crate) fn part(&self, offset: usize, bytes: usize) -> Self {
        assert!(
            offset.checked_add(bytes).is_some_and(|end| end <= self.bytes),
            "part outside of its place"
        );
        // SAFETY: the offset lies inside this place, checked above, which lies inside the mapping.
        let start = unsafe { self.start.add(offset) };
        Self { mapping: Arc::clone(&self.mapping), start, bytes }
    }

    /// Returns the namespaces of the processes that share it.
    #[inline]
    pub(crate) fn namespaces(&self) -> Namespaces {
        self.mapping.namespaces
    }

    /// Returns true if this process, or an ancestor, opened the memory by its name.
    pub(crate) fn is_opened(&self) -> bool {
        self.mapping.opened
    }

    /// Returns the place that is all of the mapping.
    pub(crate) fn surroundings(&self) -> Self {
        Self::whole(&self.mapping)
    }

    /// Returns the number of bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies the bytes by a system call. A read by this process would be a data race with a thread
    /// that changes them through a reference. The kernel reads them as another process would.
    pub(crate) fn copy_by_kernel(&self) -> Result<Vec<u8>, Errno> {
        let mut copy = vec![0; self.bytes];
        let mut done = 0;
        while done < self.bytes {
            let from = RemoteIoVec { base: self.start.addr() + done, len: self.bytes - done };
            let to = &mut [IoSliceMut::new(&mut copy[done..])];
            match process_vm_readv(Pid::this(), to, &[from])? {
                0 => return Err(Errno::EFAULT),
                bytes => done += bytes,
            }
        }
        Ok(copy)
    }

    /// Returns where the range starts in this process. Valid for reads and writes of
    /// [`bytes`](Self::bytes) bytes while `self` lives.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }
}
