//! Whole runs in each dialect, byte by byte as the specification has them.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Central, ROW_L, ROWS_LT, Setup, THREE_ROWS, vector};

#[test]
fn counted_takes_a_connection_for_each_batch_and_one_for_the_end_which_it_leaves_with_the_final_byte()
 {
    for edition in ["counted", "counted-u8"] {
        let central = Central::new();
        let agency = Setup::speaking(edition, central.address(), ROW_L).start();
        let mut link = central.accept();
        link.expect(&vector(edition, "batch_L"));
        link.reply(&vector(edition, "ok"));
        link.assert_closed_by_agency();
        let mut link = central.accept();
        link.expect(&vector(edition, "end_agency_1"));
        link.reply(&vector(edition, "winners_L"));
        link.expect(&vector(edition, "final_ack"));
        link.assert_closed_by_agency();
        let ended = agency.finish();
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
        assert_eq!(
            ended.line("apuesta_enviada"),
            "action: apuesta_enviada | result: success | cantidad: 1"
        );
        assert_eq!(
            ended.line("consulta_ganadores"),
            "action: consulta_ganadores | result: success | cant_ganadores: 1"
        );
        assert!(ended.line("resumen").contains("apuestas: 1 | lotes: 1 | ganadores: 1 |"));
        assert_eq!(
            ended.line("loop_finished"),
            "action: loop_finished | result: success | client_id: 1"
        );
        ended.assert_log_parses();
        central.assert_nobody_else_came();
    }
}

#[test]
fn line_sends_everything_over_one_connection() {
    let central = Central::new();
    let agency = Setup::speaking("line", central.address(), ROWS_LT).start();
    let mut link = central.accept();
    let batch_end = vector("line", "batch_end_1_and_its_echo");
    link.expect(&[vector("line", "bet_L"), vector("line", "bet_T"), batch_end.clone()].concat());
    link.reply(&batch_end);
    link.expect(&vector("line", "ready_1"));
    link.reply(&vector("line", "winners_1"));
    link.assert_closed_by_agency();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert_eq!(
        ended.line("apuesta_enviada"),
        "action: apuesta_enviada | result: success | cantidad: 2"
    );
    assert!(ended.line("consulta_ganadores").ends_with("cant_ganadores: 1"));
    central.assert_nobody_else_came();
}

#[test]
fn framed_notifies_before_it_asks() {
    let central = Central::new();
    let agency = Setup::speaking("framed", central.address(), ROWS_LT).start();
    let mut link = central.accept();
    link.expect(&vector("framed", "batch_LT"));
    link.reply(&vector("framed", "success_2"));
    link.expect(&vector("framed", "finished_1"));
    link.reply(&vector("framed", "ack"));
    link.expect(&vector("framed", "query_1"));
    link.reply(&vector("framed", "winners_L"));
    link.assert_closed_by_agency();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("consulta_ganadores").ends_with("cant_ganadores: 1"));
    central.assert_nobody_else_came();
}

#[test]
fn framed_leaves_the_count_out_when_told_to() {
    let central = Central::new();
    let agency =
        Setup::speaking("framed", central.address(), ROW_L).args(["--without-count"]).start();
    // What the fifth exercise sends is a batch of one without its count.
    central.accept().expect(&vector("framed", "ej5_L"));
    drop(agency);
}

#[test]
fn sentinel_introduces_itself_with_the_first_message() {
    let central = Central::new();
    let agency = Setup::speaking("sentinel", central.address(), THREE_ROWS).start();
    let mut link = central.accept();
    link.expect(&[vector("sentinel", "id_1"), vector("sentinel", "batch_LTA")].concat());
    link.reply(&vector("sentinel", "ack"));
    link.expect(&vector("sentinel", "notify"));
    link.reply(&vector("sentinel", "winners_L"));
    link.assert_closed_by_agency();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("consulta_ganadores").ends_with("cant_ganadores: 1"));
    central.assert_nobody_else_came();
}

#[test]
fn an_agency_without_bets_goes_straight_to_the_end() {
    for (dialect, said, answer) in [
        ("typed", vec![vector("typed", "results_query")], vector("typed", "results_total_0")),
        ("counted", vec![vector("counted", "end_agency_1")], vector("counted", "winners_none")),
        (
            "counted-u8",
            vec![vector("counted-u8", "end_agency_1")],
            vector("counted-u8", "winners_none"),
        ),
        ("line", vec![vector("line", "ready_1")], vector("line", "winners_0")),
        (
            "sentinel",
            vec![vector("sentinel", "id_1"), vector("sentinel", "notify")],
            vector("sentinel", "winners_none"),
        ),
    ] {
        let central = Central::new();
        let agency = Setup::speaking(dialect, central.address(), "").start();
        let mut link = central.accept();
        link.expect(&said.concat());
        link.reply(&answer);
        let ended = agency.finish();
        assert_eq!(ended.code, Some(0), "{dialect}");
        assert_eq!(ended.count("apuesta_enviada"), 0);
        assert!(ended.line("consulta_ganadores").ends_with("cant_ganadores: 0"));
        central.assert_nobody_else_came();
    }
}

#[test]
fn a_refused_batch_ends_the_run_with_the_rows_that_are_stored_and_those_that_are_not() {
    for (dialect, ok, refusal) in [
        ("counted", "ok", "error"),
        ("counted-u8", "ok", "error"),
        ("framed", "success_1", "fail_0"),
        ("sentinel", "ack", "err"),
    ] {
        let central = Central::new();
        let agency = Setup::speaking(dialect, central.address(), THREE_ROWS)
            .args(["--batch-max-amount", "1"])
            .start();
        let batch = vector(dialect, "batch_L");
        let mut link = central.accept();
        if dialect == "sentinel" {
            link.expect(&vector(dialect, "id_1"));
        }
        link.expect(&batch);
        link.reply(&vector(dialect, ok));
        if dialect.starts_with("counted") {
            link = central.accept();
        }
        assert!(!link.hear().is_empty());
        link.reply(&vector(dialect, refusal));
        // Neither another batch nor the end: the agency has not sent all its bets.
        link.assert_closed_by_agency();
        let ended = agency.finish();
        assert_eq!(ended.code, Some(1), "{dialect}");
        assert_eq!(
            ended.line("result: fail"),
            "action: apuesta_enviada | result: fail | client_id: 1 | file: bets.csv | rows_refused: 2-2 | rows_stored: 1-1 | \
             error: the central refused rows 2-2; all before them are stored, nothing after them was sent"
        );
        ended.assert_log_parses();
        central.assert_nobody_else_came();
    }
}

#[test]
fn a_refused_answer_ends_the_run_with_the_words_of_the_central() {
    let central = Central::new();
    let agency = Setup::speaking("framed", central.address(), ROW_L).start();
    let mut link = central.accept();
    link.expect(&vector("framed", "batch_L"));
    link.reply(&vector("framed", "success_1"));
    link.expect(&vector("framed", "finished_1"));
    link.reply(&vector("framed", "ack"));
    link.expect(&vector("framed", "query_1"));
    link.reply(b"ERROR|no such agency\n");
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.line("result: fail"),
        "action: consulta_ganadores | result: fail | client_id: 1 | error: the central refused to answer: no such agency; \
         all rows are stored"
    );
}

#[test]
fn replies_of_every_dialect_are_understood_byte_by_byte() {
    let central = Central::new();
    let agency = Setup::speaking("framed", central.address(), ROW_L).start();
    let mut link = central.accept();
    for (said, answer) in
        [("batch_L", "success_1"), ("finished_1", "ack"), ("query_1", "winners_L")]
    {
        link.expect(&vector("framed", said));
        link.reply_byte_by_byte(&vector("framed", answer));
    }
    assert_eq!(agency.finish().code, Some(0));
    let central = Central::new();
    let agency = Setup::speaking("sentinel", central.address(), ROW_L).start();
    let mut link = central.accept();
    link.expect(&vector("sentinel", "id_1"));
    for (said, answer) in [("batch_L", "ack"), ("notify", "winners_L")] {
        link.expect(&vector("sentinel", said));
        link.reply_byte_by_byte(&vector("sentinel", answer));
    }
    assert_eq!(agency.finish().code, Some(0));
}
