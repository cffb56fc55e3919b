//! How a child ends when its parent ends, and removes the segments that its parent left.
#![allow(unsafe_code)]

mod left;

use std::mem;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, close, getpid, getppid};

pub(crate) use self::left::LeftSegment;
use crate::sys::child::pidfd_open;
use crate::sys::generation::generation;
use crate::sys::name::DIRECTORY;
use crate::sys::proc::{Stamp, has_ended, is_ending};

/// The signal that a child gets when its parent is gone. On Linux only the init process uses it
/// otherwise.
pub(super) const ORPHANED: Signal = Signal::SIGPWR;
/// Exit code of a child that ends because its parent is gone.
pub(crate) const ABANDONED: i32 = 102;
/// How long a thread sleeps at a time while another thread is about to end the process.
const ENDING: Duration = Duration::from_millis(10);
/// How many segments, of this process and its parent together, orphans can remove. Further segments
/// stay until the next creator reclaims them.
const REMOVABLE: usize = 16;
/// Room for the longest path of an entry: the directory, a slash, a name of 255 bytes, a NUL.
const PATH_BYTES: usize = DIRECTORY.len() + 1 + 255 + 1;
/// Offset of the state in the header of a segment.
pub(crate) const STATE_OFFSET: usize = 12;
/// The state of a segment once its entry in `/dev/shm` is removed, or just before.
pub(crate) const REMOVED: u32 = 2;
static REMOVED_STATE: u32 = REMOVED;
/// The generation of a creator that executes another copy of the program. No process of this family
/// has this number.
const NO_GENERATION: u32 = 0;
/// Marks a slot that is being filled in. No file has this inode.
const CLAIMED: u64 = u64::MAX;

/// How long a child in another pid namespace than its parent waits for the end of the parent, after
/// the thread that forked it has ended.
const PARENT_ENDING_MS: u16 = 1000;

/// The parent of this process as it sees it: 0 if it was not forked here, or if the parent is in
/// another pid namespace. The signal handler reads it.
static PARENT: AtomicI32 = AtomicI32::new(0);
/// A descriptor of a parent in another pid namespace, readable once it has ended.
static UNSEEN_PARENT: AtomicI32 = AtomicI32::new(NONE);
/// The descriptor of no parent.
const NONE: RawFd = -1;
/// Entries in `/dev/shm` that this process or its parent created. A forked child inherits the list.
static SEGMENTS: [RemovableSegment; REMOVABLE] = [const { RemovableSegment::new() }; REMOVABLE];
/// True once a thread of this process removes the entries above, after which it ends the process.
/// A second thread, or the signal handler in the middle of the removal, would find the removal lock
/// taken and end the process too early.
static REMOVING: AtomicBool = AtomicBool::new(false);

/// An entry that a signal handler can remove: only atomics and system calls, no allocation.
struct RemovableSegment {
    /// Its path and a NUL. It belongs to another entry once the slot is reused: the inode decides.
    path: [AtomicU8; PATH_BYTES],
    /// 0 if the slot is free, [`CLAIMED`] while it is being filled in.
    inode: AtomicU64,
    /// The process that created it, by its [`generation`]: this one or its parent. A pid would be
    /// ambiguous, because a child in another pid namespace may have that of its parent.
    creator: AtomicU32,
    /// The pid of that process, and its start time.
    pid: AtomicI32,
    started: AtomicU64,
}

impl RemovableSegment {
    const fn new() -> Self {
        let path = [const { AtomicU8::new(0) }; PATH_BYTES];
        Self {
            path,
            inode: AtomicU64::new(0),
            creator: AtomicU32::new(0),
            pid: AtomicI32::new(0),
            started: AtomicU64::new(0),
        }
    }

    /// Makes this process, with this start time, the creator.
    fn adopt(&self, started: u64) {
        self.pid.store(getpid().as_raw(), Ordering::Release);
        self.started.store(started, Ordering::Release);
        self.creator.store(generation(), Ordering::Release);
    }

    /// Returns true if its creator, another process than this one, has ended.
    fn has_lost_its_creator(&self) -> bool {
        let pid = Pid::from_raw(self.pid.load(Ordering::Acquire));
        let stamp = Stamp { started: self.started.load(Ordering::Acquire), image: 0 };
        !matches!(self.inode.load(Ordering::Acquire), 0 | CLAIMED)
            && self.creator.load(Ordering::Acquire) != generation()
            && has_ended(pid, stamp)
    }

    fn note(&self, path: &Path) {
        // The last byte stays NUL, whatever the path is.
        for (byte, to) in
            path.as_os_str().as_bytes().iter().chain([&0]).zip(&self.path[..PATH_BYTES - 1])
        {
            to.store(*byte, Ordering::Relaxed);
        }
    }

    /// Removes the entry if there is one and its path still leads to its inode. Async-signal-safe.
    ///
    /// Siblings get here at the same moment. Between one sibling's check of the path and its
    /// removal, another sibling might remove the entry, and a new creator might create one of the
    /// same name. So a sibling takes the [`removal_lock`] on the inode before it checks. A process
    /// that has the lock removes the entry, or it wants to reclaim it and gives the lock back,
    /// because it has found this process alive. So a few attempts follow.
    fn remove(&self) {
        let path = self.path.as_ptr().cast::<libc::c_char>();
        // SAFETY: `path` is static and its last byte is always NUL; open(2) is async-signal-safe.
        // The descriptor is not closed: the process is ending.
        let entry = unsafe { libc::open(path, libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK) };
        let lock = removal_lock();
        // SAFETY: fcntl(2) is async-signal-safe, refuses a bad descriptor, and only reads the lock.
        let locked = || unsafe { libc::fcntl(entry, libc::F_OFD_SETLK, &raw const lock) } == 0;
        // SAFETY: fstat(2) is async-signal-safe, and refuses a bad descriptor.
        let opened = self.is_in(|status| unsafe { libc::fstat(entry, status) });
        // SAFETY: as for open(2) above.
        let is_there = || self.is_in(|status| unsafe { libc::stat(path, status) });
        let mut attempts = REMOVAL_ATTEMPTS;
        while opened && is_there() && !locked() && attempts > 0 {
            attempts -= 1;
            // SAFETY: poll(2) is async-signal-safe; without descriptors it only waits.
            unsafe { libc::poll(ptr::null_mut(), 0, 1) };
        }
        if opened && attempts > 0 && is_there() {
            // Programs that opened the segment by its name learn that they wait in vain.
            let mark = (&raw const REMOVED_STATE).cast();
            // SAFETY: pwrite(2) is async-signal-safe, and reads the four bytes of a static.
            unsafe { libc::pwrite(entry, mark, size_of::<u32>(), STATE_OFFSET as libc::off_t) };
            // SAFETY: as for open(2) above.
            unsafe { libc::unlink(path) };
        }
    }

    /// Returns true if a status call succeeds and reports this inode.
    fn is_in(&self, call: impl FnOnce(*mut libc::stat) -> libc::c_int) -> bool {
        // SAFETY: an all-zero `stat` is a valid value of that plain C structure.
        let mut status: libc::stat = unsafe { mem::zeroed() };
        call(&raw mut status) == 0 && status.st_ino == self.inode.load(Ordering::Acquire)
    }
}

/// Attempts to take the [`removal_lock`], 1 ms apart. A process that reclaims has it for some
/// microseconds.
pub(crate) const REMOVAL_ATTEMPTS: u32 = 100;

/// Returns the lock that a process other than the creator must hold on the inode of an entry while
/// it removes the entry. It belongs to the open file, not to the process (`F_OFD_SETLK`).
pub(crate) fn removal_lock() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Records an entry that this process, with this start time, created, so that its children remove
/// it if this process is killed.
pub(crate) fn remember_segment(path: &Path, inode: u64, started: u64) {
    let Some(slot) = claim_slot() else { return };
    slot.note(path);
    slot.adopt(started);
    slot.inode.store(inode, Ordering::Release);
}

/// Returns a slot that no entry has any more, for the caller to fill in.
fn claim_slot() -> Option<&'static RemovableSegment> {
    SEGMENTS.iter().find(|slot| {
        slot.inode.compare_exchange(0, CLAIMED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    })
}

/// Takes over the entries that this process has inherited from a creator that has ended: a parent
/// that made a daemon of this process. So the children of this process remove them if it is killed.
fn adopt_segments() {
    for slot in SEGMENTS.iter().filter(|slot| slot.has_lost_its_creator()) {
        // Without a start time the entry would count as lost again at the next fork.
        if let Ok(own) = Stamp::own() {
            slot.adopt(own.started);
        }
    }
}

/// Forgets the entry with this inode, after its removal.
pub(crate) fn forget_segment(inode: u64) {
    for slot in &SEGMENTS {
        // Fails in all slots but its own.
        let _ = slot.inode.compare_exchange(inode, 0, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// The parent of a new child. It is made before the fork: afterwards the parent may be dead, and
/// its pid belong to another process.
#[derive(Clone, Copy)]
pub(crate) struct Parent {
    pid: Pid,
    generation: u32,
}

impl Parent {
    /// Returns this process as the parent of the children that it is about to fork.
    /// The descriptor becomes readable when it has ended.
    pub(crate) fn of_children() -> Result<(Self, OwnedFd), Errno> {
        adopt_segments();
        let parent = Self { pid: getpid(), generation: generation() };
        Ok((parent, pidfd_open(parent.pid)?))
    }

    /// Returns the parent of a process that executes a program of its own. The parent's entries
    /// are those that the process [took over](LeftSegment::take_over).
    pub(crate) fn of_spawned(pid: Pid) -> Self {
        Self { pid, generation: NO_GENERATION }
    }
}

/// Forgets, in a new child, the entries that its parent inherited. Neither the child nor its own
/// children would ever remove them, and they would fill the list after a few generations.
pub(super) fn forget_segments_not_of(parent: Parent) {
    for slot in &SEGMENTS {
        if slot.creator.load(Ordering::Acquire) != parent.generation {
            slot.inode.store(0, Ordering::Release);
        }
    }
}

/// Removes the entries of the parent, in a child that ends by itself, if the parent is ending too.
/// The parent's pipes close before the kernel signals its death. A child that ends because of a
/// closed pipe would otherwise be gone before the signal arrives.
pub(super) fn remove_segments_of_ending(parent: Parent) {
    let is_of_parent = |slot: &&RemovableSegment| {
        slot.creator.load(Ordering::Acquire) == parent.generation
            && slot.inode.load(Ordering::Acquire) != 0
    };
    let mut segments = SEGMENTS.iter().filter(is_of_parent).peekable();
    // The pid of a parent in another namespace means nothing here.
    let is_ending = || PARENT.load(Ordering::Acquire) != 0 && is_ending(parent.pid);
    if segments.peek().is_some() && (parent_has_ended(PollTimeout::ZERO) || is_ending()) {
        while REMOVING.swap(true, Ordering::AcqRel) {
            // Another thread handles the signal and is about to end this process.
            thread::sleep(ENDING);
        }
        segments.for_each(RemovableSegment::remove);
    }
}

/// Returns true if the parent of this process has ended. Async-signal-safe.
///
/// A process whose parent ends gets another one, unless the parent is in another pid namespace: it
/// is 0 before and after. Then a descriptor tells, but slightly later than the signal, so this
/// waits for it.
fn parent_has_ended(wait: PollTimeout) -> bool {
    let unseen = UNSEEN_PARENT.load(Ordering::Acquire);
    if unseen == NONE || getppid() != Pid::from_raw(0) {
        return getppid().as_raw() != PARENT.load(Ordering::Acquire);
    }
    // SAFETY: the descriptor stays open for the rest of the process.
    let ended = unsafe { BorrowedFd::borrow_raw(unseen) };
    let ended = &mut [PollFd::new(ended, PollFlags::POLLIN)];
    loop {
        match poll(ended, wait) {
            Err(Errno::EINTR) => {}
            ready => return ready.is_ok_and(|ready| ready > 0),
        }
    }
}

/// Runs in a child when a signal says that its parent is gone: removes the segments of the parent
/// and its own, and ends the process at once. Makes only async-signal-safe calls. If another
/// process sent the signal, this does nothing.
extern "C" fn orphaned(_signal: libc::c_int) {
    if !parent_has_ended(PARENT_ENDING_MS.into()) || REMOVING.swap(true, Ordering::AcqRel) {
        return;
    }
    SEGMENTS.iter().for_each(RemovableSegment::remove);
    exit_now(ABANDONED)
}

/// Ends the process without running destructors or exit handlers. Those belong to the parent: this
/// process has only copies.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) does not return and is async-signal-safe.
    unsafe { libc::_exit(code) }
}

/// Arranges that this process ends when its parent does. `ended` is readable once the parent has
/// ended.
pub(super) fn end_with(parent: Parent, ended: OwnedFd) -> Result<(), Errno> {
    // The descriptor that this process inherited is of the parent of its parent.
    let inherited = UNSEEN_PARENT.swap(NONE, Ordering::AcqRel);
    if inherited != NONE {
        close(inherited)?;
    }
    // A parent that is dead already has been replaced by a process of this namespace.
    let is_unseen = getppid() == Pid::from_raw(0);
    if is_unseen {
        UNSEEN_PARENT.store(ended.into_raw_fd(), Ordering::Release);
    }
    PARENT.store(if is_unseen { 0 } else { parent.pid.as_raw() }, Ordering::Release);
    let action = SigAction::new(SigHandler::Handler(orphaned), SaFlags::SA_RESTART, SigSet::all());
    // SAFETY: the handler uses async-signal-safe calls and atomics only.
    unsafe { sigaction(ORPHANED, &action) }?;
    prctl::set_pdeathsig(ORPHANED)?;
    // If the parent died before the call above, no signal comes.
    if parent_has_ended(PollTimeout::ZERO) {
        orphaned(ORPHANED as libc::c_int);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, remove_file};
    use std::os::unix::fs::MetadataExt;

    use nix::fcntl::{FcntlArg, fcntl};

    use super::*;

    #[test]
    fn the_pages_state_the_numbers_of_the_code() {
        let forks = include_str!("../../docs/fork-safety.md");
        let limits = include_str!("../../docs/limits.md");
        assert!(forks.contains(&format!("| {ABANDONED} | its parent was gone |")));
        assert!(forks.contains(&format!("sends it {ORPHANED} (")));
        assert!(limits.contains(&format!("at most {REMOVABLE} of its parent and itself together")));
    }

    #[test]
    fn an_entry_that_another_process_is_removing_is_left_to_that_process() {
        let path = Path::new("/dev/shm").join(format!("mp-unit.fork.{}", std::process::id()));
        let made = File::create_new(&path).unwrap();
        let slot = RemovableSegment::new();
        slot.note(&path);
        slot.inode.store(made.metadata().unwrap().ino(), Ordering::Release);

        fcntl(&made, FcntlArg::F_OFD_SETLK(&removal_lock())).unwrap();
        slot.remove();
        assert!(path.exists(), "removed although another process held the removal lock");
        // The other process has removed it, and a new creator has created another entry.
        remove_file(&path).unwrap();
        drop((made, File::create_new(&path).unwrap()));
        slot.remove();
        assert!(path.exists(), "the entry of another creator was removed");

        slot.inode.store(fs::metadata(&path).unwrap().ino(), Ordering::Release);
        slot.remove();
        assert!(!path.exists());
    }
}
