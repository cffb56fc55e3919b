//! The files of the draw: a full disk, damaged or replaced files, and another number of agencies at
//! the next start.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::harness::{
    CentralProcess, Participant, Program, Setup, WINNERS_BY_AGENCY, bets_with, can_mount,
    count_draws, eventually, winners_reply,
};

const DIALECT: &str = "sentinel";

fn setup(agencies: u16) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", DIALECT).with("SERVER_AGENCIES", &agencies.to_string())
}

/// Connects agencies from 1 on, which store their bets and send nothing more.
fn with_bets(central: &CentralProcess<'_>, agencies: u16) -> Vec<Participant> {
    let connect = |number| {
        let mut agency = Participant::connect(central.port, DIALECT, number);
        agency.store(&bets_with(WINNERS_BY_AGENCY[usize::from(number) - 1]));
        agency
    };
    (1..=agencies).map(connect).collect()
}

/// Asserts that agencies receive their winners on the connections on which they wait.
fn assert_answered(agencies: &mut [Participant]) {
    for (agency, documents) in agencies.iter_mut().zip(WINNERS_BY_AGENCY) {
        assert_eq!(agency.winners().1, winners_reply(DIALECT, documents));
    }
}

/// Asserts that agencies receive their winners on new connections.
fn assert_answered_anew(central: &CentralProcess<'_>, agencies: u16) {
    for number in 1..=agencies {
        let mut agency = Participant::connect(central.port, DIALECT, number);
        agency.finish();
        assert_eq!(
            agency.winners().1,
            winners_reply(DIALECT, WINNERS_BY_AGENCY[usize::from(number) - 1])
        );
    }
}

/// Asserts that the draw fails repeatedly with `reason` while the agencies go on waiting, and is
/// held after `mend`.
fn assert_held_after(
    central: CentralProcess<'_>,
    mut agencies: Vec<Participant>,
    reason: &str,
    mend: impl FnOnce(),
) {
    agencies.iter_mut().for_each(Participant::finish);
    let failed = "action: sorteo | result: fail | error: ";
    let failures = || central.program.count_lines_with(failed);
    eventually("another attempt", failures, |failures| *failures >= 2);
    let line = central.program.line_with(failed);
    assert!(line.contains(reason), "{line}");
    central.until_waiting(agencies.len() as u32);
    assert!(agencies.iter_mut().all(|agency| agency.connection().is_quiet()));
    assert_eq!(central.status()["drawn"], false);

    mend();

    assert_answered(&mut agencies);
    assert_eq!(central.number("worker_deaths"), 0);
    drop(agencies);
    assert_eq!(count_draws(&central.stop_and_read_log()), 1);
}

/// Fills a file system with a file of this name.
fn fill(path: &Path) {
    let mut filler = File::create(path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
fn a_draw_on_a_full_disk_is_held_once_there_is_room_and_agencies_wait_until_then() {
    if !can_mount() {
        return;
    }
    for durability in ["process", "disk"] {
        let setup = setup(3).with("SERVER_DURABILITY", durability);
        let central = setup.start_on_small_disk("");
        let agencies = with_bets(&central, 3);
        // Writing this mark allocates the page of all marks, so that only the draw fails later.
        let mut first = Participant::connect(central.port, DIALECT, 1);
        first.finish();
        central.until_waiting(1);
        drop(first);
        central.until_waiting(0);
        let filler = central.inside(&setup.stored("filler"));
        fill(&filler);
        assert_held_after(central, agencies, "No space left", || fs::remove_file(filler).unwrap());
    }
}

#[test]
fn a_draw_whose_result_cannot_be_written_is_held_once_it_can() {
    let setup = setup(3);
    let central = setup.start();
    let agencies = with_bets(&central, 3);
    let in_the_way = setup.stored("draw.csv.new");
    fs::create_dir(&in_the_way).unwrap();
    let mend = || fs::remove_dir(&in_the_way).unwrap();
    assert_held_after(central, agencies, "draw.csv: Is a directory", mend);
}

#[test]
fn a_damaged_row_is_named_and_the_draw_is_held_once_the_row_is_restored() {
    let setup = setup(3);
    let central = setup.start();
    let agencies = with_bets(&central, 3);
    let (path, good) = (setup.stored("bets.csv"), setup.read_stored("bets.csv"));
    // Written in place, because the central has the file open.
    let write =
        |bytes: &[u8]| File::options().write(true).open(&path).unwrap().write_all(bytes).unwrap();
    let bad = String::from_utf8(good.clone()).unwrap().replacen("1999-03-17", "1999-13-17", 2);
    let bad = bad.replacen("1999-13-17", "1999-03-17", 1);
    write(bad.as_bytes());
    setup.spoil_index();
    assert_held_after(central, agencies, "bets.csv: line 2 is not a bet", || write(&good));
}

#[test]
fn a_damaged_row_of_a_bet_that_does_not_win_changes_no_winner_and_verify_names_it() {
    let setup = setup(3);
    let central = setup.start();
    let mut agencies = with_bets(&central, 3);
    let rows = String::from_utf8(setup.read_stored("bets.csv")).unwrap();
    let loser = rows.find(",1033\r\n").unwrap();
    let file = File::options().write(true).open(setup.stored("bets.csv")).unwrap();
    file.write_all_at(b",7574", loser as u64).unwrap();
    agencies.iter_mut().for_each(Participant::finish);
    assert_answered(&mut agencies);
    drop(agencies);
    assert_eq!(central.stop().0, 0);
    let output = setup.run(&["verify"]);
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("bets.csv: lines ") && log.contains("not what was acknowledged"), "{log}");
}

#[test]
fn a_damaged_row_of_a_winner_prevents_the_draw_until_it_is_restored() {
    let setup = setup(3);
    let central = setup.start();
    let agencies = with_bets(&central, 3);
    let rows = String::from_utf8(setup.read_stored("bets.csv")).unwrap();
    let winner = rows.find(",7574\r\n").unwrap() as u64;
    let file = File::options().write(true).open(setup.stored("bets.csv")).unwrap();
    file.write_all_at(b",1033", winner).unwrap();
    let mend = || file.write_all_at(b",7574", winner).unwrap();
    assert_held_after(central, agencies, "its rows are not those that were stored", mend);
}

/// Asserts that a start fails, and returns its last line.
fn failed_start(setup: &Setup, port: u16) -> String {
    let mut program = Program::start(&mut setup.command(&["run"]));
    assert_eq!(program.exit_code_within(Duration::from_secs(5)), 1, "{:?}", program.lines());
    setup.assert_nothing_left(port);
    program.line_with("action: shutdown | result: fail | error: ")
}

#[test]
fn a_draw_csv_that_is_damaged_or_covers_other_bets_prevents_the_start_and_the_message_says_what_to_do()
 {
    let mut setup = setup(3);
    let port = setup.keep_port();
    let central = setup.start();
    let mut agencies = with_bets(&central, 3);
    agencies.iter_mut().for_each(Participant::finish);
    assert_answered(&mut agencies);
    drop(agencies);
    assert_eq!(central.stop().0, 0);
    let (path, good) = (setup.stored("draw.csv"), setup.read_stored("draw.csv"));
    // The three agencies have six, five and eight bets, four of which win.
    assert!(good.starts_with(b"draw,19,4,"), "{}", String::from_utf8_lossy(&good));
    let text = String::from_utf8(good.clone()).unwrap();
    let (damaged, other) =
        ("it is not the complete result of a draw; move it away", "move this file away");
    let checksum = crc32fast::hash(&setup.read_stored("bets.csv"));
    for (bytes, reason) in [
        (String::new(), damaged),
        ("nonsense".to_owned(), damaged),
        (text.replace("3,24813860\r\n", ""), damaged),
        (text[..text.len() - 5].to_owned(), damaged),
        (text.replace("draw,19,4", "draw,19,5"), damaged),
        (text.replace("draw,19,4", "draw,nineteen,4"), damaged),
        (text.replace("3,24813860", "three,24813860"), damaged),
        (text.replace("draw,19,4", "draw,18,4"), other),
        (text.replace("draw,19,4", "draw,20,4"), other),
        (text.replace(&format!("draw,19,4,{checksum:08x}"), "draw,19,4,01234567"), other),
    ] {
        fs::write(&path, &bytes).unwrap();
        let line = failed_start(&setup, port);
        assert!(line.contains("draw.csv") && line.contains(reason), "{bytes:?}: {line}");
    }
    // As the message says: without the file, another draw is held over the same bets.
    fs::remove_file(&path).unwrap();
    let central = setup.start();
    assert_answered_anew(&central, 3);
    assert_eq!(setup.read_stored("draw.csv"), good);
    assert_eq!(count_draws(&central.stop_and_read_log()), 1);
}

#[test]
fn a_draw_waits_for_as_many_agencies_as_the_current_start_expects() {
    let mut setup = setup(2);
    let central = setup.start();
    let mut agencies = with_bets(&central, 3);
    agencies[0].finish();
    central.until_waiting(1);
    drop(agencies);
    assert_eq!(central.stop().0, 0);

    setup.set("SERVER_AGENCIES", "3");
    let central = setup.start();
    let mut agencies: Vec<_> =
        (1..=2).map(|number| Participant::connect(central.port, DIALECT, number)).collect();
    agencies.iter_mut().for_each(Participant::finish);
    central.until_waiting(2);
    assert_eq!((central.number("agencies_finished"), central.number("agencies_expected")), (2, 3));
    assert!(agencies.iter_mut().all(|agency| agency.connection().is_quiet()));
    drop(agencies);
    assert_eq!(count_draws(&central.stop_and_read_log()), 0);

    // Enough agencies have finished, so the start itself holds the draw.
    setup.set("SERVER_AGENCIES", "2");
    let central = setup.start();
    central.program.line_with("action: sorteo | result: success");
    assert_answered_anew(&central, 3);
    assert_eq!(central.stop().0, 0);

    setup.set("SERVER_AGENCIES", "5");
    let central = setup.start();
    assert_answered_anew(&central, 3);
    assert_eq!(count_draws(&central.stop_and_read_log()), 0, "a draw is final");

    setup.set("SERVER_STORAGE_DIR", "another");
    setup.set("SERVER_AGENCIES", "1");
    let central = setup.start();
    with_bets(&central, 1)[0].finish();
    assert_answered_anew(&central, 1);
}

#[test]
fn without_the_result_file_a_query_gets_an_error_and_not_an_empty_list() {
    let setup = Setup::new()
        .with("SERVER_PROTOCOL", "framed")
        .with("SERVER_WORKERS", "1")
        .with("SERVER_AGENCIES", "1");
    let central = setup.start();
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.store(&bets_with(WINNERS_BY_AGENCY[0]));
    agency.try_notify().unwrap();
    central.until_drawn();
    fs::remove_file(setup.stored("draw.csv")).unwrap();
    agency.ask();
    assert_eq!(agency.into_connection().read_to_end(), b"ERROR|The winners cannot be told\n");
    let line = central.program.line_with("action: receive_message | result: fail");
    assert!(line.contains("the winners of agency 1 cannot be read: draw.csv is gone"), "{line}");
}
