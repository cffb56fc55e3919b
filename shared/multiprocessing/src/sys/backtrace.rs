//! The backtrace of a process that aborts: the handler of SIGABRT writes the addresses of the calls
//! in progress to a pipe, and the reader of the pipe names them.
//!
//! The handler may interrupt any code, also an allocation. So it only collects addresses and writes
//! them. The reader must have forked the process: then both have the same code at the same
//! addresses.
#![allow(unsafe_code)]

use std::fs;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, read};

/// Maximum number of calls in a backtrace, the innermost ones.
const FRAMES: usize = 40;
/// Words of a message: the process id, then the addresses. Unused words are 0.
const WORDS: usize = 1 + FRAMES;
const MESSAGE_BYTES: usize = WORDS * size_of::<u64>();
// The kernel never splits or interleaves messages of this size.
const _: () = assert!(MESSAGE_BYTES <= libc::PIPE_BUF);

/// The descriptor to which the handler writes.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Makes this process write its backtrace to `pipe` when SIGABRT ends it. The pipe must not block.
pub(crate) fn report_aborts(pipe: OwnedFd) -> Result<(), Errno> {
    // The first call loads the unwinder, which allocates. The handler must not do that.
    collect();
    // Never closed: the handler stays for the rest of the process.
    PIPE.store(pipe.into_raw_fd(), Ordering::Relaxed);
    // After one run of the handler the default action applies, so the process ends.
    let handler = SigHandler::Handler(report);
    let action = SigAction::new(handler, SaFlags::SA_RESETHAND, SigSet::empty());
    // SAFETY: the handler calls only functions that a signal handler may call.
    unsafe { sigaction(Signal::SIGABRT, &action) }.map(drop)
}

/// Writes the backtrace and ends the process. A second signal during the write ends it too.
extern "C" fn report(_signal: libc::c_int) {
    let message = collect();
    let pipe: RawFd = PIPE.load(Ordering::Relaxed);
    // SAFETY: the array is valid for reads of its whole size. The call is safe in a handler. If it
    // fails, there is no backtrace.
    unsafe { libc::write(pipe, message.as_ptr().cast(), MESSAGE_BYTES) };
    // SAFETY: safe in a handler. The signal takes effect when this handler returns.
    unsafe { libc::raise(libc::SIGABRT) };
}

/// Returns the message of this process: its id, and the addresses of the calls in progress.
fn collect() -> [u64; WORDS] {
    let mut message = [0; WORDS];
    // SAFETY: getpid(2) cannot fail and touches no memory.
    message[0] = u64::from(unsafe { libc::getpid() }.unsigned_abs());
    let mut addresses = [std::ptr::null_mut(); FRAMES];
    // SAFETY: the array has room for this many addresses.
    let found = unsafe { libc::backtrace(addresses.as_mut_ptr(), FRAMES as libc::c_int) };
    for (word, address) in message[1..].iter_mut().zip(addresses).take(found.max(0) as usize) {
        *word = address.addr() as u64;
    }
    message
}

/// Reads the next backtrace from a pipe that does not block: the process, and its calls from the
/// innermost one on, each as `FILE+OFFSET` for `addr2line`.
pub(crate) fn read_backtrace(pipe: impl AsFd) -> Option<(Pid, Vec<String>)> {
    let mut message = [0; MESSAGE_BYTES];
    let Ok(MESSAGE_BYTES) = read(pipe, &mut message) else { return None };
    let (words, _) = message.as_chunks();
    let mut words = words.iter().copied().map(u64::from_ne_bytes);
    let pid = Pid::from_raw(words.next()? as i32);
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    // The first call is the handler itself.
    let calls = words.skip(1).take_while(|address| *address != 0);
    Some((pid, calls.map(|address| place(address, &maps)).collect()))
}

/// Returns the file that is mapped at an address, and the offset from the start of its mappings.
fn place(address: u64, maps: &str) -> String {
    let mappings = || maps.lines().filter_map(mapping);
    let found = mappings().find(|(start, end, _)| (*start..*end).contains(&address));
    let Some((_, _, path)) = found else { return format!("{address:#x}") };
    let base = mappings().find(|(_, _, other)| *other == path).map_or(0, |(start, _, _)| start);
    let name =
        Path::new(path).file_name().map_or_else(|| path.into(), |name| name.to_string_lossy());
    format!("{name}+{:#x}", address - base)
}

/// Returns start, end and file of a line of `/proc/PID/maps`: range, permissions, offset, device,
/// inode, path.
fn mapping(line: &str) -> Option<(u64, u64, &str)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let path = fields.nth(4)?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_names_this_process_and_calls_in_its_program() {
        let message = collect();
        assert_eq!(message[0], u64::from(std::process::id()));
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let program = std::env::current_exe().unwrap();
        let program = program.file_name().unwrap().to_str().unwrap().to_owned();
        let first = place(message[1], &maps);
        assert!(first.starts_with(&format!("{program}+0x")), "{first} is not in {program}");
    }

    #[test]
    fn an_offset_counts_from_the_first_mapping_of_the_file() {
        let maps = "1000-2000 r--p 00000000 08:01 7 /bin/server\n\
                    2000-4000 r-xp 00001000 08:01 7 /bin/server\n\
                    9000-a000 rw-p 00000000 00:00 0\n";
        assert_eq!(place(0x2010, maps), "server+0x1010");
        assert_eq!(place(0x9010, maps), "0x9010");
        assert_eq!(place(0xf000, maps), "0xf000");
    }
}
