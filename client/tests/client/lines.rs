//! Lines, separators and encodings of a file of bets, and bets without their numbers.

use crate::support::{FakeCentral, ROW_L, Setup, THREE_RECORDS, THREE_ROWS};

/// Runs an agency whose file the central never gets to see. Returns the log line of the failure.
fn refused(rows: &[u8]) -> String {
    let central = FakeCentral::new();
    let ended = Setup::agency(central.address(), rows).finish();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    central.assert_no_other_connection();
    ended.assert_log_parses();
    ended.line("result: fail").to_owned()
}

#[test]
fn a_bad_row_is_named_with_its_line_where_empty_lines_precede_it() {
    for (rows, row, line) in [
        ("\n\r\nAna,Paz,1,2000-01-01\n\n\nbad row\n", 2, 6),
        ("Ana,Paz,1,2000-01-01\r\n\r\nbad row", 2, 3),
        ("\"An\na\",Paz,1,2000-01-01\n", 1, 1),
        ("Ana,Paz,1,2000-01-01\n\n\"E\n\nva\",Luna,2,2000-01-01\n", 2, 3),
        ("Ana,Paz,1,2000-01-01\nEva,Luna,2,2000-01-01\nbad row", 3, 3),
        ("\u{feff}Ana,Paz,1,2000-01-01\nbad row\n", 2, 2),
    ] {
        let logged = refused(rows.as_bytes());
        assert!(
            logged.contains(&format!("| row: {row} | file_line: {line} |")),
            "{rows:?}: {logged}"
        );
    }
}

#[test]
fn the_line_is_right_far_into_a_large_file() {
    let rows = format!("{}bad row\n", "Ana,Paz,1,2000-01-01\n\n".repeat(10_000));
    let central = FakeCentral::new();
    let agency = Setup::agency(central.address(), rows).start();
    for _ in 0..100 {
        assert_eq!(central.accept_batch().len(), 100);
    }
    let ended = agency.finish();
    assert!(ended.line("result: fail").contains("| row: 10001 | file_line: 20001 |"), "{ended:?}");
}

#[test]
fn a_batch_in_doubt_is_named_with_its_lines_if_they_differ_from_its_rows() {
    for (rows, named) in [
        (THREE_ROWS.replace("\r\n", "\n\n"), "1-3 (lines 1-5)"),
        (THREE_ROWS.to_owned(), "rows 1-3 may"),
    ] {
        let central = FakeCentral::new();
        let agency = Setup::agency(central.address(), rows).start();
        let mut connection = central.accept();
        connection.read_batch();
        connection.close();
        let ended = agency.finish();
        let line = ended.line("result: fail");
        assert!(line.contains(named), "{line}");
        ended.assert_log_parses();
    }
}

#[test]
fn another_separator_is_named() {
    for (separator, name) in [(";", ";"), ("\t", "tabs"), ("|", "¦")] {
        let logged = refused(THREE_ROWS.replace(',', separator).as_bytes());
        let reason = format!("the columns are separated by {name}, expected commas");
        assert!(logged.contains("row: 1 | file_line: 1") && logged.contains(&reason), "{logged}");
    }
    // A comma in a name of a file with other separators.
    let logged = refused(b"Ana;Paz, de;1;2000-01-01;7\n");
    assert!(logged.contains("separated by ;"), "{logged}");
}

#[test]
fn another_encoding_is_named() {
    let text = THREE_ROWS.encode_utf16();
    let little: Vec<u8> = text.clone().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.flat_map(u16::to_be_bytes).collect();
    for rows in [[b"\xFF\xFE", &little[..]].concat(), [b"\xFE\xFF", &big[..]].concat(), little] {
        assert!(refused(&rows).contains("the file is in UTF-16: save it as UTF-8"));
    }
    let logged = refused(b"Jos\xE9,Paz,1,2000-01-01,7\n");
    assert!(logged.contains("first name is not UTF-8: save the file as UTF-8"), "{logged}");
    assert!(logged.contains("iconv -f LATIN1 -t UTF-8"), "{logged}");
}

#[test]
fn bets_can_be_sent_without_their_numbers() {
    let central = FakeCentral::new();
    let agency = Setup::agency(central.address(), THREE_ROWS).args(["--without-number"]).start();
    let records = THREE_RECORDS.map(|record| record.rsplit_once(';').unwrap().0.to_owned());
    assert_eq!(central.accept_batch(), records);
    central.answer_total(0);
    assert_eq!(agency.finish().code, Some(0));

    let single = [
        ("NOMBRE", "Santiago Lionel"),
        ("APELLIDO", "Lorca"),
        ("DOCUMENTO", "30904465"),
        ("NACIMIENTO", "1999-03-17"),
        ("NUMERO", "7574"),
    ];
    let setup = Setup::agency(central.address(), ROW_L).args(["--without-number"]);
    let agency = single.iter().fold(setup, |setup, (name, value)| setup.env(name, value)).start();
    assert_eq!(central.accept_batch(), records[..1]);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn a_dialect_that_requires_numbers_refuses_to_leave_them_out() {
    let central = FakeCentral::new();
    let ended =
        Setup::speaking("framed", central.address(), ROW_L).args(["--without-number"]).finish();
    assert_eq!((ended.code, ended.lines.len()), (Some(2), 0));
    assert_eq!(
        ended.errors,
        "client: --without-number is not accepted: every bet has a number in framed; omit the flag, \
         or choose one of the protocols typed, keyed\n"
    );
}

#[test]
fn a_byte_order_mark_of_the_configuration_file_is_skipped_and_another_encoding_is_named() {
    let check = |content: &[u8]| {
        Setup::new().file("config.yaml", content).args(["--check-config"]).finish()
    };
    assert_eq!(check("\u{feff}id: 1\n".as_bytes()).code, Some(0));
    let wide: Vec<u8> = "\u{feff}id: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (content, reason) in [
        (&wide[..], "is in UTF-16: save it as UTF-8"),
        (b"# A\xF1o\nid: 1\n", "is not UTF-8 in line 1: save it as UTF-8, it may be in Latin-1"),
    ] {
        let ended = check(content);
        assert_eq!(ended.code, Some(2));
        assert_eq!(ended.errors, format!("client: the configuration file config.yaml {reason}\n"));
    }
}
