//! The row hashes beside a state: which row a run names as the first changed one, and what happens
//! if they are missing, damaged, or from another moment than the state.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lottery::protocol::Denial;

use crate::resume::{agency, edit, write_rows};
use crate::support::{Cut, Ended, KeyedCentral, Random};

fn state(directory: &Path) -> PathBuf {
    directory.join("bets.csv.resume")
}

fn hashes(directory: &Path) -> PathBuf {
    directory.join("bets.csv.resume.rows")
}

fn assert_done(ended: &Ended) {
    assert_eq!((ended.code, ended.count("result: fail")), (Some(0), 0), "{ended:?}");
}

/// Asserts that a run ended with one error that contains these texts.
fn assert_refused(ended: &Ended, texts: &[&str]) {
    assert_eq!((ended.code, ended.count("result: fail")), (Some(1), 1), "{ended:?}");
    let line = ended.line("action: resume | result: fail");
    for text in texts {
        assert!(line.contains(text), "{text:?} in {line}");
    }
    ended.assert_log_parses();
}

/// Returns a file of rows that differ from each other and from those of all other calls.
fn rows(random: &mut Random, count: u64) -> Vec<String> {
    let row =
        |_| format!("Ana{},Paz,{},1990-01-01,1", random.below(1 << 60), random.below(1 << 30));
    (0..count).map(row).collect()
}

/// Changes some rows at random. Returns the index of the first one that differs.
fn change(rows: &mut Vec<String>, random: &mut Random) -> usize {
    let before = rows.clone();
    for _ in 0..=random.below(2) {
        let at = random.below(rows.len() as u64) as usize;
        match random.below(4) {
            0 => rows[at].push('1'),
            1 => rows.insert(at, self::rows(random, 1).remove(0)),
            2 => rows[at] = rows[at].replace("Paz", "\"Paz\""),
            _ => drop(rows.remove(at)),
        }
    }
    let same = rows.iter().zip(&before).take_while(|(a, b)| a == b).count();
    same.min(before.len())
}

#[test]
fn random_changes_are_refused_with_the_first_row_that_differs() {
    let mut random = Random::new();
    for round in 0..40 {
        let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
        let count = 2 + random.below(60);
        let mut content = rows(&mut random, count);
        let line_break = if random.below(2) == 0 { "\n" } else { "\r\n" };
        let write = |rows: &[String]| {
            let text: String = rows.iter().map(|row| format!("{row}{line_break}")).collect();
            fs::write(directory.path().join("bets.csv"), text).unwrap();
        };
        write(&content);
        assert_done(&agency(&central, directory.path()).finish());
        let first = change(&mut content, &mut random);
        write(&content);
        let ended = agency(&central, directory.path()).finish();
        let is_sent = first < count as usize;
        if !is_sent {
            assert_eq!(ended.code, Some(0), "{random}, round {round}: {ended:?}");
            continue;
        }
        // Without the last batches, the number of rows says which one is the first that differs.
        let line = ended.line("action: resume | result: fail");
        let is_named = line.contains(&format!("changed since it was sent is row {} |", first + 1));
        let is_short = line.contains(&format!("the file has {first} rows, fewer than"));
        assert!(
            is_named || (is_short && first == content.len()),
            "{random}, round {round}: {line}"
        );
    }
}

#[test]
fn other_line_breaks_change_the_first_row() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    write_rows(directory.path(), 25);
    assert_done(&agency(&central, directory.path()).finish());
    let path = directory.path().join("bets.csv");
    let content = fs::read_to_string(&path).unwrap();
    fs::write(&path, content.replace('\n', "\r\n")).unwrap();
    let ended = agency(&central, directory.path()).finish();
    assert_refused(&ended, &["changed since it was sent is row 1 |"]);
}

#[test]
fn the_line_break_at_the_end_may_be_missing_or_new() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let mut names = Vec::new();
    for line_break in ["\n", "\r\n"] {
        let rows = [9, 12, 12, 15].map(|rows| write_rows(directory.path(), rows));
        let path = directory.path().join("bets.csv");
        let with_breaks = fs::read_to_string(&path).unwrap().replace('\n', line_break);
        let _ = fs::remove_file(state(directory.path()));
        for (rows, is_ended) in rows.iter().zip([true, false, true, false]) {
            let lines: String = with_breaks.split_inclusive('\n').take(rows.len()).collect();
            fs::write(&path, if is_ended { &lines[..] } else { lines.trim_end() }).unwrap();
            assert_done(&agency(&central, directory.path()).finish());
            assert_eq!(central.state().names[names.len()..], rows[..]);
            // The same rows with or without the line break at their end.
            fs::write(&path, if is_ended { lines.trim_end() } else { &lines[..] }).unwrap();
            assert_done(&agency(&central, directory.path()).finish());
            assert_eq!(central.state().names[names.len()..], rows[..]);
        }
        names.extend(rows[3].clone());
    }
}

#[test]
fn unusable_row_hashes_are_refused_with_the_file_and_the_way_out() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    write_rows(directory.path(), 25);
    assert_done(&agency(&central, directory.path()).finish());
    let path = hashes(directory.path());
    let content = fs::read(&path).unwrap();
    let changed = |at: usize, byte| {
        let mut changed = content.clone();
        changed[at] = byte;
        changed
    };
    for (damaged, reason) in [
        (None, "it is missing"),
        (Some(content[..content.len() - 4].to_vec()), "it is damaged"),
        (Some(changed(content.len() - 1, !content[content.len() - 1])), "it is damaged"),
        (Some(changed(7, 9)), "its format has version 9, this program reads version 1"),
        (Some(b"Nombre1,Apellido,30904465,1990-01-01,1\n".to_vec()), "is not a file of row hashes"),
    ] {
        match damaged {
            Some(damaged) => fs::write(&path, damaged).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        // Nothing is asked of the central, and the state stays as it is.
        let before = fs::read(state(directory.path())).unwrap();
        let ended = agency(&central, directory.path()).finish();
        assert_refused(&ended, &["cannot use the row hashes in bets.csv.resume.rows: ", reason]);
        assert!(ended.line("action: resume").contains("rows_stored: 1-25 |"), "{ended:?}");
        assert_eq!(fs::read(state(directory.path())).unwrap(), before);
    }
    fs::remove_file(&path).unwrap();
    let ended = agency(&central, directory.path()).finish();
    assert_refused(
        &ended,
        &[
            "next: restore it from the same backup as the state; to send the whole file again as new bets, delete bets.csv.resume or",
        ],
    );
    fs::write(&path, &content).unwrap();
    assert_done(&agency(&central, directory.path()).finish());
    assert_eq!(central.state().batches, [10, 10, 5]);
}

#[test]
fn row_hashes_of_another_session_or_of_another_time_are_refused() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let run = |rows| {
        write_rows(directory.path(), rows);
        assert_done(&agency(&central, directory.path()).finish());
        [state(directory.path()), hashes(directory.path())].map(|path| fs::read(path).unwrap())
    };
    let [_, other] = run(5);
    fs::remove_file(state(directory.path())).unwrap();
    let [_, first] = run(5);
    run(15);
    let [last_state, last] = run(25);
    for (replaced, reason) in [(other, "it is of another session"), (first, "is older or newer")] {
        fs::write(hashes(directory.path()), replaced).unwrap();
        let ended = agency(&central, directory.path()).finish();
        assert_refused(&ended, &["cannot use the row hashes in bets.csv.resume.rows: ", reason]);
    }
    fs::write(hashes(directory.path()), last).unwrap();
    assert_done(&agency(&central, directory.path()).finish());
    assert_ne!(fs::read(state(directory.path())).unwrap(), last_state, "a new edition is written");
    assert_eq!(central.state().names.len(), 5 + 25);
}

#[test]
fn a_run_that_died_between_the_two_files_is_continued() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    write_rows(directory.path(), 15);
    // Without a state, row hashes and unfinished files of a run that died are replaced.
    fs::write(hashes(directory.path()), "row hashes of a run that died").unwrap();
    for path in [state(directory.path()), hashes(directory.path())] {
        fs::write(path.with_extension(format!("{}.new", path.extension().unwrap().display())), "x")
            .unwrap();
    }
    assert_done(&agency(&central, directory.path()).finish());
    let before = fs::read(state(directory.path())).unwrap();
    let names = write_rows(directory.path(), 40);
    central.state().cuts = vec![Cut::Denied(Denial::Closed), Cut::None];
    assert_eq!(agency(&central, directory.path()).finish().code, Some(1));
    assert_eq!(central.state().names.len(), 15);
    // As if the second run had died after its row hashes and before its state.
    fs::write(state(directory.path()), before).unwrap();
    assert_done(&agency(&central, directory.path()).finish());
    assert_eq!(central.state().names, names);
    edit(directory.path(), "Nombre15,", "Nombre1S,");
    let ended = agency(&central, directory.path()).finish();
    assert_refused(&ended, &["changed since it was sent is row 15 |"]);
}

#[test]
fn row_hashes_that_do_not_fit_are_refused_before_anything_is_sent() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let names = write_rows(directory.path(), 10_000);
    // A file of more than 16 kB cannot be written, as on a full disk.
    let limited = || {
        let mut command = Command::new("sh");
        command.current_dir(directory.path()).env_clear();
        command.args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\""]);
        command.arg(env!("CARGO_BIN_EXE_loteria-agency"));
        command.args(["--protocol", "keyed", "--id", "1", "--data", "bets.csv"]);
        command.args(["--server", &central.address().to_string(), "--batch-max-amount", "100"]);
        command.output().unwrap()
    };
    let output = limited();
    let log = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{log}");
    for text in ["cannot keep the state in bets.csv.resume.rows: ", "--state FILE", "--resume off"]
    {
        assert!(log.contains(text), "{text:?} in {log}");
    }
    assert!(central.state().names.is_empty());
    let left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.display().to_string().ends_with(".new")), "{left:?}");
    assert_done(&agency(&central, directory.path()).args(["--batch-max-amount", "100"]).finish());
    assert_eq!(central.state().names, names);
}
