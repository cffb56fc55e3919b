//! Standard output that cannot be written: a command that could not print its result fails.

use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};

use crate::harness::Setup;

/// Commands that need no running central.
const ALONE: [&[&str]; 7] = [
    &["--print-config"],
    &["--help"],
    &["--version"],
    &["completions", "bash"],
    &["man"],
    &["man", "status"],
    &["ipcs"],
];

/// Runs a command whose standard output is a full disk.
fn on_a_full_disk(command: &mut Command) -> Output {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    command.stdout(full).stderr(Stdio::piped()).output().unwrap()
}

/// Asserts that the command fails with exactly one line that names the cause.
fn assert_reports_the_full_disk(output: &Output, arguments: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    let named = said.contains("error: writing to standard output: No space left on device");
    assert!(named && said.lines().count() == 1, "{arguments:?}: {said}");
}

#[test]
fn a_command_that_cannot_write_its_result_fails_and_says_so() {
    let setup = Setup::new();
    for arguments in ALONE {
        let output = on_a_full_disk(&mut setup.command(arguments));
        assert_reports_the_full_disk(&output, arguments);
    }
    let central = setup.start();
    let port = central.port.to_string();
    for arguments in [&["status"][..], &["status", "--json"], &["status", "--watch"], &["ipcs"]] {
        let output = on_a_full_disk(setup.command(arguments).args(["--port", &port]));
        assert_reports_the_full_disk(&output, arguments);
    }
}

#[test]
fn a_reader_that_has_closed_the_pipe_is_no_failure() {
    let setup = Setup::new();
    for arguments in ALONE {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = setup.command(arguments).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]), "{arguments:?}");
    }
}
