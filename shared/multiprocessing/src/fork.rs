//! The fork call, and what a child must know before it runs: how to end with its parent.
#![allow(unsafe_code)]

use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, io, mem, ptr, thread};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask,
};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use crate::barrier::leave_all;
use crate::exit::Exit;
use crate::name::DIRECTORY;
use crate::proc::is_ending;

/// The signal a child gets when its parent is gone. Nobody else uses it for anything on a Linux process that is not init.
const ORPHANED: Signal = Signal::SIGPWR;
/// Exit code of a child that panicked, as the standard library's runtime gives.
const PANICKED: i32 = 101;
/// Exit code of a child that ends because its parent is gone.
const ABANDONED: i32 = 102;
/// How long a thread that was joined may still be listed: its joiner is woken a moment before it is gone.
const THREAD_LEAVING: Duration = Duration::from_millis(10);
/// How many segments, of this process and its parent together, orphans can remove. Further ones stay until the next creator
/// reclaims them.
const REMOVABLE: usize = 16;
/// Room for the longest path of an entry: the directory, a slash, a name of 255 bytes, a NUL.
const PATH_BYTES: usize = DIRECTORY.len() + 1 + 255 + 1;
/// No file has this inode.
const CLAIMED: u64 = u64::MAX;

/// Parent of this process if it was forked here, 0 otherwise. Read by the signal handler.
static PARENT: AtomicI32 = AtomicI32::new(0);
/// How many forks lie between this process and the first one of the family. Tells an inherited guard from one's own.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// Entries in `/dev/shm` that this process or its parent made; a forked child inherits the list.
static SEGMENTS: [RemovableSegment; REMOVABLE] = [const { RemovableSegment::new() }; REMOVABLE];

/// Whether a thread of this process removes the entries above, and ends it then. Another one, or the handler in the middle of that,
/// would find the removal lock taken and end the process too early.
static REMOVING: AtomicBool = AtomicBool::new(false);

/// An entry that a signal handler can remove: only atomics and system calls, nothing that allocates.
struct RemovableSegment {
    /// Its path and a NUL. Another one's once the slot is used again: the inode tells.
    path: [AtomicU8; PATH_BYTES],
    /// 0 where the slot is free, [`CLAIMED`] while it is filled in.
    inode: AtomicU64,
    /// Who made it: this process or its parent.
    creator: AtomicI32,
}

impl RemovableSegment {
    const fn new() -> Self {
        let path = [const { AtomicU8::new(0) }; PATH_BYTES];
        Self { path, inode: AtomicU64::new(0), creator: AtomicI32::new(0) }
    }

    fn note(&self, path: &Path) {
        // The last byte stays NUL, whatever comes.
        for (byte, to) in
            path.as_os_str().as_bytes().iter().chain([&0]).zip(&self.path[..PATH_BYTES - 1])
        {
            to.store(*byte, Ordering::Relaxed);
        }
    }

    /// Removes the entry if there is one and the path still leads to the inode it was made with. Async-signal-safe.
    ///
    /// Siblings come here at the same moment. Between a look at the path and its removal one of them might remove the entry and
    /// somebody else make another one of the name; so whoever removes an entry has the [`removal_lock`] on its inode from before
    /// the look, and who does not get it leaves the entry to the one who has it.
    fn remove(&self) {
        let path = self.path.as_ptr().cast::<libc::c_char>();
        // SAFETY: `path` is static and its last byte always NUL; open(2) is async-signal-safe. Not closed: the process is ending.
        let entry = unsafe { libc::open(path, libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK) };
        let lock = removal_lock();
        // SAFETY: fcntl(2) is async-signal-safe, refuses what is no descriptor, and only reads the lock.
        let locked = || unsafe { libc::fcntl(entry, libc::F_OFD_SETLK, &raw const lock) } == 0;
        // SAFETY: fstat(2) is async-signal-safe, and refuses what is no descriptor.
        let opened = self.is_in(|status| unsafe { libc::fstat(entry, status) });
        // SAFETY: as for open(2) above.
        let is_there = || self.is_in(|status| unsafe { libc::stat(path, status) });
        if opened && locked() && is_there() {
            // SAFETY: as for open(2) above.
            unsafe { libc::unlink(path) };
        }
    }

    /// Whether a status call succeeds and tells of this inode.
    fn is_in(&self, call: impl FnOnce(*mut libc::stat) -> libc::c_int) -> bool {
        // SAFETY: an all-zero `stat` is a valid value of that plain C structure.
        let mut status: libc::stat = unsafe { mem::zeroed() };
        call(&raw mut status) == 0 && status.st_ino == self.inode.load(Ordering::Acquire)
    }
}

/// The lock on the inode of an entry that whoever removes it must have, unless its creator does. Of the open file, not of the process
/// (`F_OFD_SETLK`).
pub(crate) fn removal_lock() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Notes an entry of this process's making, so that its children remove it if this process is killed.
pub(crate) fn remember_segment(path: &Path, inode: u64) {
    let claim = |slot: &&RemovableSegment| {
        slot.inode.compare_exchange(0, CLAIMED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    };
    let Some(slot) = SEGMENTS.iter().find(claim) else { return };
    slot.note(path);
    slot.creator.store(getpid().as_raw(), Ordering::Release);
    slot.inode.store(inode, Ordering::Release);
}

/// Forgets the entry with this inode: it is removed.
pub(crate) fn forget_segment(inode: u64) {
    for slot in &SEGMENTS {
        // Fails in all slots but its own.
        let _ = slot.inode.compare_exchange(inode, 0, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// Forgets, in a new child, the entries that its parent inherited: neither it nor its children would ever remove them, and after a
/// few generations they would fill the list.
fn forget_segments_not_of(parent: Pid) {
    for slot in &SEGMENTS {
        if slot.creator.load(Ordering::Acquire) != parent.as_raw() {
            slot.inode.store(0, Ordering::Release);
        }
    }
}

/// Removes, in a child that ends by itself, the entries of its parent if that is about to end: the signal that tells of it comes after
/// the parent's pipes were closed, for which the child may be ending, and then it would come too late.
fn remove_segments_of_ending(parent: Pid) {
    let is_of_parent = |slot: &&RemovableSegment| {
        slot.creator.load(Ordering::Acquire) == parent.as_raw()
            && slot.inode.load(Ordering::Acquire) != 0
    };
    let mut segments = SEGMENTS.iter().filter(is_of_parent).peekable();
    if segments.peek().is_some() && (getppid() != parent || is_ending(parent)) {
        while REMOVING.swap(true, Ordering::AcqRel) {
            // Another thread has got the signal, and ends this process in a moment.
            thread::sleep(THREAD_LEAVING);
        }
        segments.for_each(RemovableSegment::remove);
    }
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// A forked child has only the forking thread; locks that others hold at that moment stay locked in it for ever.
    #[error("fork from a process with {threads} threads: start processes before threads")]
    ManyThreads {
        /// How many there are.
        threads: usize,
    },
    /// `/proc/self/task` could not be read, so the threads are unknown.
    #[error("counting the threads in /proc/self/task: {0}")]
    Threads(io::Error),
    /// The operating system refused: too many processes or too little memory, mostly.
    #[error("fork: {0}")]
    Fork(Errno),
}

/// Runs in a child when a signal says that its parent is gone: removes the parent's segments and its own, and ends, wherever it is.
/// Only async-signal-safe calls. A signal sent by anybody else is ignored.
extern "C" fn orphaned(_signal: libc::c_int) {
    // SAFETY: getppid(2) is async-signal-safe and cannot fail.
    let parent = unsafe { libc::getppid() };
    if parent == PARENT.load(Ordering::Acquire) || REMOVING.swap(true, Ordering::AcqRel) {
        return;
    }
    SEGMENTS.iter().for_each(RemovableSegment::remove);
    exit_now(ABANDONED)
}

/// Ends the process without running destructors or exit handlers: those belong to the parent, whose copies this process has.
fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) does not return and is async-signal-safe.
    unsafe { libc::_exit(code) }
}

/// Threads of this process. One that is just ending is given a moment to be gone.
fn threads() -> io::Result<usize> {
    let count = || Ok(fs::read_dir("/proc/self/task")?.count());
    if count()? == 1 {
        return Ok(1);
    }
    thread::sleep(THREAD_LEAVING);
    count()
}

/// Number of forks behind this process; it differs from a guard's when the guard was inherited.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Forks; the child runs `body` with the signal mask `mask` and exits with the code it returns. If the parent is gone, the
/// child ends at once.
pub(crate) fn fork_child(mask: &SigSet, body: impl FnOnce() -> i32) -> Result<Pid, SpawnError> {
    let threads = threads().map_err(SpawnError::Threads)?;
    if threads != 1 {
        return Err(SpawnError::ManyThreads { threads });
    }
    // What is buffered now would be written by both.
    let _ = io::stdout().flush();
    let parent = getpid();
    // No signal may reach the child before it has its own handlers: it would run the parent's.
    let mut saved = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut saved))
        .map_err(SpawnError::Fork)?;
    // SAFETY: this process has one thread (checked above), so no lock of the allocator or of stdio is held by a thread that
    // does not exist in the child, and the child may go on like any process.
    let forked = unsafe { fork() };
    match forked {
        Ok(ForkResult::Child) => {
            let code = catch_unwind(AssertUnwindSafe(|| run_child(parent, mask, body)));
            let code = code.unwrap_or_else(|payload| {
                // Its destructor might panic, into frames that belong to the parent.
                mem::forget(payload);
                PANICKED
            });
            let _ = io::stdout().flush();
            remove_segments_of_ending(parent);
            exit_now(code)
        }
        Ok(ForkResult::Parent { child }) => {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&saved), None).map_err(SpawnError::Fork)?;
            Ok(child)
        }
        Err(errno) => {
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&saved), None);
            Err(SpawnError::Fork(errno))
        }
    }
}

fn run_child(parent: Pid, mask: &SigSet, body: impl FnOnce() -> i32) -> i32 {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    forget_segments_not_of(parent);
    let mut mask = *mask;
    // Blocked in the parent, maybe; the child would not hear of its end.
    mask.remove(ORPHANED);
    let unblock = |()| sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None);
    if let Err(errno) = end_with(parent).and_then(unblock) {
        // Without this the child could outlive its parent unseen, which is worse than not starting.
        return errno as i32;
    }
    let code = body();
    leave_all();
    code
}

/// Arranges that this process ends when `parent` does.
fn end_with(parent: Pid) -> Result<(), Errno> {
    PARENT.store(parent.as_raw(), Ordering::Release);
    let action = SigAction::new(SigHandler::Handler(orphaned), SaFlags::SA_RESTART, SigSet::all());
    // SAFETY: the handler uses async-signal-safe calls and atomics only.
    unsafe { sigaction(ORPHANED, &action) }?;
    prctl::set_pdeathsig(ORPHANED)?;
    // The parent may have died before the line above; then no signal comes.
    if getppid() != parent {
        orphaned(ORPHANED as libc::c_int);
    }
    Ok(())
}

/// A descriptor that becomes readable when the child `pid` ends. The caller has not waited for the child yet, so that the number
/// still means this child.
pub(crate) fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open(2) takes two integers and touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = Errno::result(fd)? as RawFd;
    // SAFETY: the call above just made it and nobody else owns it. The kernel sets close-on-exec on it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process that a descriptor of [`pidfd_open`] is of, and to no other: whoever reaped it meanwhile, its number
/// may be somebody else's.
pub(crate) fn pidfd_send_signal(process: BorrowedFd, signal: Signal) -> Result<(), Errno> {
    let nothing_else = ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal(2) reads what the pointer points to, and null is allowed: the signal is like one of kill(2) then.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal as i32,
            nothing_else,
            0,
        )
    };
    Errno::result(sent).map(drop)
}

/// Reaps the child that a descriptor of [`pidfd_open`] is of, if it has ended.
pub(crate) fn reap(child: BorrowedFd) -> Result<Option<Exit>, Errno> {
    let ended = wait(libc::P_PIDFD, child.as_raw_fd().cast_unsigned(), 0)?;
    Ok(ended.map(|(_, exit)| exit))
}

/// A child of this process that has ended and is not reaped yet, whatever ended it.
pub(crate) fn ended_child() -> Option<Pid> {
    wait(libc::P_ALL, 0, libc::WNOWAIT).ok().flatten().map(|(pid, _)| pid)
}

/// Reaps a child that [`ended_child`] has found and nobody knows.
pub(crate) fn reap_unknown(child: Pid) {
    let _ = wait(libc::P_PID, child.as_raw().cast_unsigned(), 0);
}

/// One of these children that has ended, and how. Not by nix: it has no names for real-time signals and would lose the end by one.
fn wait(which: libc::idtype_t, id: libc::id_t, more: i32) -> Result<Option<(Pid, Exit)>, Errno> {
    // SAFETY: an all-zero `siginfo_t` is a valid value of that plain C structure.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    // SAFETY: `info` is valid for writes.
    let result =
        unsafe { libc::waitid(which, id, &raw mut info, libc::WEXITED | libc::WNOHANG | more) };
    Errno::result(result)?;
    // SAFETY: waitid(2) fills it in about a child that ended, and leaves it 0 when there is none.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    let exit = || match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        code => Exit::by_signal(status, code == libc::CLD_DUMPED),
    };
    Ok((pid != 0).then(|| (Pid::from_raw(pid), exit())))
}

/// Ignores a signal, or gives it its default action back.
pub(crate) fn set_disposition(signal: Signal, handler: SigHandler) -> Result<(), Errno> {
    debug_assert!(
        !matches!(handler, SigHandler::Handler(_) | SigHandler::SigAction(_)),
        "no handlers here"
    );
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring and the default action run no code of ours.
    unsafe { sigaction(signal, &action) }.map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, remove_file};
    use std::os::unix::fs::MetadataExt;

    use nix::fcntl::{FcntlArg, fcntl};

    use super::*;

    #[test]
    fn the_pages_tell_the_numbers_of_the_code() {
        let forks = include_str!("../docs/fork-safety.md");
        let limits = include_str!("../docs/limits.md");
        assert!(forks.contains(&format!("is given {} ms", THREAD_LEAVING.as_millis())));
        assert!(forks.contains(&format!("| {PANICKED} | it panicked |")));
        assert!(forks.contains(&format!("| {ABANDONED} | its parent was gone |")));
        assert!(forks.contains(&format!("sends it {ORPHANED} (")));
        assert!(limits.contains(&format!("at most {REMOVABLE} of its parent and itself together")));
    }

    #[test]
    fn an_entry_that_another_one_is_removing_is_left_to_it() {
        let path = Path::new("/dev/shm").join(format!("mp-unit.fork.{}", std::process::id()));
        let made = File::create_new(&path).unwrap();
        let slot = RemovableSegment::new();
        slot.note(&path);
        slot.inode.store(made.metadata().unwrap().ino(), Ordering::Release);

        fcntl(&made, FcntlArg::F_OFD_SETLK(&removal_lock())).unwrap();
        slot.remove();
        assert!(path.exists(), "it was removed though another one had looked and was about to");
        // The other one has removed it, and somebody has made a new one.
        remove_file(&path).unwrap();
        drop((made, File::create_new(&path).unwrap()));
        slot.remove();
        assert!(path.exists(), "another entry was removed");

        slot.inode.store(fs::metadata(&path).unwrap().ino(), Ordering::Release);
        slot.remove();
        assert!(!path.exists());
    }
}
