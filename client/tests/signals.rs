//! Signals in every state an agency can wait in: what is in hand is finished, nothing else is begun, and the end is soon.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};
use support::{Central, Ended, PATIENCE, PROMPT, Setup, THREE_RECORDS, THREE_ROWS};

/// How long a batch that has been sent may still be answered after a signal.
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
fn while_it_waits_to_connect_again() {
    let setup = Setup::agency(Central::nobody(), THREE_ROWS).args(["--connect-timeout", "1h"]);
    let mut agency = setup.start();
    // By the sixth attempt the pauses are longer than the end may take.
    agency.wait_for("attempt: 6");
    agency.signal(SIGTERM);
    let ended = agency.finish_within(PROMPT);
    assert_clean(&ended, "apuestas: 0 | lotes: 0");
    assert_eq!(
        ended.line("close_file"),
        "action: close_file | result: success | client_id: 1 | file: bets.csv"
    );
}

#[test]
fn while_a_connection_is_being_made() {
    // A queue for one connection, full: further ones are neither accepted nor refused.
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
    assert_clean(&agency.finish_within(PROMPT), "apuestas: 0 | lotes: 0");
}

#[test]
fn while_a_batch_is_unanswered_its_reply_is_awaited_and_no_other_is_sent() {
    let central = Central::new();
    let setup = Setup::agency(central.address(), THREE_ROWS).args(["--batch-max-amount", "2"]);
    let mut agency = setup.start();
    let mut link = central.accept();
    assert_eq!(link.read_batch(), THREE_RECORDS[..2]);
    agency.signal(SIGTERM);
    // Time enough to go, if it did not wait for the reply.
    std::thread::sleep(Duration::from_millis(300));
    assert!(agency.is_alive());
    link.reply(&[0, 0]);
    link.assert_closed_by_agency();
    let ended = agency.finish_within(PROMPT);
    assert_clean(&ended, "apuestas: 2 | lotes: 1");
    assert_eq!(ended.count("apuesta_enviada | result: success | cantidad: 2"), 1);
    assert_eq!(
        ended.line("close_connection"),
        "action: close_connection | result: success | client_id: 1"
    );
    central.assert_nobody_else_came();
}

#[test]
fn a_batch_that_stays_unanswered_is_in_doubt_and_the_exit_code_tells_the_signal() {
    for (signal, name, code) in [(SIGTERM, "SIGTERM", 143), (SIGINT, "SIGINT", 130)] {
        let central = Central::new();
        let agency = Setup::agency(central.address(), THREE_ROWS).start();
        let mut link = central.accept();
        link.read_batch();
        let told = Instant::now();
        agency.signal(signal);
        let ended = agency.finish_within(FINISH_LIMIT + PROMPT);
        assert!(told.elapsed() >= FINISH_LIMIT, "gave up after {:?}", told.elapsed());
        assert_eq!(ended.code, Some(code));
        let line = ended.line("apuesta_enviada | result: fail");
        assert!(
            line.contains(
                "rows_in_doubt: 1-3 | rows_stored: none | error: no whole reply within 5s"
            ),
            "{line}"
        );
        let exit = format!("action: exit | result: fail | client_id: 1 | signal: {name}");
        assert_eq!(ended.line("action: exit"), exit);
        ended.assert_log_parses();
    }
}

#[test]
fn while_a_query_is_unanswered_it_is_given_up() {
    let central = Central::new();
    let agency = Setup::agency(central.address(), THREE_ROWS).start();
    central.take_batch();
    let mut link = central.accept();
    link.read_query();
    agency.signal(SIGTERM);
    assert_clean(&agency.finish_within(PROMPT), "apuestas: 3 | lotes: 1");
    link.assert_closed_by_agency();
}

#[test]
fn while_it_waits_to_ask_again() {
    let central = Central::new();
    let mut agency =
        Setup::agency(central.address(), THREE_ROWS).args(["--loop-period", "1h"]).start();
    central.take_batch();
    let mut link = central.accept();
    link.read_query();
    link.reply(&[0, 0, 1, 0, 0, 0, 0]);
    agency.wait_for("agencias_en_proceso");
    agency.signal(SIGTERM);
    assert_clean(&agency.finish_within(PROMPT), "apuestas: 3 | lotes: 1");
}

#[test]
fn each_signal_is_told_by_its_name() {
    for (signal, name) in [(SIGINT, "SIGINT"), (SIGHUP, "SIGHUP")] {
        let mut agency =
            Setup::agency(Central::nobody(), THREE_ROWS).args(["--connect-timeout", "1h"]).start();
        agency.wait_for("action: connect");
        agency.signal(signal);
        let ended = agency.finish_within(PROMPT);
        assert_eq!(ended.code, Some(0));
        assert!(ended.line("action: exit").contains(&format!("signal: {name}")));
    }
}

#[test]
fn a_second_signal_ends_it_on_the_spot() {
    for (second, code) in [(SIGTERM, 143), (SIGINT, 130)] {
        let central = Central::new();
        let mut agency = Setup::agency(central.address(), THREE_ROWS).start();
        let mut link = central.accept();
        link.read_batch();
        agency.signal(SIGTERM);
        // Two signals of a kind that wait together are one: the first must have been taken.
        std::thread::sleep(Duration::from_millis(300));
        assert!(agency.is_alive());
        agency.signal(second);
        assert_eq!(agency.finish_within(PROMPT).code, Some(code));
    }
}

#[test]
fn a_log_that_nobody_reads_does_not_stop_the_run() {
    let central = Central::new();
    let closed = || {
        // A pipe whose reader is gone.
        let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let writer = reader.stdin.take().unwrap();
        reader.wait().unwrap();
        Stdio::from(writer)
    };
    let agency = Setup::agency(central.address(), THREE_ROWS).streams(closed(), closed()).start();
    assert_eq!(central.take_batch(), THREE_RECORDS);
    central.answer_total(1);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn a_log_that_is_stuck_does_not_keep_it_alive() {
    let central = Central::new();
    // Nobody reads this pipe, and it is full before the run logs its first line.
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
