//! Replies of the central: complete, in pieces, partial, wrong or missing.

use std::time::{Duration, Instant};

use crate::support::{FakeCentral, Setup, THREE_RECORDS, THREE_ROWS};

/// Returns the reply to a batch with the first of [`THREE_RECORDS`] as winner.
fn first_won() -> Vec<u8> {
    let record = THREE_RECORDS[0].as_bytes();
    let mut reply = vec![0, 1, 0, record.len() as u8];
    reply.extend_from_slice(record);
    reply
}

#[test]
fn a_run_logs_the_lines_of_the_course_in_order_and_its_totals() {
    let central = FakeCentral::new();
    let agency =
        Setup::agency(central.address(), THREE_ROWS).args(["--batch-max-amount", "2"]).start();
    let mut connection = central.accept();
    connection.read_batch();
    connection.reply(&first_won());
    central.accept_batch();
    central.answer_total(9);
    let ended = agency.finish();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    let messages: Vec<_> =
        ended.lines.iter().map(|line| &line[line.find("action:").unwrap()..]).collect();
    let config = format!(
        "action: config | result: success | client_id: 1 | server_address: {} | loop_amount: 5 | loop_period: 10ms | \
         log_level: INFO | protocol: typed | data: bets.csv | batch_max_amount: 2",
        central.address()
    );
    assert_eq!(messages[0], config);
    assert_eq!(
        messages[1..4],
        [
            "action: apuesta_enviada | result: success | cantidad: 2 | winners: 1",
            "action: apuesta_enviada | result: success | cantidad: 1 | winners: 0",
            "action: consulta_ganadores | result: success | cant_ganadores: 9",
        ]
    );
    let totals = "action: summary | result: success | client_id: 1 | bets: 3 | batches: 2 | winners: 1 | duration: ";
    assert!(messages[4].starts_with(totals), "{}", messages[4]);
    assert_eq!(messages[5..], ["action: loop_finished | result: success | client_id: 1"]);
    ended.assert_log_parses();
}

#[test]
fn a_partial_answer_is_logged_and_the_query_is_repeated_until_the_total() {
    let central = FakeCentral::new();
    let agency = Setup::agency(central.address(), "").args(["--loop-period", "200ms"]).start();
    let mut asked = Vec::new();
    for (in_flight, winners) in [(2, 3), (1, 4)] {
        let mut connection = central.accept();
        connection.read_query();
        asked.push(Instant::now());
        connection.reply(&[0, 0, in_flight, 0, 0, 0, winners]);
        connection.assert_closed_by_agency();
    }
    central.answer_total(5);
    asked.push(Instant::now());
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    let lines: Vec<_> =
        ended.lines.iter().filter(|line| line.contains("consulta_ganadores")).collect();
    assert!(
        lines[0].ends_with("result: in_progress | agencias_en_proceso: 2 | cant_ganadores: 3"),
        "{lines:?}"
    );
    assert!(
        lines[1].ends_with("result: in_progress | agencias_en_proceso: 1 | cant_ganadores: 4"),
        "{lines:?}"
    );
    assert!(lines[2].ends_with("result: success | cant_ganadores: 5"), "{lines:?}");
    for pair in asked.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(190), "repeated too soon: {asked:?}");
    }
}

#[test]
fn replies_that_arrive_byte_by_byte_are_decoded() {
    let central = FakeCentral::new();
    let agency = Setup::agency(central.address(), THREE_ROWS).start();
    let mut connection = central.accept();
    connection.read_batch();
    connection.reply_byte_by_byte(&first_won());
    connection.assert_closed_by_agency();
    let mut connection = central.accept();
    connection.read_query();
    connection.reply_byte_by_byte(&[0, 0, 1, 0, 0, 0, 1]);
    let mut connection = central.accept();
    connection.read_query();
    connection.reply_byte_by_byte(&[1, 0, 0, 0, 1]);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("apuesta_enviada").ends_with("cantidad: 3 | winners: 1"));
    assert!(ended.line("result: success | cant_ganadores: 1").contains("consulta_ganadores"));
}

#[test]
fn a_batch_whose_connection_ends_without_a_reply_is_in_doubt_and_ends_the_run() {
    let central = FakeCentral::new();
    let agency =
        Setup::agency(central.address(), THREE_ROWS).args(["--batch-max-amount", "1"]).start();
    central.accept_batch();
    let mut connection = central.accept();
    connection.read_batch();
    connection.close();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.line("result: fail"),
        "action: apuesta_enviada | result: fail | client_id: 1 | file: bets.csv | rows_in_doubt: 2-2 | rows_stored: 1-1 | \
         error: the central closed the connection before its reply was complete (0 bytes received); rows 2-2 may or may \
         not be stored; all rows before them are stored, none after them was sent"
    );
    ended.assert_log_parses();
    central.assert_no_other_connection();
}

#[test]
fn a_first_batch_in_doubt_is_reported_with_no_stored_rows() {
    let central = FakeCentral::new();
    let agency = Setup::agency(central.address(), THREE_ROWS).start();
    let mut connection = central.accept();
    connection.read_batch();
    connection.reply(&[0]);
    connection.close();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(
        line.contains("rows_in_doubt: 1-3 | rows_stored: none | error: the central closed"),
        "{line}"
    );
    central.assert_no_other_connection();
}

#[test]
fn a_later_batch_that_is_reset_is_not_retried() {
    let central = FakeCentral::new();
    let agency =
        Setup::agency(central.address(), THREE_ROWS).args(["--batch-max-amount", "2"]).start();
    central.accept_batch();
    let mut connection = central.accept();
    connection.read_batch();
    connection.reset();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(
        line.contains("rows_in_doubt: 3-3 | rows_stored: 1-2 | error: the connection was lost"),
        "{line}"
    );
    central.assert_no_other_connection();
}

#[test]
fn an_invalid_reply_to_a_batch_ends_the_run() {
    let too_long: Vec<u8> = [0xFF, 0xFF].into_iter().chain([0; 9000]).collect();
    for (reply, reason) in [
        (&[0, 0, 7][..], "invalid reply: 1 bytes after the end of the reply"),
        (&[0, 1, 0xFF, 0xFF], "invalid reply: record 1 announces 65535 bytes"),
        (&[0, 1, 0, 3, b'a', b';', b'b'], "invalid reply: record 1 has 2 fields"),
        (&too_long, "the reply is longer than 8192 bytes"),
    ] {
        let central = FakeCentral::new();
        let agency = Setup::agency(central.address(), THREE_ROWS).start();
        let mut connection = central.accept();
        connection.read_batch();
        connection.reply(reply);
        let ended = agency.finish();
        assert_eq!(ended.code, Some(1), "{reason}");
        let line = ended.line("result: fail");
        assert!(line.contains("rows_in_doubt: 1-3") && line.contains(reason), "{line}");
        central.assert_no_other_connection();
    }
}

#[test]
fn an_invalid_answer_to_the_query_ends_the_run() {
    let central = FakeCentral::new();
    let agency = Setup::agency(central.address(), THREE_ROWS).start();
    central.accept_batch();
    let mut connection = central.accept();
    connection.read_query();
    connection.reply(&[2]);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.line("result: fail"),
        "action: consulta_ganadores | result: fail | client_id: 1 | error: invalid reply: unknown reply type 2; \
         all rows are stored"
    );
}

#[test]
fn an_unanswered_query_is_retried() {
    let central = FakeCentral::new();
    let agency = Setup::agency(central.address(), "").args(["--reply-timeout", "300ms"]);
    let agency = agency.args(["--connect-timeout", "10s"]).start();
    let mut connection = central.accept();
    connection.read_query();
    connection.close();
    let mut connection = central.accept();
    connection.read_query();
    connection.reset();
    let mut silent = central.accept();
    silent.read_query();
    central.answer_total(3);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.count("action: connect | result: in_progress"), 3);
    assert!(ended.line("cant_ganadores").ends_with("result: success | cant_ganadores: 3"));
}

#[test]
fn a_query_is_not_retried_forever() {
    let central = FakeCentral::new();
    let agency = Setup::agency(central.address(), THREE_ROWS).start();
    central.accept_batch();
    let address = central.address();
    drop(central);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(
        line.starts_with("action: consulta_ganadores | result: fail | client_id: 1 | error: "),
        "{line}"
    );
    assert!(
        line.contains(&format!("{address} cannot be reached"))
            && line.ends_with("all rows are stored"),
        "{line}"
    );
}

#[test]
fn a_batch_that_is_never_answered_is_in_doubt_after_the_limit() {
    let central = FakeCentral::new();
    let agency =
        Setup::agency(central.address(), THREE_ROWS).args(["--reply-timeout", "200ms"]).start();
    let mut connection = central.accept();
    connection.read_batch();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(
        line.contains(
            "rows_in_doubt: 1-3 | rows_stored: none | error: no complete reply within 200ms"
        ),
        "{line}"
    );
}
