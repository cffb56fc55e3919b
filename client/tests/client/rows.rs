//! Rows that cannot be sent: the run ends before their batch with file, row and reason, and all
//! earlier batches arrive.

use crate::support::{FakeCentral, Setup, THREE_RECORDS, THREE_ROWS};

/// Sends [`THREE_ROWS`] and this fourth row in batches of two. The first batch must arrive, the
/// second must not. Returns the log line of the failure.
fn refused(fourth: &[u8]) -> String {
    let central = FakeCentral::new();
    let rows = [THREE_ROWS.as_bytes(), fourth].concat();
    let agency = Setup::agency(central.address(), rows).args(["--batch-max-amount", "2"]).start();
    assert_eq!(central.accept_batch(), THREE_RECORDS[..2]);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    central.assert_no_other_connection();
    ended.assert_log_parses();
    assert_eq!(ended.count("apuesta_enviada"), 1);
    ended.line("result: fail").to_owned()
}

#[test]
fn the_log_line_names_file_row_reason_and_stored_rows() {
    assert_eq!(
        refused(b"Ana,Paz,1,2001-02-29,7\r\n"),
        "action: read_bets | result: fail | client_id: 1 | file: bets.csv | row: 4 | file_line: 4 | rows_stored: 1-2 | error: \
         birthdate \"2001-02-29\" is not a calendar date of the form YYYY-MM-DD; nothing from row 3 on was sent"
    );
}

#[test]
fn each_fault_of_a_row_is_reported_with_its_reason() {
    let long_name = format!("{},Paz,1,2000-01-01,7", "ñ".repeat(128));
    for (row, reason) in [
        (&b"Ana,Paz,1"[..], "3 columns, but the rows before have 5"),
        (b"Ana,Paz,1,2000-01-01", "4 columns, but the rows before have 5"),
        (b"Ana,Paz,1,2000-01-01,7,8", "6 columns, but the rows before have 5"),
        (b"\"Ana,Paz,1,2000-01-01,7", "1 columns, but the rows before have 5"),
        (b"Ana,Paz,1,2000-13-01,7", "birthdate \"2000-13-01\" is not a calendar date"),
        (b"Ana,Paz,1,,7", "birthdate \"\" is not a calendar date"),
        (b"Ana,Paz,1, 2000-01-01,7", "birthdate \" 2000-01-01\" is not a calendar date"),
        (
            b"Ana,Paz,1,2000-01-01,4294967296",
            "number \"4294967296\" is not a plain decimal from 0 to 4294967295",
        ),
        (b"Ana,Paz,1,2000-01-01,", "number \"\" is not a plain decimal"),
        (b"Ana,Paz,1,2000-01-01,-1", "number \"-1\" is not a plain decimal"),
        (b"Ana,Paz,1,2000-01-01,+1", "number \"+1\" is not a plain decimal"),
        (b"Ana,Paz,1,2000-01-01, 1", "number \" 1\" is not a plain decimal"),
        (b"Ana,Paz,1,2000-01-01,7x", "number \"7x\" is not a plain decimal"),
        (b"An\xE1,Paz,1,2000-01-01,7", "first name is not UTF-8"),
        (b"Ana,P\xFFz,1,2000-01-01,7", "last name is not UTF-8"),
        (b"Ana,Paz,1,2000-01-01,\xFF", "number is not UTF-8"),
        (long_name.as_bytes(), "first name has 256 bytes, at most 255 are allowed"),
        (b"Ana,\"Pa\nz\",1,2000-01-01,7", "last name holds the control character U+000A"),
        (b"Ana,Paz,\x001,2000-01-01,7", "document holds the control character U+0000"),
        (
            b"An;a,Paz,1,2000-01-01,7",
            "first name holds ';', which separates the fields on the wire",
        ),
        (b"Ana,Paz;,1,2000-01-01,7", "last name holds ';'"),
        (b"Ana,Paz,;1,2000-01-01,7", "document holds ';'"),
    ] {
        let line = refused(row);
        assert!(
            line.contains("row: 4 | file_line: 4 | rows_stored: 1-2 |") && line.contains(reason),
            "{reason}: {line}"
        );
    }
}

#[test]
fn an_unclosed_quote_does_not_read_a_large_file_into_memory() {
    let rest = [&b"\"Ana,Paz,1,2000-01-01,7\n"[..], &b"Eva,Luna,2,2000-01-01,8\n".repeat(100_000)]
        .concat();
    let line = refused(&rest);
    assert!(
        line.contains("row: 4") && line.contains("more than 65536 bytes; is a quote not closed?"),
        "{line}"
    );
}

#[test]
fn a_full_batch_is_sent_even_if_the_next_row_is_bad() {
    let central = FakeCentral::new();
    let rows = format!("{THREE_ROWS}bad row\n");
    let agency = Setup::agency(central.address(), rows).args(["--batch-max-amount", "3"]).start();
    assert_eq!(central.accept_batch(), THREE_RECORDS);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    assert!(ended.line("result: fail").contains("row: 4 | file_line: 4 | rows_stored: 1-3"));
}

#[test]
fn a_first_row_with_a_wrong_number_of_columns_is_refused_before_anything_is_sent() {
    let central = FakeCentral::new();
    let ended = Setup::agency(central.address(), "Ana,Paz,1\n").finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(
        line.contains(
            "row: 1 | file_line: 1 | rows_stored: none | error: 3 columns, expected 5 (first name, "
        ),
        "{line}"
    );
    central.assert_no_other_connection();
}

#[test]
fn a_number_in_a_file_without_numbers_is_refused() {
    let central = FakeCentral::new();
    let ended = Setup::agency(central.address(), "Ana,Paz,1,2000-01-01\nEva,Luna,2,2000-01-01,7\n")
        .finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(
        line.contains("row: 2") && line.contains("5 columns, but the rows before have 4"),
        "{line}"
    );
}

#[test]
fn a_missing_file_or_a_directory_ends_the_run_with_its_name() {
    let central = FakeCentral::new();
    for (path, reason) in [("nothing.csv", "No such file or directory"), (".", "Is a directory")] {
        let ended = Setup::agency(central.address(), "").args(["--data", path]).finish();
        assert_eq!(ended.code, Some(1));
        let line = ended.line("result: fail");
        let begin = format!(
            "action: read_bets | result: fail | client_id: 1 | file: {path} | rows_stored: none | error: cannot read the file: {reason}"
        );
        assert!(line.starts_with(&begin), "{line}");
    }
    central.assert_no_other_connection();
}

#[test]
fn memory_does_not_grow_with_the_file() {
    let central = FakeCentral::new();
    let rows = "Santiago Lionel,Lorca,30904465,1999-03-17,7574\r\n".repeat(200_000);
    let size = rows.len();
    let mut agency =
        Setup::agency(central.address(), rows).args(["--batch-max-amount", "65535"]).start();
    // Measure after one batch, when all one-time allocations have been made.
    central.accept_batch();
    let first = resident(&agency.status());
    let mut left = 200_000 - 167;
    while left > 20_000 {
        left -= central.accept_batch().len();
    }
    let last = resident(&agency.status());
    assert!(last < first + size / 8, "{first} bytes grew to {last} over a file of {size}");
    assert!(agency.is_alive());
}

/// Returns the resident bytes from the text of `/proc/PID/status`.
fn resident(status: &str) -> usize {
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}
