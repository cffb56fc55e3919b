//! File systems that lack an operation: the central uses another one where its promise still holds,
//! and refuses to start otherwise.
//!
//! A preloaded library refuses the operation. The tests compile it, so they need a C compiler.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use nix::errno::Errno;

use crate::harness::{Participant, Program, Setup, bet, compile_library, packet_of};

/// Refuses the operation that `$UNSUPPORTED` names with the number in `$ERRNO`. For each `syncfs`,
/// appends a byte to the file `$SYNCED`.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int refused(const char *operation) {
    const char *wanted = getenv("UNSUPPORTED");
    return wanted && !strcmp(wanted, operation) ? atoi(getenv("ERRNO")) : 0;
}

#define REFUSE(operation) do { if ((errno = refused(operation))) return -1; } while (0)

int posix_fallocate(int fd, off_t offset, off_t length) {
    int error = refused("posix_fallocate");
    if (error) return error;
    return syscall(SYS_fallocate, fd, 0, offset, length) ? errno : 0;
}

int flock(int fd, int operation) {
    REFUSE("flock");
    return syscall(SYS_flock, fd, operation);
}

int fdatasync(int fd) {
    REFUSE("fdatasync");
    return syscall(SYS_fdatasync, fd);
}

int fsync(int fd) {
    struct stat status;
    if (!fstat(fd, &status) && S_ISDIR(status.st_mode)) REFUSE("fsync of a directory");
    return syscall(SYS_fsync, fd);
}

int syncfs(int fd) {
    int note = open(getenv("SYNCED"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (write(note, "x", 1) != 1) return -1;
    close(note);
    return syscall(SYS_syncfs, fd);
}
"#;

/// Returns a setup with durability `disk`, and a command for a central whose file system refuses
/// `operation` with an error. Without a C compiler, reports the test as left out.
fn without(operation: &str, errno: i32) -> Option<(Setup, Command)> {
    let setup = Setup::new()
        .with("SERVER_DURABILITY", "disk")
        .with("SERVER_PROTOCOL", "typed,framed:0")
        .with("SERVER_AGENCIES", "1");
    let library = compile_library(&setup, "refusing", LIBRARY)?;
    let mut command = setup.command(&["run"]);
    command.env("LD_PRELOAD", &library).env("UNSUPPORTED", operation);
    command.env("ERRNO", errno.to_string()).env("SYNCED", synced(&setup));
    Some((setup, command))
}

fn synced(setup: &Setup) -> PathBuf {
    setup.directory().join("synced")
}

/// Asserts that a central started by this command stores bets, survives a kill, and holds a draw.
fn assert_serves(setup: &Setup, command: &mut Command) {
    let central = setup.start_by(command);
    assert!(central.request(&packet_of("a", 10, 4)).len() > 2);
    central.kill_all();
    let central = setup.start_by(command);
    assert_eq!(central.number("bets"), 10);
    let mut agency = Participant::connect(central.port_of("framed"), "framed", 1);
    agency.store(&[bet("1", true)]);
    agency.finish();
    agency.ask();
    assert_eq!(agency.winners().0, 1);
    assert_eq!(central.stop().0, 0);
    assert_eq!(setup.rows().len(), 11);
}

#[test]
fn without_reserving_space_the_journal_is_filled_with_zeros_instead() {
    for errno in [Errno::EOPNOTSUPP as i32, Errno::EINVAL as i32, Errno::ENOSYS as i32] {
        let Some((setup, mut command)) = without("posix_fallocate", errno) else { return };
        assert_serves(&setup, &mut command);
        let journal = fs::metadata(setup.stored("journal")).unwrap();
        assert!(
            journal.len() >= 32 << 20 && journal.blocks() * 512 >= journal.len(),
            "{journal:?}"
        );
    }
}

#[test]
fn without_a_sync_of_files_or_directories_the_whole_file_system_is_synced() {
    for operation in ["fdatasync", "fsync of a directory"] {
        for errno in [Errno::EINVAL as i32, Errno::EOPNOTSUPP as i32] {
            let Some((setup, mut command)) = without(operation, errno) else { return };
            assert_serves(&setup, &mut command);
            assert!(fs::metadata(synced(&setup)).unwrap().len() > 0, "{operation}");
        }
    }
}

#[test]
fn a_supported_sync_never_syncs_the_whole_file_system() {
    let Some((setup, mut command)) = without("nothing", 0) else { return };
    assert_serves(&setup, &mut command);
    assert!(!synced(&setup).exists());
}

#[test]
fn without_locks_the_central_refuses_to_start_and_says_what_to_do() {
    for errno in
        [Errno::ENOLCK as i32, Errno::EOPNOTSUPP as i32, Errno::ENOSYS as i32, Errno::EINVAL as i32]
    {
        let Some((setup, mut command)) = without("flock", errno) else { return };
        let mut program = Program::start(&mut command);
        let line = program.line_with("file system without locks");
        assert!(
            line.contains("two centrals could mix their bets")
                && line.contains("SERVER_STORAGE_DIR")
        );
        assert_eq!(program.exit_code(), 1);
        assert!(!setup.stored("bets.csv").exists(), "nothing is opened without the lock");
    }
}

#[test]
fn an_error_that_does_not_mean_unsupported_is_not_worked_around() {
    for (operation, part) in [
        ("posix_fallocate", "reserving space for"),
        ("fdatasync", "durable"),
        ("fsync of a directory", "syncing"),
    ] {
        let Some((setup, mut command)) = without(operation, Errno::EIO as i32) else { return };
        let mut program = Program::start(&mut command);
        let line = program.line_with("action: shutdown | result: fail");
        assert!(line.contains(part) && line.contains("Input/output error"), "{line}");
        assert_eq!(program.exit_code(), 1);
        assert!(!synced(&setup).exists(), "{operation}");
    }
}
