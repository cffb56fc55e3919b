//! A list of addresses: a failure selects the next one, where a retry is safe.

use std::time::Instant;

use crate::resume::{agency, write_rows};
use crate::support::{
    ClosedPort, Cut, FakeCentral, KeyedCentral, PROMPT, Setup, THREE_RECORDS, THREE_ROWS,
};

#[test]
fn an_address_that_refuses_connections_is_skipped_without_a_pause() {
    let (dead, central) = (ClosedPort::new(), FakeCentral::new());
    let addresses = format!("{},{}", dead.address(), central.address());
    let begin = Instant::now();
    let agency = Setup::agency(central.address(), THREE_ROWS)
        .args(["--server", &addresses, "--connect-timeout", "30s"])
        .start();
    assert_eq!(central.accept_batch(), THREE_RECORDS);
    central.answer_total(1);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(begin.elapsed() < PROMPT);
    assert_eq!(ended.count("action: connect | result: in_progress"), 1);
    let line = ended.line("action: connect | result: in_progress");
    assert!(line.contains(&format!("| server_address: {} |", dead.address())), "{line}");
    assert_eq!(
        ended.line("action: connect | result: success"),
        format!(
            "action: connect | result: success | client_id: 1 | server_address: {}",
            central.address()
        )
    );
}

#[test]
fn a_whole_pass_over_the_list_is_one_attempt() {
    let (first, second) = (ClosedPort::new(), ClosedPort::new());
    let addresses = format!("{},{}", first.address(), second.address());
    let ended = Setup::agency(first.address(), THREE_ROWS)
        .args(["--server", &addresses, "--connect-timeout", "0s"])
        .finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(line.contains(&format!("{addresses} cannot be reached (attempts: 1, ")), "{line}");
}

#[test]
fn a_batch_without_a_key_is_not_sent_to_the_next_address_when_it_may_be_stored() {
    let (first, second) = (FakeCentral::new(), FakeCentral::new());
    let addresses = format!("{},{}", first.address(), second.address());
    let agency = Setup::agency(first.address(), THREE_ROWS).args(["--server", &addresses]).start();
    let mut connection = first.accept();
    assert_eq!(connection.read_batch(), THREE_RECORDS);
    connection.reset();
    let ended = agency.finish();
    assert!(ended.line("result: fail").contains("rows_in_doubt: 1-3"), "{ended:?}");
    second.assert_no_other_connection();
}

#[test]
fn a_batch_with_a_key_is_sent_to_the_next_address_in_the_middle_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let names = write_rows(directory.path(), 35);
    for cut in [Cut::Request(40), Cut::Reply(0), Cut::Reply(3)] {
        let _ = std::fs::remove_file(directory.path().join("bets.csv.resume"));
        let first = KeyedCentral::start();
        let standby = first.start_standby();
        first.state().cuts = vec![cut, Cut::None];
        let addresses = format!("{},{}", first.address(), standby.address());
        let ended = agency(&first, directory.path()).args(["--server", &addresses]).finish();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(first.state().names, names, "{cut:?}");
        let line = ended.lines.iter().rfind(|line| line.contains("connect | result: success"));
        assert!(line.unwrap().ends_with(&standby.address().to_string()), "{ended:?}");
    }
}

#[test]
fn the_next_address_must_have_the_session() {
    let directory = tempfile::tempdir().unwrap();
    write_rows(directory.path(), 35);
    let (first, other) = (KeyedCentral::start(), KeyedCentral::start());
    first.state().cuts = vec![Cut::Reply(0), Cut::None, Cut::None];
    let addresses = format!("{},{}", first.address(), other.address());
    let ended = agency(&first, directory.path()).args(["--server", &addresses]).finish();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let line = ended.line("action: resume | result: fail");
    assert!(line.contains("the central lacks rows 1-20 of this session"), "{line}");
    assert!(other.state().names.is_empty());
}

#[test]
fn a_check_needs_one_address() {
    let ended = Setup::new().args(["check", "--protocol", "line", "a:1,b:2"]).finish();
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("one address is needed"), "{}", ended.errors);
}
