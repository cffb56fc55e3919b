//! What the central writes: `bets.csv` as the course's own program does, and `winners.log` as the
//! assignment says.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use crate::harness::{Setup, left_out, packet_of_records};

/// Names that are difficult for a CSV writer.
const NAMES: [&str; 14] = [
    "Santiago Lionel",
    "Ana, María",
    "Juan \"Nito\" Álvarez",
    "\"",
    "\"\"",
    ",",
    "",
    " con espacios ",
    "O'Higgins",
    "Ñandú 🎲 日本",
    "#comentario",
    "=1+1",
    "a\\b",
    "a|b\u{a0}c",
];

/// Reads rows as JSON and writes them as `store_bets` of the course does.
const PYTHON: &str = "import csv, io, json, sys
rows = json.loads(sys.stdin.buffer.read())
text = io.StringIO(newline='')
csv.writer(text, quoting=csv.QUOTE_MINIMAL).writerows(rows)
sys.stdout.buffer.write(text.getvalue().encode('utf-8'))";

fn setup() -> Setup {
    Setup::new()
}

/// Returns these rows as `csv.writer` of Python writes them; `None` without Python.
fn as_python_writes(rows: &[[&str; 6]]) -> Option<Vec<u8>> {
    let python = Command::new("python3")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut python = match python {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        python => python.unwrap(),
    };
    let rows: Vec<_> = rows.iter().map(|row| row.as_slice()).collect();
    let json = serde_json::to_vec(&rows).unwrap();
    python.stdin.take().unwrap().write_all(&json).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(output.stdout)
}

#[test]
fn bets_csv_equals_the_output_of_the_csv_writer_of_python_byte_for_byte() {
    let setup = setup();
    let central = setup.start();
    let (mut records, mut rows) = (Vec::new(), Vec::new());
    for first in NAMES {
        for last in NAMES {
            records.push(format!("{first};{last};{last}{first};1999-03-17;1033"));
            rows.push((first, last, format!("{last}{first}")));
        }
    }
    assert_eq!(central.request(&packet_of_records(&records)), [0, 0]);
    let stored = setup.read_stored("bets.csv");

    let rows: Vec<_> = rows
        .iter()
        .map(|(first, last, document)| ["0", first, last, document, "1999-03-17", "1033"])
        .collect();
    let Some(expected) = as_python_writes(&rows) else {
        left_out("no python3 to compare bets.csv with; only the number of rows was checked");
        assert_eq!(setup.rows().len(), rows.len());
        return;
    };
    assert_eq!(String::from_utf8(stored).unwrap(), String::from_utf8(expected).unwrap());
}

#[test]
fn a_row_is_quoted_where_necessary_and_ends_with_crlf() {
    let setup = setup();
    let central = setup.start();
    central.request(&packet_of_records(&["Ana, la \"Ñata\";Paz;30904465;1999-03-17;0"]));
    let stored = setup.read_stored("bets.csv");
    let expected = "0,\"Ana, la \"\"Ñata\"\"\",Paz,30904465,1999-03-17,0\r\n";
    assert_eq!(String::from_utf8(stored).unwrap(), expected);
}

#[test]
fn a_date_without_padding_is_padded_in_the_reply_and_in_both_files() {
    let setup = setup();
    let central = setup.start();
    let reply =
        central.request(&packet_of_records(&["Ana;Paz;1;1999-3-7;7574", "Ana;Paz;11;2000-1-1"]));
    let winners = packet_of_records(&["Ana;Paz;1;1999-03-07;7574", "Ana;Paz;11;2000-01-01"]);
    assert_eq!(reply, winners[1..]);
    assert_eq!(setup.rows(), ["0,Ana,Paz,1,1999-03-07,7574", "0,Ana,Paz,11,2000-01-01,0"]);
    let log = String::from_utf8(setup.read_stored("winners.log")).unwrap();
    assert_eq!(
        log,
        "Full name: Ana Paz | Document: 1 | Date of Birth: 07/03/1999\n\
         Full name: Ana Paz | Document: 11 | Date of Birth: 01/01/2000\n"
    );
}

#[test]
fn winners_log_has_a_line_per_winner_in_order_and_no_other_line() {
    let setup = setup();
    let central = setup.start();
    for batch in [
        &[
            "Santiago Lionel;Lorca;30904465;1999-03-17;7574",
            "Tiago Nicolás;Rivera;34407251;2001-08-29;1033",
        ][..],
        &["A;B;2;1986-04-25;7575", "Ñandú, \"x\";Álvarez;33936970;1986-04-25;7574"],
        &["C;D;3;1986-04-25;757"],
    ] {
        central.request(&packet_of_records(batch));
    }
    let log = String::from_utf8(setup.read_stored("winners.log")).unwrap();
    assert_eq!(
        log,
        "Full name: Santiago Lionel Lorca | Document: 30904465 | Date of Birth: 17/03/1999\n\
         Full name: Ñandú, \"x\" Álvarez | Document: 33936970 | Date of Birth: 25/04/1986\n"
    );
}

#[test]
fn empty_names_and_documents_are_stored_unchanged() {
    let setup = setup();
    let central = setup.start();
    assert_eq!(central.request(&packet_of_records(&[";;;2000-01-01;1"])), [0, 0]);
    assert_eq!(setup.rows(), ["0,,,,2000-01-01,1"]);
}

#[test]
fn records_of_the_maximum_length_are_stored() {
    let setup = setup();
    let central = setup.start();
    let (ascii, letters) = ("x".repeat(255), "ñ".repeat(127));
    let record = format!("{ascii};{letters};{ascii};9999-12-31;4294967295");
    assert_eq!(central.request(&packet_of_records(&[record])), [0, 0]);
    assert_eq!(setup.rows(), [format!("0,{ascii},{letters},{ascii},9999-12-31,4294967295")]);
}
