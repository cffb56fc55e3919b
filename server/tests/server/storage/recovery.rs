//! What a start does with the files it finds: it repairs what a kill or a power loss leaves, and
//! refuses any other damage without touching the files.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::harness::{Program, Setup, bet, packet_of, packet_of_bets};
use lottery::{Bet, Results};

/// The files of a storage that hold data.
const FILES: [&str; 3] = ["bets.csv", "winners.log", "journal"];
/// Index of the journal's end in the ledger.
const JOURNAL_END: usize = 6;
/// Bytes of the journal before its first record.
const RECORDS_START: usize = 6 * 4096;
/// Bytes of both headers of a record.
const HEADERS_BYTES: usize = 240;

fn setup(durability: &str) -> Setup {
    Setup::new().with("SERVER_DURABILITY", durability)
}

/// Returns a storage with three batches of 10 bets and 4 winners each, left by a kill of all
/// processes.
fn killed(durability: &str) -> Setup {
    let setup = setup(durability);
    let central = setup.start();
    for mark in ["a", "b", "c"] {
        assert!(central.request(&packet_of(mark, 10, 4)).len() > 2);
    }
    central.kill_all();
    setup
}

fn append(setup: &Setup, file: &str, bytes: &[u8]) {
    let path = setup.stored(file);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(bytes, fs::metadata(path).unwrap().len())
        .unwrap();
}

fn overwrite(setup: &Setup, file: &str, at: u64, bytes: &[u8]) {
    OpenOptions::new()
        .write(true)
        .open(setup.stored(file))
        .unwrap()
        .write_all_at(bytes, at)
        .unwrap();
}

fn cut(setup: &Setup, file: &str, length: u64) {
    OpenOptions::new().write(true).open(setup.stored(file)).unwrap().set_len(length).unwrap();
}

fn contents(setup: &Setup) -> [Vec<u8>; 3] {
    FILES.map(|file| setup.read_stored(file))
}

/// Returns the names of the copies of what was cut off, in order.
fn copies(setup: &Setup) -> Vec<String> {
    let files = fs::read_dir(setup.stored("")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.contains(".cut-")).collect();
    names.sort();
    names
}

/// Starts the central, asserts these totals and this part of the recovery line, stores another
/// batch, and stops.
fn assert_recovers(setup: &Setup, bets: u64, winners: u64, line: &str) {
    let central = setup.start();
    let said = central.program.line_with("action: recovery | result: success");
    assert!(
        said.contains(&format!("bets: {bets} | winners: {winners} | ")) && said.contains(line),
        "{said}"
    );
    assert_eq!(central.results(), Results { winners, in_flight: 0 });
    assert!(central.request(&packet_of("after", 2, 1)).len() > 2);
    assert_eq!(central.results().winners, winners + 1);
    assert_eq!(central.number("bets"), bets + 2);
    assert_eq!(central.stop().0, 0);
    assert_eq!(setup.rows().len() as u64, bets + 2);
    let lines = setup.read_stored("winners.log").iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines as u64, winners + 1);
}

/// Asserts that a start exits with 1 and a line that has these parts, and leaves the files
/// unchanged.
fn assert_refuses(setup: &Setup, parts: &[&str]) {
    let before = contents(setup);
    let mut program = Program::start(&mut setup.command(&["run"]));
    let line = program.line_with("ERROR");
    assert_eq!(program.exit_code(), 1, "{line}");
    for part in parts {
        assert!(line.contains(part), "{part:?} in {line:?}");
    }
    for (file, (before, after)) in FILES.iter().zip(before.iter().zip(&contents(setup))) {
        assert!(before == after, "{file} was changed");
    }
}

#[test]
fn half_a_row_behind_the_last_batch_is_cut_off() {
    for durability in ["process", "disk"] {
        let setup = killed(durability);
        let [rows, lines, _] = contents(&setup);
        append(&setup, "bets.csv", b"0,Santiago Lionel,Lor");
        append(&setup, "winners.log", b"Full name: San");
        assert_recovers(&setup, 30, 12, "discarded_bytes: 21");
        let kept: Vec<_> = copies(&setup).iter().map(|file| setup.read_stored(file)).collect();
        assert_eq!(kept, [&b"0,Santiago Lionel,Lor"[..], b"Full name: San"]);
        assert!(setup.read_stored("bets.csv").starts_with(&rows));
        assert!(setup.read_stored("winners.log").starts_with(&lines));
    }
}

#[test]
fn a_torn_last_record_of_the_journal_discards_its_batch_and_no_other() {
    for durability in ["process", "disk"] {
        for damage in ["zeros", "a short file"] {
            let setup = setup(durability);
            let central = setup.start();
            let ledger = central.segment().value::<[u64; 11]>("ledger").unwrap();
            assert!(central.request(&packet_of("a", 10, 4)).len() > 2);
            let rows = setup.read_stored("bets.csv");
            let start = ledger.get()[JOURNAL_END];
            assert!(central.request(&packet_of("b", 10, 4)).len() > 2);
            central.kill_all();
            match damage {
                "zeros" => overwrite(&setup, "journal", start, &[0; HEADERS_BYTES]),
                _ => cut(&setup, "journal", start + 50),
            }
            assert_recovers(&setup, 10, 4, "kept_in: bets.csv.cut-");
            assert!(setup.read_stored("bets.csv").starts_with(&rows), "{durability}, {damage}");
            assert_eq!(copies(&setup).len(), 2, "bets and winners");
        }
    }
}

#[test]
fn without_a_journal_the_totals_are_counted_from_the_bets_and_the_winners_written_again() {
    let setup = setup("process");
    let central = setup.start();
    let documents: Vec<_> = (0..100).map(|number| format!("h-{number}")).collect();
    let unnumbered: Vec<_> =
        documents.iter().map(|text| Bet { number: None, ..bet(text, false) }).collect();
    assert!(central.request(&packet_of_bets(&unnumbered)).len() > 2);
    assert!(central.request(&packet_of("a", 10, 4)).len() > 2);
    let winners = central.results().winners;
    assert!(winners > 4, "no winners by the hash rule");
    central.kill_all();
    let before = contents(&setup);
    fs::remove_file(setup.stored("journal")).unwrap();
    fs::remove_file(setup.stored("winners.log")).unwrap();

    assert_recovers(&setup, 110, winners, "counted_from_bets_csv: true");
    assert!(setup.read_stored("bets.csv").starts_with(&before[0]));
    assert!(setup.read_stored("winners.log").starts_with(&before[1]));
}

#[test]
fn missing_bets_are_refused_and_nothing_is_changed() {
    for durability in ["process", "disk"] {
        for after_checkpoint in [false, true] {
            let setup = killed(durability);
            if after_checkpoint {
                assert_eq!(setup.start().stop().0, 0);
            } else {
                // The next epoch has batches that the journal could wrongly restore behind the gap.
                let central = setup.start();
                assert!(central.request(&packet_of("d", 10, 4)).len() > 2);
                central.kill_all();
            }
            cut(&setup, "bets.csv", 100);
            assert_refuses(&setup, &["bets.csv", "bets are missing", "restore"]);
            fs::remove_file(setup.stored("bets.csv")).unwrap();
            fs::write(setup.stored("bets.csv"), b"").unwrap();
            assert_refuses(&setup, &["bets.csv", "bets are missing", "restore"]);
        }
    }
}

#[test]
fn missing_winner_lines_are_refused_and_nothing_is_changed() {
    for durability in ["process", "disk"] {
        let setup = killed(durability);
        assert_eq!(setup.start().stop().0, 0);
        for length in [50, 0] {
            cut(&setup, "winners.log", length);
            assert_refuses(&setup, &["winners.log", "missing", "move the journal away"]);
        }
        // The remedy that the message names.
        fs::remove_file(setup.stored("journal")).unwrap();
        assert_recovers(&setup, 30, 12, "counted_from_bets_csv: true");
    }
}

#[test]
fn a_journal_with_damaged_checkpoints_is_refused_and_nothing_is_changed() {
    let setup = killed("process");
    overwrite(&setup, "journal", 0, &[0xFF; RECORDS_START]);
    assert_refuses(&setup, &["journal", "damaged", "move it away"]);
    // The remedy that the message names.
    fs::rename(setup.stored("journal"), setup.stored("journal.old")).unwrap();
    assert_recovers(&setup, 30, 12, "counted_from_bets_csv: true");
}

#[test]
fn a_flipped_bit_in_the_journal_after_a_kill_loses_nothing() {
    for durability in ["process", "disk"] {
        let setup = setup(durability);
        let central = setup.start();
        let ledger = central.segment().value::<[u64; 11]>("ledger").unwrap();
        let mut ends = vec![RECORDS_START as u64];
        for batch in 0..20 {
            assert!(central.request(&packet_of(&batch.to_string(), 1, 1)).len() > 2);
            ends.push(ledger.get()[JOURNAL_END]);
        }
        central.kill_all();
        // In the fifth record, in the last one, and in the newest checkpoint.
        for at in [ends[4] + 20, ends[19] + 20, 4096 + 16] {
            let bit = setup.read_stored("journal")[at as usize] ^ 4;
            overwrite(&setup, "journal", at, &[bit]);
        }
        let rows = setup.read_stored("bets.csv");
        assert_recovers(&setup, 20, 20, "discarded_bytes: 0");
        assert!(setup.read_stored("bets.csv").starts_with(&rows), "{durability}");
    }
}

#[test]
fn a_destroyed_record_in_the_middle_is_refused_and_the_message_names_the_ways_out() {
    for durability in ["process", "disk"] {
        let setup = killed(durability);
        overwrite(&setup, "journal", RECORDS_START as u64, &[0; HEADERS_BYTES]);
        let batch = "of batch 1, which begins in line 1 of bets.csv";
        assert_refuses(&setup, &["journal: ", batch, "restore", "verify", "move the journal away"]);
        // The remedy that the message names.
        fs::rename(setup.stored("journal"), setup.stored("journal.old")).unwrap();
        assert_recovers(&setup, 30, 12, "counted_from_bets_csv: true");
    }
}

#[test]
fn an_older_journal_from_a_backup_is_refused_and_nothing_is_changed() {
    for durability in ["process", "disk"] {
        let setup = killed(durability);
        assert_eq!(setup.start().stop().0, 0);
        let older = setup.read_stored("journal");
        let central = setup.start();
        for mark in ["later", "and later"] {
            assert!(central.request(&packet_of(mark, 10, 4)).len() > 2);
        }
        assert_eq!(central.stop().0, 0);
        fs::write(setup.stored("journal"), older).unwrap();
        assert_refuses(&setup, &["journal", "it counts 30 bets, and there were 50 later"]);
        // The remedy that the message names.
        fs::remove_file(setup.stored("journal")).unwrap();
        assert_recovers(&setup, 50, 20, "counted_from_bets_csv: true");
    }
}

#[test]
fn zeros_in_the_bets_after_a_kill_are_refused() {
    let setup = killed("process");
    overwrite(&setup, "bets.csv", 30, &[0; 50]);
    assert_refuses(&setup, &["bets.csv: lines 1 to 10 (batch 1", "loteria-central verify"]);
}
