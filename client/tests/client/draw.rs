//! The wait for the draw: without a time limit, across lost connections, and ended by a signal.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGINT, SIGTERM};

use crate::support::{
    FakeCentral, PATIENCE, PROMPT, ROW_L, ServerConnection, Setup, dialects_that, vector,
};

/// The query for the winners in one dialect.
struct Question {
    dialect: &'static str,
    /// Messages that an agency without bets sends on a new connection, each with its reply. The
    /// last one has an empty reply: it waits for the draw.
    sent: Vec<(Vec<u8>, Vec<u8>)>,
    /// An answer with one winner.
    answer: Vec<u8>,
}

impl Question {
    /// Creates a query that is a single message.
    fn alone(dialect: &'static str, sent: &[&str], answer: &str) -> Self {
        let bytes = sent.iter().flat_map(|name| vector(dialect, name)).collect();
        Self { dialect, sent: vec![(bytes, Vec::new())], answer: vector(dialect, answer) }
    }

    /// Creates the query of `framed`.
    fn framed() -> Self {
        Self::after("framed", "finished_1", "ack")
    }

    /// Creates a query that follows a notification, which is acknowledged.
    fn after(dialect: &'static str, notification: &str, acknowledgement: &str) -> Self {
        let bytes = |name| vector(dialect, name);
        let notification = (bytes(notification), bytes(acknowledgement));
        let sent = vec![notification, (bytes("query_1"), Vec::new())];
        Self { dialect, sent, answer: bytes("winners_L") }
    }

    /// Creates the queries of all dialects that wait for the draw.
    fn all() -> Vec<Self> {
        let all = vec![
            Self::alone("counted", &["end_agency_1"], "winners_L"),
            Self::alone("counted-u8", &["end_agency_1"], "winners_L"),
            Self::alone("line", &["ready_1"], "winners_1"),
            Self::alone("sentinel", &["id_1", "notify"], "winners_L"),
            Self::framed(),
            Self::after("keyed", "finish_1", "finished"),
        ];
        let waiting = dialects_that(|dialect| dialect.waits_for_draw);
        let names = BTreeSet::from_iter(waiting.iter().map(|dialect| dialect.name));
        assert_eq!(
            names,
            all.iter().map(|question| question.dialect).collect(),
            "dialects that wait"
        );
        all
    }

    /// Receives it on a new connection.
    fn receive(&self, connection: &mut ServerConnection) {
        for (sent, reply) in &self.sent {
            connection.expect(sent);
            connection.reply(reply);
        }
    }
}

#[test]
fn a_draw_may_take_longer_than_any_reply() {
    for question in Question::all() {
        let dialect = question.dialect;
        let central = FakeCentral::new();
        let mut agency = Setup::speaking(dialect, central.address(), "")
            .args(["--reply-timeout", "250ms"])
            .start();
        let mut connection = central.accept();
        question.receive(&mut connection);
        std::thread::sleep(Duration::from_millis(700));
        assert!(agency.is_alive(), "{dialect}");
        connection.reply(&question.answer);
        let ended = agency.finish();
        assert_eq!(ended.code, Some(0), "{dialect}: {ended:?}");
        assert!(ended.line("consulta_ganadores").ends_with("result: success | cant_ganadores: 1"));
        assert_eq!(ended.count("in_progress"), 0, "{dialect}");
        central.assert_no_other_connection();
    }
}

#[test]
fn a_connection_lost_during_the_wait_is_reopened_and_the_query_is_repeated() {
    for question in Question::all() {
        let dialect = question.dialect;
        let central = FakeCentral::new();
        let agency = Setup::speaking(dialect, central.address(), "")
            .args(["--connect-timeout", "30s"])
            .start();
        let mut connection = central.accept();
        question.receive(&mut connection);
        connection.close();
        // Half an answer counts as no answer.
        let mut connection = central.accept();
        question.receive(&mut connection);
        connection.reply(&question.answer[..question.answer.len() / 2]);
        connection.close();
        let mut connection = central.accept();
        question.receive(&mut connection);
        connection.reset();
        let mut connection = central.accept();
        question.receive(&mut connection);
        connection.reply(&question.answer);
        let ended = agency.finish();
        assert_eq!(ended.code, Some(0), "{dialect}: {ended:?}");
        assert!(ended.line("consulta_ganadores").ends_with("result: success | cant_ganadores: 1"));
        assert_eq!(ended.count("action: connect | result: in_progress"), 3, "{dialect}");
        ended.assert_log_parses();
        central.assert_no_other_connection();
    }
}

#[test]
fn after_a_lost_connection_only_the_query_is_repeated_not_the_bets() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("sentinel", central.address(), ROW_L).start();
    let mut connection = central.accept();
    connection.expect(&[vector("sentinel", "id_1"), vector("sentinel", "batch_L")].concat());
    connection.reply(&vector("sentinel", "ack"));
    connection.expect(&vector("sentinel", "notify"));
    connection.close();
    let mut connection = central.accept();
    connection.expect(&[vector("sentinel", "id_1"), vector("sentinel", "notify")].concat());
    connection.reply(&vector("sentinel", "winners_L"));
    connection.assert_closed_by_agency();
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn an_agency_survives_a_restart_of_the_central_during_the_wait() {
    let central = FakeCentral::new();
    let address = central.address();
    let mut agency =
        Setup::speaking("counted", address, "").args(["--connect-timeout", "30s"]).start();
    let mut connection = central.accept();
    connection.expect(&vector("counted", "end_agency_1"));
    drop(central);
    connection.reset();
    agency.wait_for("refused");
    let central = FakeCentral::at(address);
    let mut connection = central.accept();
    connection.expect(&vector("counted", "end_agency_1"));
    connection.reply(&vector("counted", "winners_none"));
    connection.expect(&vector("counted", "final_ack"));
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn each_long_wait_that_is_lost_restarts_the_retry_limit() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("counted", central.address(), "")
        .args(["--connect-timeout", "200ms"])
        .start();
    for _ in 0..3 {
        let mut connection = central.accept();
        connection.expect(&vector("counted", "end_agency_1"));
        std::thread::sleep(Duration::from_millis(300));
        connection.close();
    }
    let mut connection = central.accept();
    connection.expect(&vector("counted", "end_agency_1"));
    connection.reply(&vector("counted", "winners_none"));
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.count("in_progress | client_id: 1 | attempt: 1 |"), 3);
}

#[test]
fn a_central_that_does_not_restart_ends_the_run_with_all_rows_stored() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("line", central.address(), "").start();
    let mut connection = central.accept();
    connection.expect(&vector("line", "ready_1"));
    drop(central);
    connection.close();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(
        line.starts_with("action: consulta_ganadores | result: fail | client_id: 1 | error: "),
        "{line}"
    );
    assert!(line.contains("cannot be reached") && line.ends_with("all rows are stored"), "{line}");
}

#[test]
fn a_central_that_closes_after_every_query_is_not_retried_forever() {
    let central = FakeCentral::new();
    let mut agency = Setup::speaking("counted", central.address(), "").start();
    let began = Instant::now();
    while agency.is_alive() {
        assert!(began.elapsed() < PATIENCE, "the agency is still retrying");
        if let Some(mut connection) = central.try_accept() {
            connection.expect(&vector("counted", "end_agency_1"));
            connection.close();
        }
    }
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(line.contains(&format!("{} cannot be reached", central.address())), "{line}");
}

#[test]
fn an_answer_that_has_begun_must_be_complete_within_the_reply_timeout() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("sentinel", central.address(), "")
        .args(["--reply-timeout", "200ms", "--connect-timeout", "30s"])
        .start();
    let mut silent = central.accept();
    silent.expect(&[vector("sentinel", "id_1"), vector("sentinel", "notify")].concat());
    silent.reply(&vector("sentinel", "winners_L")[..3]);
    let mut connection = central.accept();
    connection.expect(&[vector("sentinel", "id_1"), vector("sentinel", "notify")].concat());
    connection.reply(&vector("sentinel", "winners_L"));
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    let line = ended.line("action: connect | result: in_progress");
    assert!(line.contains("no complete reply within 200ms (3 bytes received)"), "{line}");
}

#[test]
fn a_notification_that_is_not_acknowledged_in_time_is_repeated() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("framed", central.address(), "")
        .args(["--reply-timeout", "200ms", "--connect-timeout", "30s"])
        .start();
    let mut silent = central.accept();
    silent.expect(&vector("framed", "finished_1"));
    let mut connection = central.accept();
    Question::framed().receive(&mut connection);
    connection.reply(&vector("framed", "winners_none"));
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("consulta_ganadores").ends_with("cant_ganadores: 0"));
}

#[test]
fn a_not_yet_answer_is_followed_by_another_query_until_the_draw() {
    for connection_use in ["kept", "per-request"] {
        let central = FakeCentral::new();
        let agency = Setup::speaking("framed", central.address(), "")
            .args(["--connection", connection_use, "--loop-period", "200ms"])
            .start();
        let mut connection = central.accept();
        connection.expect(&vector("framed", "finished_1"));
        connection.reply(&vector("framed", "ack"));
        let mut asked = Vec::new();
        for _ in 0..3 {
            if connection_use == "per-request" {
                connection = central.accept();
            }
            connection.expect(&vector("framed", "query_1"));
            asked.push(Instant::now());
            let answer = if asked.len() < 3 { "not_yet" } else { "winners_agency4_dataset" };
            connection.reply(&vector("framed", answer));
        }
        let ended = agency.finish();
        assert_eq!(ended.code, Some(0), "{connection_use}");
        let lines: Vec<_> =
            ended.lines.iter().filter(|line| line.contains("consulta_ganadores")).collect();
        assert_eq!(lines.len(), 3);
        for line in &lines[..2] {
            assert!(line.ends_with("action: consulta_ganadores | result: in_progress"), "{line}");
        }
        assert!(lines[2].ends_with("result: success | cant_ganadores: 2"), "{}", lines[2]);
        for pair in asked.windows(2) {
            assert!(
                pair[1] - pair[0] >= Duration::from_millis(190),
                "repeated too soon: {asked:?}"
            );
        }
        ended.assert_log_parses();
        central.assert_no_other_connection();
    }
}

#[test]
fn a_central_that_closes_after_each_reply_still_gets_the_query() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("framed", central.address(), "").start();
    for _ in 0..2 {
        let mut connection = central.accept();
        connection.expect(&vector("framed", "finished_1"));
        connection.reply_and_close(&vector("framed", "ack"));
    }
    let mut connection = central.accept();
    connection.expect(&vector("framed", "query_1"));
    connection.reply(&vector("framed", "winners_L"));
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.count("consulta_ganadores | result: success | cant_ganadores: 1"), 1);
}

#[test]
fn a_close_after_the_reply_may_arrive_when_the_query_is_already_written() {
    for ends in [ServerConnection::close, ServerConnection::reset] {
        let central = FakeCentral::new();
        let agency = Setup::speaking("framed", central.address(), "")
            .args(["--connect-timeout", "30s"])
            .start();
        for _ in 0..2 {
            let mut connection = central.accept();
            Question::framed().receive(&mut connection);
            ends(connection);
        }
        let mut connection = central.accept();
        connection.expect(&vector("framed", "query_1"));
        connection.reply(&vector("framed", "winners_L"));
        assert_eq!(agency.finish().code, Some(0));
    }
}

#[test]
fn a_central_that_restarts_while_agencies_wait_gets_the_notification_each_time() {
    let central = FakeCentral::new();
    let agency =
        Setup::speaking("framed", central.address(), "").args(["--connect-timeout", "30s"]).start();
    for _ in 0..2 {
        let mut connection = central.accept();
        Question::framed().receive(&mut connection);
        // Longer than a central needs to close after a reply.
        thread::sleep(Duration::from_millis(2500));
        connection.close();
    }
    let mut connection = central.accept();
    Question::framed().receive(&mut connection);
    connection.reply(&vector("framed", "winners_none"));
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn a_central_that_restarts_between_two_queries_gets_the_notification_again() {
    let central = FakeCentral::new();
    let agency =
        Setup::speaking("framed", central.address(), "").args(["--loop-period", "300ms"]).start();
    let mut connection = central.accept();
    Question::framed().receive(&mut connection);
    connection.reply(&vector("framed", "not_yet"));
    // During the pause between two queries.
    connection.close();
    let mut connection = central.accept();
    Question::framed().receive(&mut connection);
    connection.reply(&vector("framed", "winners_none"));
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn an_answer_may_be_longer_than_a_packet() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("framed", central.address(), "").start();
    let mut connection = central.accept();
    Question::framed().receive(&mut connection);
    connection.reply(format!("WINNERS|{}\n", ["30904465"; 20_000].join("|")).as_bytes());
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("consulta_ganadores").ends_with("cant_ganadores: 20000"));
}

#[test]
fn an_endless_answer_ends_the_run() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("framed", central.address(), "").start();
    let mut connection = central.accept();
    Question::framed().receive(&mut connection);
    connection.reply(b"WINNERS|");
    connection.reply_until_closed(b"30904465|");
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    assert!(ended.line("result: fail").contains("the reply is longer than 4194304 bytes"));
}

#[test]
fn a_signal_ends_the_wait_at_once_and_cleanly() {
    for question in Question::all() {
        let dialect = question.dialect;
        for (signal, name) in [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")] {
            let central = FakeCentral::new();
            let agency = Setup::speaking(dialect, central.address(), "").start();
            let mut connection = central.accept();
            question.receive(&mut connection);
            agency.signal(signal);
            let ended = agency.finish_within(PROMPT);
            connection.assert_closed_by_agency();
            assert_eq!(ended.code, Some(0), "{dialect}: {ended:?}");
            assert_eq!(ended.count("result: fail"), 0);
            assert_eq!(ended.count("action: close_connection | result: success | client_id: 1"), 1);
            let exit = format!(
                "action: exit | result: success | client_id: 1 | signal: {name} | bets: 0 | batches: 0"
            );
            assert_eq!(ended.line("action: exit"), exit);
            ended.assert_log_parses();
        }
    }
}

#[test]
fn a_signal_between_two_queries_closes_the_kept_connection() {
    let central = FakeCentral::new();
    let mut agency =
        Setup::speaking("framed", central.address(), "").args(["--loop-period", "1h"]).start();
    let mut connection = central.accept();
    Question::framed().receive(&mut connection);
    connection.reply(&vector("framed", "not_yet"));
    agency.wait_for("consulta_ganadores");
    agency.signal(SIGTERM);
    let ended = agency.finish_within(PROMPT);
    connection.assert_closed_by_agency();
    assert_eq!((ended.code, ended.count("close_connection")), (Some(0), 1));
}

#[test]
fn a_waiting_connection_uses_tcp_keepalive() {
    for question in Question::all() {
        let dialect = question.dialect;
        let central = FakeCentral::new();
        let agency = Setup::speaking(dialect, central.address(), "").start();
        let mut connection = central.accept();
        question.receive(&mut connection);
        let (agency_port, central_port) = connection.ports();
        let entry = format!("0100007F:{agency_port:04X} 0100007F:{central_port:04X} ");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let line = table.lines().find(|line| line.contains(&entry)).unwrap();
            // The sixth field is the timer; 02 is the keepalive timer.
            let timer = line.split_whitespace().nth(5).unwrap();
            if timer.starts_with("02:") {
                break;
            }
            assert!(Instant::now() < deadline, "{dialect}: no keepalive in {line}");
        }
        drop(agency);
    }
}
