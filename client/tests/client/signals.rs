//! Signals in every state in which an agency waits: the batch in flight is finished, nothing else
//! is begun, and the program ends soon.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};

use crate::support::{
    ClosedPort, Ended, FakeCentral, PATIENCE, PROMPT, Setup, THREE_RECORDS, THREE_ROWS,
};

/// Time after a signal in which a sent batch may still be acknowledged.
const FINISH_LIMIT: Duration = Duration::from_secs(5);

fn assert_clean(ended: &Ended, totals: &str) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let exit =
        format!("action: exit | result: success | client_id: 1 | signal: SIGTERM | {totals}");
    assert_eq!(ended.line("action: exit"), exit);
    assert_eq!(ended.count("result: fail"), 0);
    ended.assert_log_parses();
}

#[test]
fn a_signal_ends_the_pause_before_a_retry() {
    let port = ClosedPort::new();
    let setup = Setup::agency(port.address(), THREE_ROWS).args(["--connect-timeout", "1h"]);
    let mut agency = setup.start();
    // From the sixth attempt on, the pauses would exceed the time limit for the end.
    agency.wait_for("attempt: 6");
    agency.signal(SIGTERM);
    let ended = agency.finish_within(PROMPT);
    assert_clean(&ended, "bets: 0 | batches: 0");
    assert_eq!(
        ended.line("close_file"),
        "action: close_file | result: success | client_id: 1 | file: bets.csv"
    );
}

#[test]
fn a_signal_ends_a_connection_attempt() {
    // The accept queue is full, so further connections are neither accepted nor refused.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))
    {
        queued.push(stream);
    }
    let mut agency = Setup::agency(address, THREE_ROWS).start();
    agency.wait_for("action: config");
    agency.signal(SIGTERM);
    assert_clean(&agency.finish_within(PROMPT), "bets: 0 | batches: 0");
}

#[test]
fn after_a_signal_the_batch_in_flight_is_acknowledged_and_no_other_is_sent() {
    let central = FakeCentral::new();
    let setup = Setup::agency(central.address(), THREE_ROWS).args(["--batch-max-amount", "2"]);
    let mut agency = setup.start();
    let mut connection = central.accept();
    assert_eq!(connection.read_batch(), THREE_RECORDS[..2]);
    agency.signal(SIGTERM);
    // Enough time for the program to end if it did not wait for the reply.
    std::thread::sleep(Duration::from_millis(300));
    assert!(agency.is_alive());
    connection.reply(&[0, 0]);
    connection.assert_closed_by_agency();
    let ended = agency.finish_within(PROMPT);
    assert_clean(&ended, "bets: 2 | batches: 1");
    assert_eq!(ended.count("apuesta_enviada | result: success | cantidad: 2"), 1);
    assert_eq!(
        ended.line("close_connection"),
        "action: close_connection | result: success | client_id: 1"
    );
    central.assert_no_other_connection();
}

#[test]
fn after_a_signal_an_unanswered_batch_is_in_doubt_and_the_exit_code_names_the_signal() {
    for (signal, name, code) in [(SIGTERM, "SIGTERM", 143), (SIGINT, "SIGINT", 130)] {
        let central = FakeCentral::new();
        let agency = Setup::agency(central.address(), THREE_ROWS).start();
        let mut connection = central.accept();
        connection.read_batch();
        let signalled = Instant::now();
        agency.signal(signal);
        let ended = agency.finish_within(FINISH_LIMIT + PROMPT);
        assert!(signalled.elapsed() >= FINISH_LIMIT, "gave up after {:?}", signalled.elapsed());
        assert_eq!(ended.code, Some(code));
        let line = ended.line("apuesta_enviada | result: fail");
        assert!(
            line.contains(
                "rows_in_doubt: 1-3 | rows_stored: none | error: no complete reply within 5s"
            ),
            "{line}"
        );
        let shutdown = format!("action: shutdown | result: fail | client_id: 1 | signal: {name}");
        assert_eq!(ended.line("action: shutdown"), shutdown);
        ended.assert_log_parses();
    }
}

#[test]
fn a_signal_abandons_an_unanswered_query() {
    let central = FakeCentral::new();
    let agency = Setup::agency(central.address(), THREE_ROWS).start();
    central.accept_batch();
    let mut connection = central.accept();
    connection.read_query();
    agency.signal(SIGTERM);
    assert_clean(&agency.finish_within(PROMPT), "bets: 3 | batches: 1");
    connection.assert_closed_by_agency();
}

#[test]
fn a_signal_ends_the_pause_between_two_queries() {
    let central = FakeCentral::new();
    let mut agency =
        Setup::agency(central.address(), THREE_ROWS).args(["--loop-period", "1h"]).start();
    central.accept_batch();
    let mut connection = central.accept();
    connection.read_query();
    connection.reply(&[0, 0, 1, 0, 0, 0, 0]);
    agency.wait_for("agencias_en_proceso");
    agency.signal(SIGTERM);
    assert_clean(&agency.finish_within(PROMPT), "bets: 3 | batches: 1");
}

#[test]
fn the_exit_line_names_the_signal() {
    for (signal, name) in [(SIGINT, "SIGINT"), (SIGHUP, "SIGHUP")] {
        let port = ClosedPort::new();
        let mut agency =
            Setup::agency(port.address(), THREE_ROWS).args(["--connect-timeout", "1h"]).start();
        agency.wait_for("action: connect");
        agency.signal(signal);
        let ended = agency.finish_within(PROMPT);
        assert_eq!(ended.code, Some(0));
        assert!(ended.line("action: exit").contains(&format!("signal: {name}")));
    }
}

#[test]
fn another_signal_ends_the_program_at_once_from_one_second_after_the_first_on() {
    for (second, code) in [(SIGTERM, 143), (SIGINT, 130)] {
        let central = FakeCentral::new();
        let mut agency = Setup::agency(central.address(), THREE_ROWS).start();
        let mut connection = central.accept();
        connection.read_batch();
        agency.signal(SIGTERM);
        std::thread::sleep(Duration::from_millis(1100));
        assert!(agency.is_alive());
        agency.signal(second);
        assert_eq!(agency.finish_within(PROMPT).code, Some(code));
    }
}

#[test]
fn signals_that_belong_to_one_stop_do_not_cut_a_batch_in_flight() {
    let central = FakeCentral::new();
    let mut agency = Setup::agency(central.address(), THREE_ROWS).start();
    let mut connection = central.accept();
    connection.read_batch();
    for signal in [SIGTERM, SIGTERM, SIGINT] {
        agency.signal(signal);
        // Pending signals of one kind merge, so give the program time to handle this one.
        std::thread::sleep(Duration::from_millis(100));
        assert!(agency.is_alive());
    }
    connection.reply(&[0, 0]);
    assert_eq!(agency.finish_within(PROMPT).code, Some(0));
}

#[test]
fn a_log_without_a_reader_does_not_stop_the_run() {
    let central = FakeCentral::new();
    let closed = || {
        // A pipe whose reader has ended.
        let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let writer = reader.stdin.take().unwrap();
        reader.wait().unwrap();
        Stdio::from(writer)
    };
    let agency = Setup::agency(central.address(), THREE_ROWS).streams(closed(), closed()).start();
    assert_eq!(central.accept_batch(), THREE_RECORDS);
    central.answer_total(1);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn a_blocked_log_does_not_keep_the_program_alive_after_a_signal() {
    let central = FakeCentral::new();
    // The pipe has no reader and is full before the run logs its first line.
    let (reader, writer) = std::io::pipe().unwrap();
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    while std::io::Write::write(&mut &writer, &[b'x'; 4096]).is_ok() {}
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    let agency =
        Setup::agency(central.address(), THREE_ROWS).streams(writer.into(), Stdio::null()).start();
    std::thread::sleep(Duration::from_millis(300));
    agency.signal(SIGTERM);
    assert_eq!(agency.finish_within(PATIENCE).code, Some(143));
    drop(reader);
}
