//! How a process watches, signals and reaps its children.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::{mem, ptr};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::sys::exit::Exit;

/// Opens a descriptor that becomes readable when the process `pid` has ended with all its threads.
/// If it is a child, the caller must not have reaped it yet, so that the pid still refers to it.
pub(crate) fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open(2) takes two integers and touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = Errno::result(fd)? as RawFd;
    // SAFETY: the call above just made the descriptor, so nothing else owns it. The kernel sets
    // close-on-exec on it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process that a descriptor of [`pidfd_open`] refers to. Unlike kill(2), it
/// never reaches another process that has the reused pid of a reaped child.
pub(crate) fn pidfd_send_signal(process: BorrowedFd, signal: Signal) -> Result<(), Errno> {
    let no_details = ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal(2) only reads what the pointer points to, and accepts null: the
    // signal is then like one of kill(2).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal as i32,
            no_details,
            0,
        )
    };
    Errno::result(sent).map(drop)
}

/// Reaps the child that a descriptor of [`pidfd_open`] refers to, if it has ended.
pub(crate) fn reap(child: BorrowedFd) -> Result<Option<Exit>, Errno> {
    let ended = wait(libc::P_PIDFD, child.as_raw_fd().cast_unsigned(), 0)?;
    Ok(ended.map(|(_, exit)| exit))
}

/// Returns a child of this process that has ended and is not reaped yet.
pub(crate) fn ended_child() -> Option<Pid> {
    wait(libc::P_ALL, 0, libc::WNOWAIT).ok().flatten().map(|(pid, _)| pid)
}

/// Reaps a child that [`ended_child`] returned and that this library did not start.
pub(crate) fn reap_unknown(child: Pid) {
    let _ = wait(libc::P_PID, child.as_raw().cast_unsigned(), 0);
}

/// Looks for one of these children that has ended, and returns how it ended. This does not use nix,
/// which has no names for real-time signals and would not report the end of a child by one of them.
fn wait(which: libc::idtype_t, id: libc::id_t, more: i32) -> Result<Option<(Pid, Exit)>, Errno> {
    // SAFETY: an all-zero `siginfo_t` is a valid value of that plain C structure.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    // SAFETY: `info` is valid for writes.
    let result =
        unsafe { libc::waitid(which, id, &raw mut info, libc::WEXITED | libc::WNOHANG | more) };
    Errno::result(result)?;
    // SAFETY: waitid(2) fills it in about a child that ended, and leaves it 0 if there is none.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    let exit = || match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        code => Exit::by_signal(status, code == libc::CLD_DUMPED),
    };
    Ok((pid != 0).then(|| (Pid::from_raw(pid), exit())))
}
