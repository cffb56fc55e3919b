//! Whole runs in each dialect, compared with the byte vectors of the specification.

use crate::support::{FakeCentral, ROW_L, ROWS_LT, Setup, THREE_ROWS, vector};

#[test]
fn counted_uses_a_connection_per_batch_and_one_for_the_end_with_a_final_byte() {
    for edition in ["counted", "counted-u8"] {
        let central = FakeCentral::new();
        let agency = Setup::speaking(edition, central.address(), ROW_L).start();
        let mut connection = central.accept();
        connection.expect(&vector(edition, "batch_L"));
        connection.reply(&vector(edition, "ok"));
        connection.assert_closed_by_agency();
        let mut connection = central.accept();
        connection.expect(&vector(edition, "end_agency_1"));
        connection.reply(&vector(edition, "winners_L"));
        connection.expect(&vector(edition, "final_ack"));
        connection.assert_closed_by_agency();
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
        assert!(ended.line("summary").contains("bets: 1 | batches: 1 | winners: 1 |"));
        assert_eq!(
            ended.line("loop_finished"),
            "action: loop_finished | result: success | client_id: 1"
        );
        ended.assert_log_parses();
        central.assert_no_other_connection();
    }
}

#[test]
fn line_sends_everything_over_one_connection() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("line", central.address(), ROWS_LT).start();
    let mut connection = central.accept();
    let batch_end = vector("line", "batch_end_1_and_its_echo");
    connection
        .expect(&[vector("line", "bet_L"), vector("line", "bet_T"), batch_end.clone()].concat());
    connection.reply(&batch_end);
    connection.expect(&vector("line", "ready_1"));
    connection.reply(&vector("line", "winners_1"));
    connection.assert_closed_by_agency();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert_eq!(
        ended.line("apuesta_enviada"),
        "action: apuesta_enviada | result: success | cantidad: 2"
    );
    assert!(ended.line("consulta_ganadores").ends_with("cant_ganadores: 1"));
    central.assert_no_other_connection();
}

#[test]
fn framed_notifies_before_it_asks() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("framed", central.address(), ROWS_LT).start();
    let mut connection = central.accept();
    connection.expect(&vector("framed", "batch_LT"));
    connection.reply(&vector("framed", "success_2"));
    connection.expect(&vector("framed", "finished_1"));
    connection.reply(&vector("framed", "ack"));
    connection.expect(&vector("framed", "query_1"));
    connection.reply(&vector("framed", "winners_L"));
    connection.assert_closed_by_agency();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("consulta_ganadores").ends_with("cant_ganadores: 1"));
    central.assert_no_other_connection();
}

#[test]
fn framed_omits_the_count_with_the_without_count_flag() {
    let central = FakeCentral::new();
    let agency =
        Setup::speaking("framed", central.address(), ROW_L).args(["--without-count"]).start();
    // Exercise 5 sends a batch of one bet without its count.
    central.accept().expect(&vector("framed", "ej5_L"));
    drop(agency);
}

#[test]
fn sentinel_sends_its_id_with_the_first_message() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("sentinel", central.address(), THREE_ROWS).start();
    let mut connection = central.accept();
    connection.expect(&[vector("sentinel", "id_1"), vector("sentinel", "batch_LTA")].concat());
    connection.reply(&vector("sentinel", "ack"));
    connection.expect(&vector("sentinel", "notify"));
    connection.reply(&vector("sentinel", "winners_L"));
    connection.assert_closed_by_agency();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("consulta_ganadores").ends_with("cant_ganadores: 1"));
    central.assert_no_other_connection();
}

#[test]
fn an_agency_without_bets_only_asks_for_the_winners() {
    for (dialect, sent, answer) in [
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
        let central = FakeCentral::new();
        let agency = Setup::speaking(dialect, central.address(), "").start();
        let mut connection = central.accept();
        connection.expect(&sent.concat());
        connection.reply(&answer);
        let ended = agency.finish();
        assert_eq!(ended.code, Some(0), "{dialect}");
        assert_eq!(ended.count("apuesta_enviada"), 0);
        assert!(ended.line("consulta_ganadores").ends_with("cant_ganadores: 0"));
        central.assert_no_other_connection();
    }
}

#[test]
fn a_refused_batch_ends_the_run_and_the_line_names_stored_and_refused_rows() {
    for (dialect, ok, refusal) in [
        ("counted", "ok", "error"),
        ("counted-u8", "ok", "error"),
        ("framed", "success_1", "fail_0"),
        ("sentinel", "ack", "err"),
    ] {
        let central = FakeCentral::new();
        let agency = Setup::speaking(dialect, central.address(), THREE_ROWS)
            .args(["--batch-max-amount", "1"])
            .start();
        let batch = vector(dialect, "batch_L");
        let mut connection = central.accept();
        if dialect == "sentinel" {
            connection.expect(&vector(dialect, "id_1"));
        }
        connection.expect(&batch);
        connection.reply(&vector(dialect, ok));
        if dialect.starts_with("counted") {
            connection = central.accept();
        }
        assert!(!connection.receive().is_empty());
        connection.reply(&vector(dialect, refusal));
        // The agency sends neither another batch nor the query.
        connection.assert_closed_by_agency();
        let ended = agency.finish();
        assert_eq!(ended.code, Some(1), "{dialect}");
        assert_eq!(
            ended.line("result: fail"),
            "action: apuesta_enviada | result: fail | client_id: 1 | file: bets.csv | rows_refused: 2-2 | rows_stored: 1-1 | \
             error: the central refused rows 2-2; all rows before them are stored, \
             none after them was sent | next: see the central's log for the reason; \
             after its draw it accepts bets only in another storage directory"
        );
        ended.assert_log_parses();
        central.assert_no_other_connection();
    }
}

#[test]
fn a_refused_query_ends_the_run_with_the_error_text_of_the_central() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("framed", central.address(), ROW_L).start();
    let mut connection = central.accept();
    connection.expect(&vector("framed", "batch_L"));
    connection.reply(&vector("framed", "success_1"));
    connection.expect(&vector("framed", "finished_1"));
    connection.reply(&vector("framed", "ack"));
    connection.expect(&vector("framed", "query_1"));
    connection.reply(b"ERROR|no such agency\n");
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.line("result: fail"),
        "action: consulta_ganadores | result: fail | client_id: 1 | error: the central refused to answer: no such agency; \
         all rows are stored"
    );
}

#[test]
fn replies_that_arrive_byte_by_byte_are_decoded_in_framed_and_sentinel() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("framed", central.address(), ROW_L).start();
    let mut connection = central.accept();
    for (sent, answer) in
        [("batch_L", "success_1"), ("finished_1", "ack"), ("query_1", "winners_L")]
    {
        connection.expect(&vector("framed", sent));
        connection.reply_byte_by_byte(&vector("framed", answer));
    }
    assert_eq!(agency.finish().code, Some(0));
    let central = FakeCentral::new();
    let agency = Setup::speaking("sentinel", central.address(), ROW_L).start();
    let mut connection = central.accept();
    connection.expect(&vector("sentinel", "id_1"));
    for (sent, answer) in [("batch_L", "ack"), ("notify", "winners_L")] {
        connection.expect(&vector("sentinel", sent));
        connection.reply_byte_by_byte(&vector("sentinel", answer));
    }
    assert_eq!(agency.finish().code, Some(0));
}
