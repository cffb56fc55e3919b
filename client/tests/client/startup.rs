//! Start in any order: an agency waits a limited time for its central and logs each attempt.

use std::io::Write;
use std::net::ToSocketAddrs;

use crate::support::{ClosedPort, FakeCentral, Setup, THREE_RECORDS, THREE_ROWS};

#[test]
fn an_agency_that_starts_first_waits_for_the_central() {
    let port = ClosedPort::new();
    let mut agency =
        Setup::agency(port.address(), THREE_ROWS).args(["--connect-timeout", "30s"]).start();
    let line = agency.wait_for("action: connect");
    assert!(
        line.contains("INFO     action: connect | result: in_progress | client_id: 1 | attempt: 1"),
        "{line}"
    );
    assert!(line.contains("refused"), "{line}");
    let central = port.listen();
    assert_eq!(central.accept_batch(), THREE_RECORDS);
    central.answer_total(1);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    ended.assert_log_parses();
}

#[test]
fn a_first_batch_that_is_reset_is_in_doubt_and_not_retried() {
    let central = FakeCentral::new();
    let agency =
        Setup::agency(central.address(), THREE_ROWS).args(["--connect-timeout", "30s"]).start();
    let mut connection = central.accept();
    assert_eq!(connection.read_batch(), THREE_RECORDS);
    connection.reset();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("action: apuesta_enviada | result: fail");
    assert!(line.contains("| rows_in_doubt: 1-3 | rows_stored: none |"), "{line}");
    assert_eq!(ended.count("action: connect"), 0);
}

#[test]
fn a_central_that_never_starts_ends_the_run_with_one_failure_line() {
    let port = ClosedPort::new();
    let address = port.address();
    let ended = Setup::agency(address, THREE_ROWS).finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(
        line.starts_with(&format!(
            "action: connect | result: fail | client_id: 1 | file: bets.csv | rows_stored: none | error: {address} cannot be \
             reached (attempts: "
        )),
        "{line}"
    );
    assert!(line.contains("within 300ms): Connection refused"), "{line}");
    assert!(ended.count("action: connect | result: in_progress") >= 2);
    assert_eq!(ended.count("result: fail"), 1);
    ended.assert_log_parses();
}

#[test]
fn a_connect_timeout_of_zero_means_a_single_attempt() {
    let port = ClosedPort::new();
    let ended =
        Setup::agency(port.address(), THREE_ROWS).args(["--connect-timeout", "0s"]).finish();
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.count("in_progress"), 0);
    assert!(ended.line("result: fail").contains("(attempts: 1, within 0s)"));
}

#[test]
fn a_name_that_cannot_be_resolved_is_retried() {
    let port = ClosedPort::new();
    // RFC 6761 guarantees that names in `.invalid` do not exist.
    let setup =
        Setup::agency(port.address(), THREE_ROWS).args(["--server", "central.invalid:12345"]);
    let ended = setup.finish();
    assert_eq!(ended.code, Some(1));
    assert!(ended.count("action: connect | result: in_progress") >= 1);
    let line = ended.line("result: fail");
    assert!(line.contains("central.invalid:12345 cannot be reached"), "{line}");
    assert!(line.contains("cannot resolve the name"), "{line}");
}

#[test]
fn an_agency_connects_to_a_host_name() {
    // A minimal system may lack /etc/hosts.
    if ("localhost", 0).to_socket_addrs().is_err() {
        let _ = writeln!(std::io::stderr(), "left out: this system does not resolve localhost");
        return;
    }
    let central = FakeCentral::new();
    let address = format!("localhost:{}", central.address().port());
    let agency = Setup::agency(central.address(), THREE_ROWS).args(["--server", &address]).start();
    assert_eq!(central.accept_batch(), THREE_RECORDS);
    central.answer_total(1);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn an_agency_survives_a_restart_of_the_central_between_two_batches() {
    let central = FakeCentral::new();
    let address = central.address();
    let setup = Setup::agency(address, THREE_ROWS).args([
        "--batch-max-amount",
        "2",
        "--connect-timeout",
        "30s",
    ]);
    let mut agency = setup.start();
    let mut connection = central.accept();
    connection.read_batch();
    drop(central);
    connection.reply(&[0, 0]);
    connection.assert_closed_by_agency();
    let line = agency.wait_for("action: connect");
    assert!(line.contains("WARNING  action: connect | result: in_progress"), "{line}");
    let central = FakeCentral::at(address);
    assert_eq!(central.accept_batch(), THREE_RECORDS[2..]);
    central.answer_total(1);
    assert_eq!(agency.finish().code, Some(0));
}
