//! A log file: where the log goes, and its rotation by a rename and USR1.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use crate::harness::{BatchRecord, Load, Program, Random, Setup, eventually, packet_of};
use nix::sys::signal::Signal;

fn read(setup: &Setup, name: &str) -> String {
    fs::read_to_string(setup.directory().join(name)).unwrap_or_default()
}

/// Starts a central that logs to the file `log`, and waits until it listens.
fn start(setup: &Setup) -> Program {
    let program = Program::start(&mut setup.command(&["run"]));
    let listens = || read(setup, "log").contains("action: listen | result: success");
    eventually("a ready line in the file", listens, |listens| *listens);
    program
}

fn setup() -> (Setup, u16) {
    let mut setup = Setup::new().with("SERVER_LOG_FILE", "log");
    let port = setup.keep_port();
    (setup, port)
}

#[test]
fn the_log_goes_to_the_file_and_only_there() {
    let (setup, port) = setup();
    fs::write(setup.directory().join("log"), "an older line\n").unwrap();
    let mut program = start(&setup);
    let mut agency = crate::harness::AgencyConnection::open(port);
    agency.send(&packet_of("a", 10, 4));
    assert!(agency.read_to_end().len() > 2);
    program.signal(Signal::SIGTERM);
    assert_eq!(program.exit_code(), 0);
    let log = read(&setup, "log");
    assert!(log.starts_with("an older line\n"), "appended");
    for part in ["action: listen", "apuesta_recibida", "action: exit | result: success"] {
        assert!(log.contains(part), "no {part:?} in {log}");
    }
    assert_eq!(program.lines(), Vec::<String>::new());
}

#[test]
fn a_new_file_is_readable_by_its_owner_and_group_only() {
    let (setup, _) = setup();
    let _program = start(&setup);
    let mode = fs::metadata(setup.directory().join("log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777 & !0o640, 0, "{mode:o}");
}

#[test]
fn a_file_that_cannot_be_opened_is_refused_at_the_start() {
    let setup = Setup::new().with("SERVER_LOG_FILE", "missing/log");
    let mut program = Program::start(&mut setup.command(&["run"]));
    assert_eq!(program.exit_code(), 2);
    program.line_with("SERVER_LOG_FILE = missing/log: No such file");
}

#[test]
fn rotations_under_load_lose_and_tear_no_line() {
    let (setup, port) = setup();
    let mut program = start(&setup);
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(4, port, &record, &mut random);
    let mut names = vec!["log".to_owned()];
    for rotation in 1..=8 {
        let before = record.acknowledged();
        eventually("acknowledged batches", || record.acknowledged(), |now| *now > before + 20);
        let name = format!("log.{rotation}");
        fs::rename(setup.directory().join("log"), setup.directory().join(&name)).unwrap();
        names.push(name);
        // The old workers of a reload reopen the file too.
        if rotation % 2 == 0 {
            program.signal(Signal::SIGHUP);
        }
        program.signal(Signal::SIGUSR1);
        let reopened = || read(&setup, "log").contains("action: reopen_log | result: success");
        eventually("a new file", reopened, |reopened| *reopened);
    }
    load.stop();
    program.signal(Signal::SIGTERM);
    assert_eq!(program.exit_code(), 0);
    let logs: Vec<_> = names.iter().map(|name| read(&setup, name)).collect();
    let mut stored = 0;
    for log in &logs {
        assert!(log.ends_with('\n'), "a torn line at the end: {log}");
        for line in log.lines() {
            assert_eq!(line.matches("action: ").count(), 1, "{line:?}");
            assert!(line.starts_with("20"), "{line:?}");
            stored += usize::from(line.contains("apuesta_recibida | result: success"));
        }
    }
    // A batch of one bet is a batch too. Each acknowledged batch has one line.
    assert_eq!(stored, record.acknowledged());
}

#[test]
fn a_log_on_standard_error_is_not_reopened_and_says_so() {
    let setup = Setup::new();
    let central = setup.start();
    central.program.signal(Signal::SIGUSR1);
    central
        .program
        .line_with("action: reopen_log | result: fail | error: the log goes to standard");
    assert_eq!(central.stop().0, 0);
}

#[test]
fn in_json_every_line_of_a_run_is_an_object_with_the_same_keys() {
    let (setup, port) = setup();
    let setup = setup.with("SERVER_LOG_FORMAT", "json");
    let mut program = Program::start(&mut setup.command(&["run"]));
    let listens = || read(&setup, "log").contains(r#""action":"listen","result":"success""#);
    eventually("a ready line in the file", listens, |listens| *listens);
    let mut agency = crate::harness::AgencyConnection::open(port);
    agency.send(&packet_of("a", 10, 4));
    assert!(agency.read_to_end().len() > 2);
    program.signal(Signal::SIGTERM);
    assert_eq!(program.exit_code(), 0);
    let log = read(&setup, "log");
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |action: &str| lines.iter().find(|line| line["action"] == action).unwrap();
    assert_eq!(find("listen")["port"], port);
    assert_eq!(find("apuesta_recibida")["cantidad"], 10);
    assert_eq!(lines.last().unwrap()["action"], "exit");
}
