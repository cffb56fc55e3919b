//! `loteria-central verify` reads every byte of a stopped storage and names the rows that are not
//! what was acknowledged.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::Output;

use crate::harness::{Participant, Setup, bet, packet_of};

fn setup(durability: &str) -> Setup {
    Setup::new().with("SERVER_DURABILITY", durability)
}

/// Stores three batches of 10 bets and 4 winners, the last two of them after a restart, and kills
/// all processes.
fn killed(durability: &str) -> Setup {
    let setup = setup(durability);
    let central = setup.start();
    assert!(central.request(&packet_of("a", 10, 4)).len() > 2);
    assert_eq!(central.stop().0, 0);
    let central = setup.start();
    for mark in ["b", "c"] {
        assert!(central.request(&packet_of(mark, 10, 4)).len() > 2);
    }
    central.kill_all();
    setup
}

/// Returns a storage whose draw has been held over 4 bets of one agency, 2 of which win.
fn drawn() -> Setup {
    let setup = setup("disk").with("SERVER_PROTOCOL", "framed").with("SERVER_AGENCIES", "1");
    let central = setup.start();
    let mut agency = Participant::connect(central.port, "framed", 1);
    let bets: Vec<_> =
        [("1", true), ("2", false), ("3", true), ("4", false)].map(|(d, w)| bet(d, w)).into();
    agency.store(&bets);
    agency.finish();
    assert_eq!(agency.winners().0, 2);
    assert_eq!(central.stop().0, 0);
    setup
}

fn overwrite(setup: &Setup, file: &str, at: usize, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(setup.stored(file)).unwrap();
    file.write_all_at(bytes, at as u64).unwrap();
}

fn log_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that the command finds these problems and changes no file.
fn assert_finds(setup: &Setup, parts: &[&str]) {
    let files = ["bets.csv", "winners.log", "journal", "checkpoints", "finished", "draw.csv"];
    let before = files.map(|file| setup.read_stored(file));
    let output = setup.run(&["verify"]);
    let log = log_of(&output);
    assert_eq!(output.status.code(), Some(1), "{log}");
    for part in parts {
        assert!(log.contains(part), "{part:?} in {log}");
    }
    assert!(log.contains("action: verify | result: fail | bets: "), "{log}");
    assert!(files.map(|file| setup.read_stored(file)) == before, "a file was changed");
}

fn assert_intact(setup: &Setup, line: &str) {
    let output = setup.run(&["verify"]);
    let log = log_of(&output);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(log.contains("action: verify | result: success | ") && log.contains(line), "{log}");
}

#[test]
fn an_intact_storage_is_verified_after_a_kill_a_stop_and_a_draw() {
    for durability in ["process", "disk"] {
        let setup = killed(durability);
        assert_intact(&setup, "bets: 30 | winners: 12 | agencies_finished: 0");
        let log = log_of(&setup.run(&["verify"]));
        assert!(!log.contains("winners.idx"), "{log}");
        assert_eq!(setup.start().stop().0, 0);
        assert_intact(&setup, "bets: 30 | winners: 12 | agencies_finished: 0");
    }
    assert_intact(&drawn(), "bets: 4 | winners: 2 | agencies_finished: 1");
}

#[test]
fn a_changed_row_is_named_by_the_lines_of_its_batch() {
    for durability in ["process", "disk"] {
        let setup = killed(durability);
        let rows = setup.read_stored("bets.csv");
        let lines = setup.rows();
        let line =
            |number: usize| lines[..number - 1].iter().map(|row| row.len() + 2).sum::<usize>();
        overwrite(&setup, "bets.csv", line(15) + 3, b"x");
        overwrite(&setup, "bets.csv", line(27), &[0; 20]);
        assert_finds(&setup, &["bets.csv: lines 11 to 20", "bets.csv: lines 21 to 30", "bets: 27"]);
        // A start restores both batches from the journal if it has them.
        if durability == "disk" {
            assert_eq!(setup.start().stop().0, 0);
            assert!(setup.read_stored("bets.csv") == rows);
            assert_intact(&setup, "bets: 30");
        }
        // A batch before the last checkpoint is in no journal.
        let setup = killed(durability);
        overwrite(&setup, "bets.csv", 3, b"x");
        assert_finds(&setup, &["bets.csv: lines 1 to 10 (bytes 0 to "]);
    }
}

#[test]
fn a_missing_end_of_the_bets_and_a_changed_winner_are_named() {
    let setup = killed("process");
    let file = OpenOptions::new().write(true).open(setup.stored("bets.csv")).unwrap();
    file.set_len(setup.read_stored("bets.csv").len() as u64 - 4).unwrap();
    overwrite(&setup, "winners.log", 20, b"X");
    let parts = ["bets.csv: lines 21 to 30", "are cut off", "winners.log: lines 1 to 4"];
    assert_finds(&setup, &parts);
}

#[test]
fn changed_marks_and_a_changed_draw_are_named() {
    let setup = drawn();
    overwrite(&setup, "finished", 2, &[1]);
    assert_finds(&setup, &["finished: it has 2 marks, but 1 agencies have finished"]);
    overwrite(&setup, "finished", 2, &[0]);
    assert_intact(&setup, "bets: 4");
    let draw = String::from_utf8(setup.read_stored("draw.csv")).unwrap();
    fs::write(setup.stored("draw.csv"), draw.replace("\n1,3\r", "\n1,9\r")).unwrap();
    assert_finds(&setup, &["draw.csv: its winners are not those of bets.csv"]);
}

#[test]
fn a_damaged_copy_in_the_journal_is_noted_and_harmless() {
    let setup = killed("disk");
    let journal = setup.read_stored("journal");
    let record = 6 * 4096 + 20;
    overwrite(&setup, "journal", record, &[journal[record] ^ 1]);
    assert_intact(&setup, "journal: a copy at byte 24576 is damaged, another is not");
    assert_eq!(setup.start().stop().0, 0);
    assert_intact(&setup, "bets: 30");
}

#[test]
fn an_index_that_does_not_name_the_winners_is_noted_and_harmless() {
    let setup = killed("process");
    overwrite(&setup, "winners.idx", 8, &[1]);
    assert_intact(&setup, "winners.idx: entry 2 does not name the row of a winner");
    fs::write(setup.stored("winners.idx"), "").unwrap();
    assert_intact(&setup, "winners.idx: it has 0 of 12 entries");
}

#[test]
fn what_a_start_would_refuse_or_move_aside_is_reported() {
    let setup = killed("process");
    let end = setup.read_stored("bets.csv").len();
    overwrite(&setup, "bets.csv", end, b"0,Santiago");
    assert_intact(&setup, "bets.csv: 10 bytes behind byte");
    overwrite(&setup, "journal", 6 * 4096, &[0; 240]);
    assert_finds(&setup, &["a start refuses this storage", "journal: the record at byte 24576"]);
    fs::remove_file(setup.stored("winners.log")).unwrap();
    assert_finds(&setup, &["winners.log: there is no such file"]);
}

#[test]
fn a_storage_in_use_is_not_verified() {
    let setup = setup("process");
    let central = setup.start();
    let output = setup.run(&["verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(log_of(&output).contains("is in use by another central (pid "), "{output:?}");
    assert!(central.request(&packet_of("a", 1, 1)).len() > 2);
    assert_eq!(central.stop().0, 0);
}
