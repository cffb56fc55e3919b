//! Runs that cannot continue earlier ones: nothing is sent, and the error names the way out.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::resume::{agency, edit, end_in_doubt, write_rows};
use crate::support::{Cut, Ended, KeyedCentral, Setup, THREE_ROWS};

/// Asserts that a run ended with one error with these texts, and that nothing was stored.
fn assert_refused(ended: &Ended, central: &KeyedCentral, texts: &[&str]) {
    assert_eq!((ended.code, ended.count("result: fail")), (Some(1), 1), "{ended:?}");
    let line = ended.line("action: resume | result: fail");
    for text in texts {
        assert!(line.contains(text), "{text:?} in {line}");
    }
    assert!(line.contains("| next: "), "{line}");
    ended.assert_log_parses();
    assert!(central.state().cuts.is_empty());
}

/// Sends a file of these rows.
fn sent(rows: usize) -> (KeyedCentral, tempfile::TempDir) {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    write_rows(directory.path(), rows);
    assert_eq!(agency(&central, directory.path()).finish().code, Some(0));
    (central, directory)
}

#[test]
fn the_first_changed_row_is_named() {
    let (central, directory) = sent(1000);
    let stored = central.state().names.len();
    edit(directory.path(), "Nombre501,", "Nombre5O1,");
    edit(directory.path(), "Nombre500,", "Nombre5OO,");
    let ended = agency(&central, directory.path()).finish();
    let texts = ["changed since it was sent is row 500 |", "delete bets.csv.resume"];
    assert_refused(&ended, &central, &texts);
    assert_eq!(central.state().names.len(), stored);
    edit(directory.path(), "Nombre5OO,", "Nombre500,");
    edit(directory.path(), "Nombre5O1,", "Nombre501,");
    assert_eq!(agency(&central, directory.path()).finish().code, Some(0));
}

#[test]
fn a_changed_row_on_another_line_is_named_with_its_line() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let rows = "Ana,Paz,1,2000-01-01,7\n\nEva,\"Luna\",2,2000-01-01,8\r\nJuan,Sol,3,2000-01-01,9\n";
    fs::write(directory.path().join("bets.csv"), rows).unwrap();
    assert_eq!(agency(&central, directory.path()).finish().code, Some(0));
    edit(directory.path(), "Eva,\"Luna\"", "Eva,Luna");
    let ended = agency(&central, directory.path()).finish();
    assert_refused(&ended, &central, &["changed since it was sent is row 2 (line 3) |"]);
}

#[test]
fn a_changed_row_of_the_last_batch_is_named() {
    let (central, directory) = sent(25);
    for (from, to, row) in [
        (
            "Nombre25,Apellido,30904465,1990-01-01,1\n",
            "Nombre25,Apellido,30904465,1990-01-01,12\n",
            25,
        ),
        ("Nombre25,", "Nombre2S,", 25),
        ("Nombre24,", "Nombre23,", 24),
    ] {
        edit(directory.path(), from, to);
        let ended = agency(&central, directory.path()).finish();
        assert_refused(&ended, &central, &[&format!("changed since it was sent is row {row} |")]);
        edit(directory.path(), to, from);
    }
}

#[test]
fn a_last_row_without_a_line_break_must_not_be_extended() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let path = directory.path().join("bets.csv");
    fs::write(&path, THREE_ROWS.trim_end()).unwrap();
    assert_eq!(agency(&central, directory.path()).finish().code, Some(0));
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"9").unwrap();
    let ended = agency(&central, directory.path()).finish();
    assert_refused(&ended, &central, &["changed since it was sent is row 3 |"]);
    fs::write(&path, format!("{}\n{THREE_ROWS}", THREE_ROWS.trim_end())).unwrap();
    let ended = agency(&central, directory.path()).finish();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(central.state().batches, [3, 3]);
}

#[test]
fn deleted_rows_are_refused() {
    let (central, directory) = sent(25);
    for (rows, texts) in [
        (24, ["changed since it was sent is row 25 |", "restore the rows"]),
        (20, ["the file has 20 rows", "restore the rows"]),
        (0, ["the file has 0 rows", "restore the rows"]),
    ] {
        write_rows(directory.path(), rows);
        let ended = agency(&central, directory.path()).finish();
        assert_refused(&ended, &central, &texts);
    }
}

#[test]
fn a_changed_row_that_is_not_valid_is_a_changed_row() {
    let (central, directory) = sent(25);
    edit(directory.path(), "Nombre3,Apellido,", "Nombre3,");
    let ended = agency(&central, directory.path()).finish();
    assert_refused(
        &ended,
        &central,
        &["changed since it was sent is row 3 |", "rows_stored: 1-25"],
    );
}

#[test]
fn a_batch_in_doubt_that_has_changed_is_refused() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    write_rows(directory.path(), 35);
    end_in_doubt(&central, directory.path());
    edit(directory.path(), "Nombre12,", "Nombre1Z,");
    let ended = agency(&central, directory.path()).finish();
    assert_refused(&ended, &central, &["changed since it was sent is row 12 |"]);
    assert_eq!(central.state().batches, [10, 10]);
}

#[test]
fn a_central_without_the_session_is_named_with_the_rows_that_it_lacks() {
    let (_, directory) = sent(25);
    let other = KeyedCentral::start();
    let ended = agency(&other, directory.path()).finish();
    let texts = ["lacks rows 1-25 of this session", "another storage directory", "server.address"];
    assert_refused(&ended, &other, &texts);
    assert_eq!(other.state().names.len(), 0);
}

#[test]
fn a_damaged_state_is_refused_and_names_the_file() {
    let (central, directory) = sent(25);
    let path = directory.path().join("bets.csv.resume");
    let content = fs::read_to_string(&path).unwrap();
    for (damaged, reason) in [
        (content[..content.len() / 2].to_owned(), "it is damaged"),
        (content.replace("25 rows", "15 rows"), "it is damaged"),
        (content.replacen("lottery-resume: 1", "lottery-resume: 9", 1), "has version \"9\""),
        ("Nombre1,Apellido,30904465,1990-01-01,1\n".to_owned(), "is not a state file"),
    ] {
        fs::write(&path, damaged).unwrap();
        let ended = agency(&central, directory.path()).finish();
        assert_refused(&ended, &central, &["bets.csv.resume", reason]);
    }
    assert_eq!(central.state().batches, [10, 10, 5]);
}

#[test]
fn the_state_of_another_agency_is_refused() {
    let (central, directory) = sent(25);
    let ended = agency(&central, directory.path()).args(["--id", "2"]).finish();
    assert_refused(&ended, &central, &["is of agency 1, this is agency 2", "--state FILE"]);
}

#[test]
fn a_state_that_cannot_be_written_is_named_with_the_way_out() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    write_rows(directory.path(), 3);
    // No user can create a file in /proc.
    for place in ["missing/state", "/proc/state", "."] {
        let ended = agency(&central, directory.path()).args(["--state", place]).finish();
        assert_refused(&ended, &central, &[place, "--state FILE", "--resume off"]);
    }
    let ended = agency(&central, directory.path()).args(["--state", "agency-{id}.state"]).finish();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(directory.path().join("agency-1.state").exists());
    assert!(!directory.path().join("bets.csv.resume").exists());
}

#[test]
fn a_pipe_cannot_be_resumed() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let run = |more: [&str; 2]| {
        let setup = agency(&central, directory.path());
        setup.args(["--data", "/dev/null"]).args(more).finish()
    };
    let ended = run(["--resume", "auto"]);
    assert_refused(&ended, &central, &["needs a regular file", "--resume off"]);
    assert_eq!(run(["--resume", "off"]).code, Some(0));
}

#[test]
fn two_agencies_cannot_use_one_state() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let names = write_rows(directory.path(), 25);
    central.state().cuts = vec![Cut::Silent, Cut::None];
    let setup = agency(&central, directory.path()).args(["--reply-timeout", "2s"]);
    let mut first = setup.start();
    first.wait_for("apuesta_enviada");
    while !central.state().cuts.is_empty() {
        std::thread::yield_now();
    }
    let second = agency(&central, directory.path()).finish();
    assert_refused(&second, &central, &["another client uses the state in bets.csv.resume"]);
    assert_eq!(first.finish().code, Some(0));
    assert_eq!(central.state().names, names);
}

#[test]
fn a_dialect_without_keys_cannot_be_resumed() {
    let setup = |resume| {
        let setup = Setup::new().file("bets.csv", THREE_ROWS).args(["--id", "1"]);
        setup.args(["--protocol", "line", "--resume", resume, "--check-config"]).finish()
    };
    let ended = setup("on");
    assert_eq!(ended.code, Some(2));
    for text in ["the batches of line have no keys", "choose one of the protocols keyed"] {
        assert!(ended.errors.contains(text), "{text:?} in {}", ended.errors);
    }
    assert_eq!(setup("auto").code, Some(0));
    assert!(!Path::new("bets.csv.resume").exists());
}
