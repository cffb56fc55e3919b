//! What `/proc` reports about processes: their identity, and which of them map a segment.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::SplitAsciiWhitespace;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::sys::child::pidfd_open;
use crate::sys::name::DIRECTORY;

/// The kernel's flag of a thread that is exiting (`PF_EXITING`).
const EXITING: u32 = 4;

/// Returns the processes other than this one that map a file of `/dev/shm`, by its inode.
pub(crate) fn attached(inode: u64) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id().cast_signed();
    let pids =
        processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut attached: Vec<_> =
        pids.filter(|&pid| pid != own && maps(pid, inode)).map(Pid::from_raw).collect();
    attached.sort();
    attached
}

/// Returns true if a process maps the inode from `/dev/shm`. A line of `/proc/PID/maps` is: range,
/// permissions, offset, device, inode, path.
pub(crate) fn maps(pid: i32, inode: u64) -> bool {
    // The paths of other files in it may be invalid text.
    let Ok(maps) = fs::read(format!("/proc/{pid}/maps")) else { return false };
    // Resolves the directory, which is a link on some systems.
    let Ok(directory) = fs::canonicalize(DIRECTORY) else { return false };
    String::from_utf8_lossy(&maps).lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        let same = fields.nth(4).and_then(|field| field.parse().ok()) == Some(inode);
        same && fields.next().is_some_and(|path| Path::new(path).starts_with(&directory))
    })
}

/// What distinguishes a process from all others with its pid, at other times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When it started, in clock ticks since boot.
    pub(crate) started: u64,
    /// The program that it executes: a number made of the addresses of its code and its stack,
    /// which the kernel chooses at random at each exec(3). 0 if they are not visible: to other
    /// users, or when the main thread has ended.
    pub(crate) image: u32,
}

impl Stamp {
    /// Reads it from `/proc/PID/stat`. Returns `None` if the process is dead.
    fn parse(stat: &[u8]) -> Option<Self> {
        let stat = String::from_utf8_lossy(stat);
        let fields: Vec<_> = fields(&stat).collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        // The state is that of the main thread. When that has ended, the process lives as long as
        // it has other threads. After that it is a zombie: dead, but its parent has not reaped it.
        let (state, threads) = (fields.first()?, number(20)?);
        if matches!(*state, "Z" | "X") && threads <= 1 {
            return None;
        }
        let image = match (number(26)?, number(28)?) {
            (_, 0) => 0,
            (code, stack) => ((stack >> 4) as u32 ^ ((code >> 12) as u32).rotate_left(16)).max(1),
        };
        Some(Self { started: number(22)?, image })
    }

    /// Returns the stamp of this process.
    pub(crate) fn own() -> Result<Self, Errno> {
        // Not by the pid, because `/proc` may show the processes of another pid namespace.
        let stat = fs::read("/proc/self/stat");
        let stat =
            stat.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        Self::parse(&stat).ok_or(Errno::EIO)
    }

    /// Returns true if these are certainly not the same process executing the same program.
    pub(crate) fn differs_from(self, other: Self) -> bool {
        let differs = self.image != other.image && self.image != 0 && other.image != 0;
        self.started != other.started || differs
    }
}

/// Returns the stamp of the process that has this number now. `None` if the process is gone.
pub(crate) fn stamp(pid: Pid) -> Option<Stamp> {
    Stamp::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Returns the parent of a process.
pub(crate) fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let parent = fields(&String::from_utf8_lossy(&stat)).nth(1)?.parse().ok()?; // field 4
    Some(Pid::from_raw(parent))
}

/// Returns true if the process with this stamp is certainly gone, or executes another program. A
/// process that cannot be examined counts as alive.
pub(crate) fn has_ended(pid: Pid, stamp: Stamp) -> bool {
    if pid.as_raw() <= 0 {
        return true;
    }
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => Stamp::parse(&stat).is_none_or(|now| now.differs_from(stamp)),
        Err(_) => has_ended_unseen(pid),
    }
}

/// Works like [`has_ended`] for a process that `/proc` does not show: it may be gone, or hidden
/// (`hidepid`), or this process may have no free descriptor.
fn has_ended_unseen(pid: Pid) -> bool {
    let Ok(process) = pidfd_open(pid) else { return kill(pid, None) == Err(Errno::ESRCH) };
    let ended = &mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(ended, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Returns true if all threads of a process are ending: it was killed or exits. The kernel is about
/// to close its files, or has closed them, and may not have signalled its children yet. Returns
/// false if the process cannot be examined or found: `/proc` may hide it (`hidepid`).
pub(crate) fn is_ending(pid: Pid) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let ends = |thread: PathBuf| match fs::read(thread.join("stat")) {
        Ok(stat) => flags(&stat).is_some_and(|flags| flags & EXITING != 0),
        // The thread ended between open and read.
        Err(error) => {
            error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
        }
    };
    threads.flatten().all(|thread| ends(thread.path()))
}

/// What a process does at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Activity {
    /// The letter in `/proc/PID/stat`: `R` runnable, `S` waits, `D` waits uninterruptibly, `T` and
    /// `t` stopped, `Z` ended.
    pub(crate) state: char,
    /// Processor time since its start, in steps of 10 ms.
    pub(crate) processor: Duration,
}

/// Returns what a process does now; `None` if it is gone.
pub(crate) fn activity(pid: Pid) -> Option<Activity> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let mut fields = fields(&stat);
    let state = fields.next()?.chars().next()?;
    let (user, system) = (fields.nth(10)?, fields.next()?); // fields 14 and 15
    let ticks = user.parse::<u64>().ok()? + system.parse::<u64>().ok()?;
    // Linux reports in units of USER_HZ, which is 100 on every machine.
    Some(Activity { state, processor: Duration::from_millis(10 * ticks) })
}

/// Returns the kernel's flags of a thread from its `stat`.
fn flags(stat: &[u8]) -> Option<u32> {
    fields(&String::from_utf8_lossy(stat)).nth(6)?.parse().ok() // field 9
}

/// Returns what follows the command in parentheses, from the third field on. The command may
/// contain anything, so the fields count from the last closing parenthesis.
fn fields(stat: &str) -> SplitAsciiWhitespace<'_> {
    stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn an_image_differs_only_if_both_are_known() {
        let stamp = |started, image| Stamp { started, image };
        assert!(Stamp::own().unwrap().image != 0);
        for (a, b, differs) in [
            (stamp(1, 2), stamp(1, 2), false),
            (stamp(1, 2), stamp(1, 3), true),
            (stamp(1, 2), stamp(1, 0), false),
            (stamp(1, 0), stamp(2, 0), true),
        ] {
            assert_eq!((a.differs_from(b), b.differs_from(a)), (differs, differs), "{a:?} {b:?}");
        }
    }

    #[test]
    fn the_activity_of_a_process_is_its_state_and_its_processor_time() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let state = |expected| while activity(pid).unwrap().state != expected {};
        state('S');
        kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
        state('T');
        child.kill().unwrap();
        state('Z');
        child.wait().unwrap();
        assert_eq!(activity(pid), None);

        let this = || activity(Pid::this()).unwrap().processor;
        let before = this();
        while this() == before {}
        assert!(this() - before < Duration::from_secs(10), "{before:?} to {:?}", this());
    }

    #[test]
    fn a_process_is_ending_if_it_has_ended_and_is_not_reaped() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        assert!(!is_ending(pid) && stamp(pid).is_some() && !has_ended_unseen(pid));
        drop(child.stdin.take());
        while stamp(pid).is_some() {
            std::thread::yield_now();
        }
        assert!(is_ending(pid) && has_ended_unseen(pid));
        child.wait().unwrap();
        assert!(has_ended_unseen(pid) && has_ended(Pid::from_raw(0), Stamp::own().unwrap()));
        assert!(!is_ending(pid) && !is_ending(Pid::from_raw(i32::MAX)));
    }
}
