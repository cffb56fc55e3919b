//! The wait for the draw: as long as it takes, across lost connections, and ended at once by a signal.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGINT, SIGTERM};
use support::{Central, Link, PROMPT, ROW_L, Setup, dialects_that, vector};

/// How a dialect ends and what it is told then.
struct Question {
    dialect: &'static str,
    /// What an agency without bets says on a new connection, each with the reply to it; the last has no reply yet.
    said: Vec<(Vec<u8>, Vec<u8>)>,
    /// The answer that one of its bets won.
    answer: Vec<u8>,
}

impl Question {
    /// One that is a message of its own.
    fn alone(dialect: &'static str, said: &[&str], answer: &str) -> Self {
        let bytes = said.iter().flat_map(|name| vector(dialect, name)).collect();
        Self { dialect, said: vec![(bytes, Vec::new())], answer: vector(dialect, answer) }
    }

    /// The one of `framed`, which follows a notification.
    fn framed() -> Self {
        let said = [("finished_1", "ack"), ("query_1", "")];
        let bytes = |name: &str| if name.is_empty() { Vec::new() } else { vector("framed", name) };
        let said = said.map(|(said, reply)| (bytes(said), bytes(reply))).to_vec();
        Self { dialect: "framed", said, answer: bytes("winners_L") }
    }

    /// Those of every dialect that waits.
    fn all() -> Vec<Self> {
        let all = vec![
            Self::alone("counted", &["end_agency_1"], "winners_L"),
            Self::alone("counted-u8", &["end_agency_1"], "winners_L"),
            Self::alone("line", &["ready_1"], "winners_1"),
            Self::alone("sentinel", &["id_1", "notify"], "winners_L"),
            Self::framed(),
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

    /// Reads it, on a new connection.
    fn hear(&self, link: &mut Link) {
        for (said, reply) in &self.said {
            link.expect(said);
            link.reply(reply);
        }
    }
}

#[test]
fn a_draw_may_take_longer_than_any_reply() {
    for question in Question::all() {
        let dialect = question.dialect;
        let central = Central::new();
        let mut agency = Setup::speaking(dialect, central.address(), "")
            .args(["--reply-timeout", "250ms"])
            .start();
        let mut link = central.accept();
        question.hear(&mut link);
        std::thread::sleep(Duration::from_millis(700));
        assert!(agency.is_alive(), "{dialect}");
        link.reply(&question.answer);
        let ended = agency.finish();
        assert_eq!(ended.code, Some(0), "{dialect}: {ended:?}");
        assert!(ended.line("consulta_ganadores").ends_with("result: success | cant_ganadores: 1"));
        assert_eq!(ended.count("in_progress"), 0, "{dialect}");
        central.assert_nobody_else_came();
    }
}

#[test]
fn a_connection_that_is_lost_during_the_wait_is_made_again_and_everything_is_said_again() {
    for question in Question::all() {
        let dialect = question.dialect;
        let central = Central::new();
        let agency = Setup::speaking(dialect, central.address(), "")
            .args(["--connect-timeout", "30s"])
            .start();
        let mut link = central.accept();
        question.hear(&mut link);
        link.close();
        let mut link = central.accept();
        question.hear(&mut link);
        link.reset();
        // Half an answer is none.
        let mut link = central.accept();
        question.hear(&mut link);
        link.reply(&question.answer[..question.answer.len() / 2]);
        link.close();
        let mut link = central.accept();
        question.hear(&mut link);
        link.reply(&question.answer);
        let ended = agency.finish();
        assert_eq!(ended.code, Some(0), "{dialect}: {ended:?}");
        assert!(ended.line("consulta_ganadores").ends_with("result: success | cant_ganadores: 1"));
        assert_eq!(ended.count("action: connect | result: in_progress"), 3, "{dialect}");
        ended.assert_log_parses();
        central.assert_nobody_else_came();
    }
}

#[test]
fn only_the_end_is_said_again_not_the_bets() {
    let central = Central::new();
    let agency = Setup::speaking("sentinel", central.address(), ROW_L).start();
    let mut link = central.accept();
    link.expect(&[vector("sentinel", "id_1"), vector("sentinel", "batch_L")].concat());
    link.reply(&vector("sentinel", "ack"));
    link.expect(&vector("sentinel", "notify"));
    link.close();
    let mut link = central.accept();
    link.expect(&[vector("sentinel", "id_1"), vector("sentinel", "notify")].concat());
    link.reply(&vector("sentinel", "winners_L"));
    link.assert_closed_by_agency();
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn a_central_that_restarts_during_the_wait_is_waited_for() {
    let central = Central::new();
    let address = central.address();
    let mut agency =
        Setup::speaking("counted", address, "").args(["--connect-timeout", "30s"]).start();
    let mut link = central.accept();
    link.expect(&vector("counted", "end_agency_1"));
    drop(central);
    link.reset();
    agency.wait_for("refused");
    let central = Central::at(address);
    let mut link = central.accept();
    link.expect(&vector("counted", "end_agency_1"));
    link.reply(&vector("counted", "winners_none"));
    link.expect(&vector("counted", "final_ack"));
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn each_long_wait_that_is_lost_is_a_new_reason_to_try_for_the_whole_limit() {
    let central = Central::new();
    let agency = Setup::speaking("counted", central.address(), "")
        .args(["--connect-timeout", "200ms"])
        .start();
    for _ in 0..3 {
        let mut link = central.accept();
        link.expect(&vector("counted", "end_agency_1"));
        std::thread::sleep(Duration::from_millis(300));
        link.close();
    }
    let mut link = central.accept();
    link.expect(&vector("counted", "end_agency_1"));
    link.reply(&vector("counted", "winners_none"));
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.count("in_progress | client_id: 1 | attempt: 1 |"), 3);
}

#[test]
fn a_central_that_does_not_come_back_ends_the_run_with_all_rows_stored() {
    let central = Central::new();
    let agency = Setup::speaking("line", central.address(), "").start();
    let mut link = central.accept();
    link.expect(&vector("line", "ready_1"));
    drop(central);
    link.close();
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
fn a_central_that_turns_every_question_away_is_not_asked_for_ever() {
    let central = Central::new();
    let mut agency = Setup::speaking("counted", central.address(), "").start();
    let began = Instant::now();
    while agency.is_alive() {
        assert!(began.elapsed() < support::PATIENCE, "it still asks");
        if let Some(mut link) = central.try_accept() {
            link.expect(&vector("counted", "end_agency_1"));
            link.close();
        }
    }
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(line.contains(&format!("{} cannot be reached", central.address())), "{line}");
}

#[test]
fn an_answer_that_has_begun_has_to_be_whole_in_time() {
    let central = Central::new();
    let agency = Setup::speaking("sentinel", central.address(), "")
        .args(["--reply-timeout", "200ms", "--connect-timeout", "30s"])
        .start();
    let mut silent = central.accept();
    silent.expect(&[vector("sentinel", "id_1"), vector("sentinel", "notify")].concat());
    silent.reply(&vector("sentinel", "winners_L")[..3]);
    let mut link = central.accept();
    link.expect(&[vector("sentinel", "id_1"), vector("sentinel", "notify")].concat());
    link.reply(&vector("sentinel", "winners_L"));
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    let line = ended.line("action: connect | result: in_progress");
    assert!(line.contains("no whole reply within 200ms (3 bytes of it came)"), "{line}");
}

#[test]
fn a_notification_that_is_not_acknowledged_in_time_is_said_again() {
    let central = Central::new();
    let agency = Setup::speaking("framed", central.address(), "")
        .args(["--reply-timeout", "200ms", "--connect-timeout", "30s"])
        .start();
    let mut silent = central.accept();
    silent.expect(&vector("framed", "finished_1"));
    let mut link = central.accept();
    Question::framed().hear(&mut link);
    link.reply(&vector("framed", "winners_none"));
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("consulta_ganadores").ends_with("cant_ganadores: 0"));
}

#[test]
fn a_central_that_lets_nobody_wait_is_asked_again_until_the_draw() {
    for connection in ["kept", "per-request"] {
        let central = Central::new();
        let agency = Setup::speaking("framed", central.address(), "")
            .args(["--connection", connection, "--loop-period", "200ms"])
            .start();
        let mut link = central.accept();
        link.expect(&vector("framed", "finished_1"));
        link.reply(&vector("framed", "ack"));
        let mut asked = Vec::new();
        for _ in 0..3 {
            if connection == "per-request" {
                link = central.accept();
            }
            link.expect(&vector("framed", "query_1"));
            asked.push(Instant::now());
            let answer = if asked.len() < 3 { "not_yet" } else { "winners_agency4_dataset" };
            link.reply(&vector("framed", answer));
        }
        let ended = agency.finish();
        assert_eq!(ended.code, Some(0), "{connection}");
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
                "asked again too soon: {asked:?}"
            );
        }
        ended.assert_log_parses();
        central.assert_nobody_else_came();
    }
}

#[test]
fn a_central_that_closes_after_each_reply_is_asked_all_the_same() {
    let central = Central::new();
    let agency = Setup::speaking("framed", central.address(), "").start();
    for _ in 0..2 {
        let mut link = central.accept();
        link.expect(&vector("framed", "finished_1"));
        link.reply(&vector("framed", "ack"));
        link.close();
    }
    let mut link = central.accept();
    link.expect(&vector("framed", "query_1"));
    link.reply(&vector("framed", "winners_L"));
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.count("consulta_ganadores | result: success | cant_ganadores: 1"), 1);
}

#[test]
fn a_central_that_comes_back_without_knowing_who_has_finished_is_told_again() {
    let central = Central::new();
    let agency =
        Setup::speaking("framed", central.address(), "").args(["--loop-period", "300ms"]).start();
    let mut link = central.accept();
    Question::framed().hear(&mut link);
    link.reply(&vector("framed", "not_yet"));
    // Within the period between two questions.
    link.close();
    let mut link = central.accept();
    Question::framed().hear(&mut link);
    link.reply(&vector("framed", "winners_none"));
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn the_winners_may_be_more_than_fit_a_packet() {
    let central = Central::new();
    let agency = Setup::speaking("framed", central.address(), "").start();
    let mut link = central.accept();
    Question::framed().hear(&mut link);
    link.reply(format!("WINNERS|{}\n", ["30904465"; 20_000].join("|")).as_bytes());
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("consulta_ganadores").ends_with("cant_ganadores: 20000"));
}

#[test]
fn an_answer_without_end_ends_the_run() {
    let central = Central::new();
    let agency = Setup::speaking("framed", central.address(), "").start();
    let mut link = central.accept();
    Question::framed().hear(&mut link);
    link.reply(b"WINNERS|");
    link.reply_until_closed(b"30904465|");
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    assert!(ended.line("result: fail").contains("the reply has more than 4194304 bytes"));
}

#[test]
fn a_signal_ends_the_wait_at_once_and_cleanly() {
    for question in Question::all() {
        let dialect = question.dialect;
        for (signal, name) in [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")] {
            let central = Central::new();
            let agency = Setup::speaking(dialect, central.address(), "").start();
            let mut link = central.accept();
            question.hear(&mut link);
            agency.signal(signal);
            let ended = agency.finish_within(PROMPT);
            link.assert_closed_by_agency();
            assert_eq!(ended.code, Some(0), "{dialect}: {ended:?}");
            assert_eq!(ended.count("result: fail"), 0);
            assert_eq!(ended.count("action: close_connection | result: success | client_id: 1"), 1);
            let exit = format!(
                "action: exit | result: success | client_id: 1 | signal: {name} | apuestas: 0 | lotes: 0"
            );
            assert_eq!(ended.line("action: exit"), exit);
            ended.assert_log_parses();
        }
    }
}

#[test]
fn a_signal_between_two_questions_closes_the_kept_connection() {
    let central = Central::new();
    let mut agency =
        Setup::speaking("framed", central.address(), "").args(["--loop-period", "1h"]).start();
    let mut link = central.accept();
    Question::framed().hear(&mut link);
    link.reply(&vector("framed", "not_yet"));
    agency.wait_for("consulta_ganadores");
    agency.signal(SIGTERM);
    let ended = agency.finish_within(PROMPT);
    link.assert_closed_by_agency();
    assert_eq!((ended.code, ended.count("close_connection")), (Some(0), 1));
}

#[test]
fn the_system_watches_over_a_connection_that_waits() {
    for question in Question::all() {
        let dialect = question.dialect;
        let central = Central::new();
        let agency = Setup::speaking(dialect, central.address(), "").start();
        let mut link = central.accept();
        question.hear(&mut link);
        let (agency_port, central_port) = link.ports();
        let entry = format!("0100007F:{agency_port:04X} 0100007F:{central_port:04X} ");
        let deadline = Instant::now() + support::PATIENCE;
        loop {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let line = table.lines().find(|line| line.contains(&entry)).unwrap();
            // State, queues, timer: 02 is the one of keepalive.
            let timer = line.split_whitespace().nth(5).unwrap();
            if timer.starts_with("02:") {
                break;
            }
            assert!(Instant::now() < deadline, "{dialect}: no keepalive in {line}");
        }
        drop(agency);
    }
}
