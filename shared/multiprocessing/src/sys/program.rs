//! The program that this process executes: where its code is, and how a child executes it again.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::{fs, io, slice};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Pid, getppid};
use serde::{Deserialize, Serialize};

use crate::sys::proc::is_ending;

/// The file that this process executes, even if it was replaced or removed since.
const EXECUTED: &str = "/proc/self/exe";

/// Identifies the file that a process executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramFile {
    device: u64,
    inode: u64,
}

impl ProgramFile {
    /// Returns the file that this process executes.
    pub(crate) fn own() -> io::Result<Self> {
        let file = fs::metadata(EXECUTED)?;
        Ok(Self { device: file.dev(), inode: file.ino() })
    }
}

/// The code of the program itself, without its libraries. Every process that executes the same file
/// has the same code at the same distance from the start of the program.
#[derive(Debug)]
pub(crate) struct ProgramCode {
    /// The address at which the kernel has loaded the program, minus the address in its file.
    start: usize,
    /// Addresses of executable segments.
    ranges: Vec<Range<usize>>,
}

impl ProgramCode {
    pub(crate) fn own() -> Self {
        // SAFETY: getauxval(3) takes a number and reads memory that never changes.
        let headers = unsafe { libc::getauxval(libc::AT_PHDR) } as usize;
        // SAFETY: as above.
        let count = unsafe { libc::getauxval(libc::AT_PHNUM) } as usize;
        if headers == 0 {
            return Self { start: 0, ranges: Vec::new() };
        }
        // SAFETY: the kernel has loaded this many program headers at this address, and nothing
        // unloads or changes them while the process executes the program.
        let headers = unsafe { slice::from_raw_parts(headers as *const libc::Elf64_Phdr, count) };
        let own = headers.iter().find(|header| header.p_type == libc::PT_PHDR);
        // A program that is linked statically for fixed addresses has no such header.
        let start =
            own.map_or(0, |own| (headers.as_ptr() as usize).wrapping_sub(own.p_vaddr as usize));
        Self { start, ranges: code_ranges(start, headers).collect() }
    }

    /// Returns where the program starts.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Returns the place of the code at this address, or `None` if a library contains it.
    pub(crate) fn place(&self, address: usize) -> Option<u64> {
        self.contains(address).then(|| address.wrapping_sub(self.start) as u64)
    }

    /// Returns the address of the code at this place, or `None` if there is no code.
    pub(crate) fn address(&self, place: u64) -> Option<usize> {
        let address = self.start.wrapping_add(place as usize);
        self.contains(address).then_some(address)
    }

    fn contains(&self, address: usize) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }
}

/// Returns the addresses of the executable segments of a program or library that is loaded here.
pub(crate) fn code_ranges(
    start: usize,
    headers: &[libc::Elf64_Phdr],
) -> impl Iterator<Item = Range<usize>> {
    let is_code = |header: &&libc::Elf64_Phdr| {
        header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0
    };
    headers.iter().filter(is_code).map(move |header| {
        let first = start.wrapping_add(header.p_vaddr as usize);
        first..first.wrapping_add(header.p_memsz as usize)
    })
}

/// Executes the program of this process in a child, with these arguments. The child inherits one
/// descriptor besides the standard streams, and has all signals blocked.
///
/// If it is bound, the kernel kills it when the calling thread ends, until the main thread of the
/// child changes that.
///
/// Other threads may run. Between fork and exec, the child makes only async-signal-safe calls.
pub(crate) fn execute_again(
    arguments: &[OsString],
    stdout: Stdio,
    inherited: BorrowedFd,
    is_bound: bool,
) -> io::Result<Pid> {
    let mut command = Command::new(EXECUTED);
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.args(arguments).stdout(stdout);
    let inherited = inherited.as_raw_fd();
    // SAFETY: the closure makes only system calls that are async-signal-safe, and allocates
    // nothing.
    unsafe { command.pre_exec(move || prepare_to_execute(inherited, is_bound)) };
    // A signal that reached the child before it executes the program would run a handler of this
    // process, with the descriptors of this process.
    let mut saved = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut saved))?;
    let started = command.spawn();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&saved), None)?;
    Ok(Pid::from_raw(started?.id().cast_signed()))
}

/// Runs in the child before it executes the program.
fn prepare_to_execute(inherited: RawFd, is_bound: bool) -> io::Result<()> {
    if is_bound {
        // SAFETY: prctl(2) with these arguments touches no memory.
        let bound = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        Errno::result(bound)?;
    }
    // Linux before 5.11 does not know the flag. Then the child inherits what any program inherits.
    // SAFETY: close_range(2) takes three integers and touches no memory.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    // SAFETY: F_SETFD takes an integer and touches no memory.
    Errno::result(unsafe { libc::fcntl(inherited, libc::F_SETFD, 0) })?;
    Ok(())
}

/// What a descriptor is that may have been passed by [`execute_again`].
#[derive(Debug)]
pub(crate) enum Inherited {
    /// A socket that the parent of this process has passed.
    Passed(OwnedFd, Pid),
    /// A socket that a parent has passed which is gone.
    Orphaned,
    /// Anything else. It is left alone.
    Foreign,
}

/// Takes over a descriptor that [`execute_again`] has passed to this process.
pub(crate) fn take_inherited(number: RawFd) -> Inherited {
    if number < 3 {
        return Inherited::Foreign;
    }
    // SAFETY: the descriptor is used for this call only, which refuses one that is not open.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    let Ok(maker) = getsockopt(&socket, PeerCredentials) else { return Inherited::Foreign };
    let parent = Pid::from_raw(maker.pid());
    if parent != getppid() {
        // A parent with several threads may lose its children before its files close. It is
        // examined first: once it is gone altogether, the socket tells.
        let mut ended = [PollFd::new(socket, PollFlags::empty())];
        let has_ended =
            is_ending(parent) || poll(&mut ended, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        return if has_ended { Inherited::Orphaned } else { Inherited::Foreign };
    }
    if fcntl(socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_err() {
        return Inherited::Foreign;
    }
    // SAFETY: the parent has passed it to this process, which runs no other code that could own it.
    Inherited::Passed(unsafe { OwnedFd::from_raw_fd(number) }, parent)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn functions_of_the_program_have_a_place_and_those_of_libraries_have_none() {
        let code = ProgramCode::own();
        let own = ProgramCode::own as *const () as usize;
        let place = code.place(own).unwrap();
        assert_eq!(code.address(place), Some(own));
        let of_libc = libc::getpid as *const () as usize;
        assert_eq!((code.place(of_libc), code.place(0)), (None, None));
        assert_eq!((code.address(u64::MAX), code.address(0)), (None, None));
    }

    #[test]
    fn a_descriptor_that_the_parent_did_not_pass_is_left_alone() {
        let (one, other) = UnixStream::pair().unwrap();
        for number in [one.as_raw_fd(), RawFd::MAX, 1] {
            assert!(matches!(take_inherited(number), Inherited::Foreign), "{number}");
        }
        drop(other);
        assert!(matches!(take_inherited(one.as_raw_fd()), Inherited::Orphaned));
        assert!(fcntl(&one, FcntlArg::F_GETFD).is_ok());
    }
}
