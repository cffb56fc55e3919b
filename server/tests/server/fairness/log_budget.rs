//! No client fills the log: beyond a budget per address, lines are counted instead of written.

use std::fs;
use std::time::Duration;

use crate::harness::{
    AgencyConnection, CentralProcess, Setup, eventually_within, large_packet, packet_of, value_of,
};

/// Log lines per address and period.
const BUDGET: usize = 20;
/// More than the 10 s after which the suppressed lines are reported, on a busy machine.
const PERIOD: Duration = Duration::from_secs(30);

/// Returns the setup of a central with one worker, so that there is one budget.
fn setup(protocol: &str) -> Setup {
    Setup::new()
        .with("SERVER_PROTOCOL", protocol)
        .with("SERVER_WORKERS", "1")
        .with("SERVER_LOG_LINES", &BUDGET.to_string())
        .with("LOGGING_LEVEL", "INFO")
}

/// Counts the lines that contain any of `actions`.
fn count(log: &[String], actions: &[&str]) -> usize {
    log.iter().filter(|line| actions.iter().any(|action| line.contains(action))).count()
}

/// Returns how many lines were left out.
fn suppressed(log: &[String]) -> usize {
    let lines = log.iter().filter(|line| line.contains("action: log_budget"));
    lines.map(|line| value_of(line, "suppressed").parse::<usize>().unwrap()).sum()
}

/// Both lines about a refused batch.
const REFUSALS: [&str; 2] = ["receive_message | result: fail", "apuesta_recibida | result: fail"];

/// Has `count` batches refused on one connection of `framed`.
fn have_refused(central: &CentralProcess<'_>, count: usize) {
    let mut agency = central.connect();
    for _ in 0..count {
        agency.send(b"\0\x01x");
        assert_eq!(agency.read_bytes(7), b"FAIL|0\n");
    }
}

#[test]
fn refusals_beyond_the_budget_are_counted_in_one_line_at_the_end_of_the_period() {
    const REQUESTS: usize = 300;
    let setup = setup("framed");
    let central = setup.start();
    have_refused(&central, REQUESTS);
    let reported = || central.program.count_lines_with("action: log_budget | result: fail | ip:");
    eventually_within(PERIOD, "the line about the others", reported, |lines| *lines > 0);
    have_refused(&central, 1);
    let log = central.stop_and_read_log();
    let written = count(&log, &REFUSALS);
    // A busy machine may take more than one period for the requests.
    assert!((BUDGET..=4 * BUDGET).contains(&written), "{written} lines");
    assert_eq!(written + suppressed(&log), 2 * (REQUESTS + 1), "each line is written or counted");
    let last = log.iter().rposition(|line| line.contains(REFUSALS[0]));
    let report = log.iter().position(|line| line.contains("action: log_budget"));
    assert!(report < last, "the next period has a budget of its own");
}

#[test]
fn every_stored_batch_has_its_line_while_a_client_of_the_same_address_is_suppressed() {
    const BATCHES: usize = 100;
    let setup = setup("framed:0,typed:0");
    let central = setup.start();
    let typed = central.port_of("typed");
    have_refused(&central, BUDGET);
    for number in 0..BATCHES {
        let mut agency = AgencyConnection::open(typed);
        agency.send(&packet_of(&number.to_string(), 1, 0));
        assert_eq!(agency.read_to_end(), [0, 0]);
    }
    let log = central.stop_and_read_log();
    for action in ["apuesta_recibida | result: success", "apuesta_almacenada | result: success"] {
        assert_eq!(count(&log, &[action]), BATCHES, "{action}");
    }
    assert!(suppressed(&log) > 0, "reported when the central stops, too");
}

#[test]
fn empty_batches_do_not_fill_the_log_although_they_are_stored() {
    const BATCHES: usize = 60 * BUDGET;
    let setup = setup("framed");
    let central = setup.start();
    let mut agency = central.connect();
    for _ in 0..BATCHES {
        agency.send(b"\0\x020\n");
        assert_eq!(agency.read_bytes(10), b"SUCCESS|0\n");
    }
    let log = central.stop_and_read_log();
    let written = count(&log, &["apuesta_recibida | result: success"]);
    assert_eq!(written + suppressed(&log), BATCHES);
    println!("{written} of {BATCHES} lines written");
}

#[test]
fn echo_messages_beyond_the_budget_are_answered_and_not_logged() {
    const MESSAGES: usize = 5 * BUDGET;
    let setup = setup("echo");
    let central = setup.start();
    for _ in 0..MESSAGES {
        assert_eq!(central.request(b"hello\n"), b"hello\n");
    }
    let log = central.stop_and_read_log();
    let written = count(&log, &["receive_message | result: success"]);
    assert!(written >= BUDGET && suppressed(&log) > 0, "{written} lines");
    assert_eq!(written + suppressed(&log), MESSAGES);
}

#[test]
fn batches_that_do_not_fit_the_disk_do_not_fill_the_log() {
    const BATCHES: usize = 3 * BUDGET;
    let setup = setup("typed");
    fs::create_dir(setup.stored("")).unwrap();
    // Stored bets that nearly reach the limit of 34 MiB, in blocks of 512 bytes.
    let row = b"0,Santiago Lionel,Lorca,0-0,1999-03-17,1033\r\n";
    fs::write(setup.stored("bets.csv"), row.repeat(780_000)).unwrap();
    let script = "ulimit -S -f 69632 && exec \"$0\" run";
    let central = setup.start_by(&mut setup.shell(&[], script));
    let batch = large_packet("a mark of more than thirty characters", 10_000, 0);
    let refused = (0..BATCHES).filter(|_| central.request(&batch).is_empty()).count();
    assert!(refused >= BATCHES - 2, "{refused} refused");
    let log = central.stop_and_read_log();
    let written = count(&log, &REFUSALS);
    assert!(written >= BUDGET, "{written} lines");
    assert_eq!(written + suppressed(&log), 2 * refused);
    assert!(written < 2 * refused, "some are left out");
}
