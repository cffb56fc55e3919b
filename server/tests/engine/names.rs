//! Names, versions and passwords.

use nix::sys::signal::Signal;

use crate::harness::{Program, Setup, eventually, packet_of};

/// Returns a setup of the same central of the same lottery.
fn same(setup: &Setup) -> Setup {
    let mut other = Setup::new();
    let lottery = setup.database.as_ref().unwrap().lottery.clone();
    other.set("SERVER_LOTTERY", &lottery);
    other.database.as_mut().unwrap().lottery = lottery;
    other
}

#[test]
fn a_second_central_with_the_same_name_is_refused_while_the_first_is_alive() {
    let setup = Setup::new();
    let central = setup.start();
    let other = same(&setup);
    let mut second = Program::start(&mut other.command(&["run"]));
    assert_eq!(second.exit_code(), 1);
    second.line_with("choose another SERVER_CENTRAL_NAME");
    assert!(!central.request(&packet_of("a", 1, 0)).is_empty(), "the first goes on");
    assert_eq!(central.stop().0, 0);
    // The name is free at once after a stop.
    assert_eq!(other.start().stop().0, 0);
}

#[test]
fn a_central_whose_name_another_one_has_taken_stops_with_the_reason() {
    let setup = Setup::new();
    let mut central = setup.start();
    let database = setup.database.as_ref().unwrap();
    database.query("UPDATE lottery.centrals SET instance = 'another' WHERE lottery = $1");
    database.query("UPDATE lottery.workers SET epoch = epoch + 1 WHERE lottery = $1");
    let code = central.program.exit_code();
    assert_eq!(code, 3, "a worker cannot serve");
    central.program.line_with("give each central its own SERVER_CENTRAL_NAME");
}

#[test]
fn the_output_shows_no_password() {
    let mut setup = Setup::new();
    setup.set("SERVER_STORAGE", "postgres://user:secret@127.0.0.1:1/db");
    let shown = setup.run(&["--print-config"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.contains("127.0.0.1:1/db") && !text.contains("secret"), "{text}");
    let program = Program::start(&mut setup.command(&["run"]));
    program.line_with("action: engine | result: fail");
    program.signal(Signal::SIGTERM);
    eventually("the end", || program.count_lines_with("action: exit"), |count| *count == 1);
    assert_eq!(program.count_lines_with("secret"), 0);
    setup.set("SERVER_STORAGE", "postgres://user:secret@127.0.0.1:none/db");
    let refused = setup.run(&["--check-config"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2));
    assert!(text.contains("SERVER_STORAGE") && !text.contains("secret"), "{text}");
}
