//! Standard output that cannot be written: a command that could not print its result fails.

use std::fs::OpenOptions;
use std::process::Stdio;

use lottery::protocol::Dialect;

use crate::support::{Setup, start_fake_server};

/// Returns a standard output on a full disk.
fn full_disk() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn a_command_that_cannot_write_its_result_fails_and_says_so() {
    let server = start_fake_server(Dialect::named("typed").unwrap(), &[]).to_string();
    for arguments in [
        &["check", "--protocol", "typed", &server][..],
        &["check", "--json", "--protocol", "typed", &server],
        &["generate", "--agencies", "1", "--bets", "5", "--out", "data"],
        &["run", "--print-config"],
        &["run", "--id", "1", "--check-config"],
        &["completions", "bash"],
        &["man", "check"],
        &["--help"],
        &["--version"],
    ] {
        let setup = arguments.iter().fold(Setup::new(), |setup, argument| setup.args([argument]));
        let ended = setup.streams(full_disk(), Stdio::piped()).finish();
        let expected = "client: writing to standard output: No space left on device";
        assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.errors);
        let named = ended.errors.starts_with(expected) && ended.errors.lines().count() == 1;
        assert!(named, "{arguments:?}: {}", ended.errors);
    }
}

#[test]
fn a_reader_that_has_closed_the_pipe_is_no_failure() {
    for arguments in [["completions", "bash"], ["man", "check"], ["run", "--print-config"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = Setup::new().args(arguments).streams(writer.into(), Stdio::piped()).finish();
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{arguments:?}");
    }
}
