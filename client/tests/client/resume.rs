//! Runs in `keyed` that continue earlier ones: each row is stored once and in order, however the
//! runs before ended.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use lottery::protocol::Denial;
use nix::sys::signal::Signal;

use crate::support::{Cut, Ended, KeyedCentral, Random, Setup};

/// Prepares a run in a directory that later runs use too, with at most 10 bets per batch.
pub(crate) fn agency(central: &KeyedCentral, directory: &Path) -> Setup {
    Setup::new()
        .in_directory(directory)
        .args(["--protocol", "keyed", "--id", "1", "--data", "bets.csv", "--loop-period", "10ms"])
        .args(["--server", &central.address().to_string(), "--connect-timeout", "300ms"])
        .args(["--batch-max-amount", "10"])
}

/// Writes a file of bets with these rows, each with its own first name. Returns the names.
pub(crate) fn write_rows(directory: &Path, count: usize) -> Vec<String> {
    let names: Vec<_> = (1..=count).map(|row| format!("Nombre{row}")).collect();
    let row = |name: &String| format!("{name},Apellido,30904465,1990-01-01,1\n");
    fs::write(directory.join("bets.csv"), names.iter().map(row).collect::<String>()).unwrap();
    names
}

/// Replaces a text in the file of bets.
pub(crate) fn edit(directory: &Path, from: &str, to: &str) {
    let path = directory.join("bets.csv");
    let content = fs::read_to_string(&path).unwrap();
    assert!(content.contains(from), "{from:?} in {content}");
    fs::write(path, content.replacen(from, to, 1)).unwrap();
}

/// Makes a run end in doubt: its second batch is stored, and no reply arrives.
pub(crate) fn end_in_doubt(central: &KeyedCentral, directory: &Path) -> Ended {
    central.state().cuts = [vec![Cut::Reply(0); 100], vec![Cut::None]].concat();
    let ended = agency(central, directory).finish();
    central.state().cuts.clear();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended
}

fn assert_done(ended: &Ended) {
    assert_eq!((ended.code, ended.count("result: fail")), (Some(0), 0), "{ended:?}");
    ended.assert_log_parses();
}

#[test]
fn a_run_after_a_complete_one_sends_no_row_and_asks_for_the_winners() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let names = write_rows(directory.path(), 25);
    assert_done(&agency(&central, directory.path()).finish());
    let ended = agency(&central, directory.path()).finish();
    assert_done(&ended);
    assert_eq!(
        ended.line("action: resume"),
        "action: resume | result: success | client_id: 1 | file: bets.csv | rows_stored: 1-25 | \
         next: all rows were sent before; only asks for the winners"
    );
    assert_eq!(ended.count("apuesta_enviada"), 0);
    let state = central.state();
    assert_eq!((&state.names, &state.batches[..], state.queries), (&names, &[10, 10, 5][..], 2));
    let file = fs::read_to_string(directory.path().join("bets.csv.resume")).unwrap();
    assert!(file.contains("acknowledged: 3 batches, 25 rows\ncomplete: yes\n"), "{file}");
}

#[test]
fn appended_rows_are_sent_by_the_next_run() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    for rows in [5, 25, 25, 26, 60] {
        let names = write_rows(directory.path(), rows);
        assert_done(&agency(&central, directory.path()).finish());
        assert_eq!(central.state().names, names);
    }
    assert_eq!(central.state().batches, [5, 10, 10, 1, 10, 10, 10, 4]);
}

#[test]
fn a_connection_that_is_cut_at_any_byte_stores_each_row_once() {
    for connection in ["kept", "per-request"] {
        let directory = tempfile::tempdir().unwrap();
        let names = write_rows(directory.path(), 4);
        let run = |cut| {
            let central = KeyedCentral::start();
            // The first batch is stored, so that the second one uses a kept connection.
            central.state().cuts = vec![cut, Cut::None];
            let _ = fs::remove_file(directory.path().join("bets.csv.resume"));
            let setup = agency(&central, directory.path());
            let ended =
                setup.args(["--batch-max-amount", "2", "--connection", connection]).finish();
            assert_eq!(ended.code, Some(0), "{connection}, {cut:?}: {ended:?}");
            assert_eq!(central.state().names, names, "{connection}, {cut:?}");
            (ended.count("action: connect"), central.state().repeated)
        };
        // Header, key and count, and two records with their lengths.
        let request = 6 + 26 + 2 + 2 * (2 + "Nombre1;Apellido;30904465;1990-01-01;1".len());
        // A connection per request is never cut between two requests. Its requests are the same, so
        // a sample is enough.
        let (first, step) = if connection == "kept" { (0, 1) } else { (1, 9) };
        for bytes in (first..request).step_by(step) {
            assert_eq!(run(Cut::Request(bytes)), (1, 0), "{connection}, {bytes}");
        }
        for bytes in 0..8 {
            assert_eq!(run(Cut::Reply(bytes)), (1, 1), "{connection}, {bytes}");
        }
    }
}

#[test]
fn agencies_and_centrals_that_die_at_any_time_store_each_row_once() {
    let mut random = Random::new();
    for round in 0..12 {
        let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
        let names = write_rows(directory.path(), 3000);
        let mut kills = 0;
        let ended = loop {
            // Each run has another size of batches, which holds for what is sent from then on.
            let max = (1 + random.below(12)).to_string();
            let setup = agency(&central, directory.path()).args(["--batch-max-amount", &max]);
            let mut run = setup.args(["--connect-timeout", "20s"]).start();
            if kills == 20 {
                break run.finish();
            }
            thread::sleep(Duration::from_micros(random.below(30_000)));
            if random.below(3) == 0 {
                central.state().cuts.push(Cut::Reply(0));
            }
            if run.is_alive() {
                run.signal(Signal::SIGKILL);
            }
            run.finish();
            kills += 1;
        };
        assert_eq!(ended.code, Some(0), "{random}, round {round}: {ended:?}");
        assert_eq!(central.state().names, names, "{random}, round {round}");
    }
}

#[test]
fn a_batch_in_doubt_is_settled_by_the_next_run() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let names = write_rows(directory.path(), 35);
    let ended = end_in_doubt(&central, directory.path());
    let line = ended.line("action: apuesta_enviada | result: fail");
    for text in [
        "rows_in_doubt: 11-20 | rows_stored: 1-10",
        "rows 11-20 may or may not be stored, which the next run settles",
        "next: run again",
    ] {
        assert!(line.contains(text), "{text:?} in {line}");
    }
    assert_eq!(central.state().batches, [10, 10]);
    let ended = agency(&central, directory.path()).finish();
    assert_done(&ended);
    assert!(ended.line("action: resume").contains("rows_stored: 1-20"), "{ended:?}");
    assert_eq!(central.state().names, names);
}

#[test]
fn other_settings_hold_for_the_rows_that_were_not_sent() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let names = write_rows(directory.path(), 40);
    central.state().cuts = vec![Cut::Request(50); 100];
    central.state().cuts.push(Cut::None);
    assert_eq!(agency(&central, directory.path()).finish().code, Some(1));
    central.state().cuts.clear();
    let setup = agency(&central, directory.path());
    assert_done(&setup.args(["--batch-max-amount", "7", "--without-number"]).finish());
    let state = central.state();
    // The second batch may have been on its way.
    assert_eq!((&state.names, &state.batches[..]), (&names, &[10, 10, 7, 7, 6][..]));
    assert_eq!(state.without_number, 20);
}

#[test]
fn a_row_that_was_not_sent_may_change() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    write_rows(directory.path(), 30);
    edit(directory.path(), "Nombre15,Apellido,30904465,1990-01-01,1", "Nombre15,Apellido");
    let ended = agency(&central, directory.path()).finish();
    assert_eq!(ended.code, Some(1));
    assert!(ended.line("read_bets").contains("row: 15"), "{ended:?}");
    assert_eq!(central.state().batches, [10]);
    let names = write_rows(directory.path(), 30);
    assert_done(&agency(&central, directory.path()).finish());
    assert_eq!(central.state().names, names);
}

#[test]
fn a_stop_signal_ends_a_run_that_the_next_one_continues() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let names = write_rows(directory.path(), 20_000);
    let mut run = agency(&central, directory.path()).start();
    run.wait_for("apuesta_enviada");
    run.signal(Signal::SIGTERM);
    let ended = run.finish();
    assert_done(&ended);
    assert!(ended.line("action: exit").contains("next: run again"), "{ended:?}");
    assert!(central.state().names.len() < names.len());
    assert_done(&agency(&central, directory.path()).finish());
    assert_eq!(central.state().names, names);
}

#[test]
fn a_central_that_is_unavailable_is_asked_again() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let names = write_rows(directory.path(), 20);
    central.state().cuts = vec![Cut::Denied(Denial::Unavailable); 2];
    let ended = agency(&central, directory.path()).finish();
    assert_done(&ended);
    assert_eq!(ended.count("action: connect | result: in_progress"), 2);
    assert_eq!(central.state().names, names);
}

#[test]
fn a_batch_that_is_refused_ends_the_run_with_the_reason() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    write_rows(directory.path(), 20);
    central.state().cuts = vec![Cut::Denied(Denial::Closed), Cut::None];
    let ended = agency(&central, directory.path()).finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("action: apuesta_enviada | result: fail");
    for text in ["rows_refused: 11-20 | rows_stored: 1-10", "bets are closed"] {
        assert!(line.contains(text), "{text:?} in {line}");
    }
}

#[test]
fn a_single_bet_is_a_session_of_its_own() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let bet = [
        ("NOMBRE", "Ana"),
        ("APELLIDO", "Paz"),
        ("DOCUMENTO", "1"),
        ("NACIMIENTO", "2000-01-01"),
        ("NUMERO", "7"),
    ];
    let run = || {
        let setup = agency(&central, directory.path());
        bet.iter().fold(setup, |setup, (name, value)| setup.env(name, value)).finish()
    };
    central.state().cuts.push(Cut::Reply(0));
    assert_done(&run());
    assert_eq!(central.state().names, ["Ana"]);
    assert_eq!(central.state().repeated, 1);
    assert_done(&run());
    assert_eq!(central.state().names, ["Ana", "Ana"]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "no state is kept");
}

#[test]
fn without_resume_every_run_sends_the_whole_file_and_writes_no_state() {
    let (central, directory) = (KeyedCentral::start(), tempfile::tempdir().unwrap());
    let names = write_rows(directory.path(), 15);
    for _ in 0..2 {
        // A lost reply is still retried with the same key.
        central.state().cuts.push(Cut::Reply(3));
        assert_done(&agency(&central, directory.path()).args(["--resume", "off"]).finish());
    }
    assert_eq!(central.state().names, [names.clone(), names].concat());
    assert_eq!(central.state().repeated, 2);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
