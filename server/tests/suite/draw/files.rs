//! The files of the draw: a disk without room, files that were damaged or exchanged, and another number of agencies at the next start.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{
    Central, FIVE, Participant, Program, Setup, bets_with, draws, eventually, winners_reply,
};
use nix::unistd::geteuid;

const DIALECT: &str = "sentinel";

fn setup(agencies: u16) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", DIALECT).with("SERVER_AGENCIES", &agencies.to_string())
}

/// Agencies from 1 on have stored their bets and say nothing more.
fn with_bets(central: &Central<'_>, agencies: u16) -> Vec<Participant> {
    let connect = |number| {
        let mut agency = Participant::connect(central.port, DIALECT, number);
        agency.store(&bets_with(FIVE[usize::from(number) - 1]));
        agency
    };
    (1..=agencies).map(connect).collect()
}

/// They get their winners on the connections on which they wait.
fn are_answered(agencies: &mut [Participant]) {
    for (agency, documents) in agencies.iter_mut().zip(FIVE) {
        assert_eq!(agency.winners().1, winners_reply(DIALECT, documents));
    }
}

/// They come, ask, and get their winners.
fn ask_and_are_answered(central: &Central<'_>, agencies: u16) {
    for number in 1..=agencies {
        let mut agency = Participant::connect(central.port, DIALECT, number);
        agency.finish();
        assert_eq!(agency.winners().1, winners_reply(DIALECT, FIVE[usize::from(number) - 1]));
    }
}

/// The draw fails more than once, in the words of `reason`, and whoever waits goes on waiting; then it is held.
fn fails_until_it_can_be_held(
    central: Central<'_>,
    mut agencies: Vec<Participant>,
    reason: &str,
    mend: impl FnOnce(),
) {
    agencies.iter_mut().for_each(Participant::finish);
    let failed = "action: sorteo | result: fail | error: ";
    let failures = || central.program.count_lines_with(failed);
    eventually("it is tried again", failures, |failures| *failures >= 2);
    let line = central.program.line_with(failed);
    assert!(line.contains(reason), "{line}");
    central.agencies_wait(agencies.len() as u32);
    assert!(agencies.iter_mut().all(|agency| agency.connection().hears_nothing()));
    assert_eq!(central.status()["drawn"], false);

    mend();

    are_answered(&mut agencies);
    assert_eq!(central.number("worker_deaths"), 0);
    drop(agencies);
    assert_eq!(draws(&central.stop_and_read_log()), 1);
}

/// Fills a file system by a file of this name.
fn fill(path: &Path) {
    let mut filler = File::create(path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
fn a_draw_that_finds_the_disk_full_is_held_when_there_is_room_and_whoever_waits_waits_for_it() {
    if !geteuid().is_root() {
        println!("SKIPPED: only root can mount a small file system");
        return;
    }
    for durability in ["process", "disk"] {
        let setup = setup(3).with("SERVER_DURABILITY", durability);
        fs::create_dir(setup.stored("")).unwrap();
        let plain = setup.command(&[]);
        let mut command = Command::new("unshare");
        command.args([
            "-m",
            "sh",
            "-c",
            "mount -t tmpfs -o size=12m tmpfs storage && exec \"$0\" run",
        ]);
        command.arg(plain.get_program()).current_dir(setup.directory());
        command.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let central = setup.start_by(&mut command);
        // The storage as the central sees it: from outside the mount there is an empty directory.
        let seen = |file: &str| {
            PathBuf::from(format!(
                "/proc/{}/root{}",
                central.program.pid(),
                setup.stored(file).display()
            ))
        };
        let agencies = with_bets(&central, 3);
        // The place of its mark has a page from here on; what fails is the draw.
        let mut first = Participant::connect(central.port, DIALECT, 1);
        first.finish();
        central.agencies_wait(1);
        drop(first);
        central.agencies_wait(0);
        let filler = seen("filler");
        fill(&filler);
        fails_until_it_can_be_held(central, agencies, "No space left", || {
            fs::remove_file(filler).unwrap()
        });
    }
}

#[test]
fn a_draw_that_cannot_be_written_is_held_when_it_can() {
    let setup = setup(3);
    let central = setup.start();
    let agencies = with_bets(&central, 3);
    let in_the_way = setup.stored("draw.csv.new");
    fs::create_dir(&in_the_way).unwrap();
    let mend = || fs::remove_dir(&in_the_way).unwrap();
    fails_until_it_can_be_held(central, agencies, "draw.csv: Is a directory", mend);
}

#[test]
fn a_row_that_is_no_bet_any_more_is_named_and_the_draw_is_held_when_it_is_mended() {
    let setup = setup(3);
    let central = setup.start();
    let agencies = with_bets(&central, 3);
    let (path, good) = (setup.stored("bets.csv"), setup.read_stored("bets.csv"));
    // In place: the central has the file open.
    let write =
        |bytes: &[u8]| File::options().write(true).open(&path).unwrap().write_all(bytes).unwrap();
    let bad = String::from_utf8(good.clone()).unwrap().replacen("1999-03-17", "1999-13-17", 2);
    let bad = bad.replacen("1999-13-17", "1999-03-17", 1);
    write(bad.as_bytes());
    fails_until_it_can_be_held(central, agencies, "bets.csv: line 2 is no bet", || write(&good));
}

/// A start that must fail: what it says.
fn start_fails(setup: &Setup, port: u16) -> String {
    let mut program = Program::start(&mut setup.command(&["run"]));
    assert_eq!(program.exit_code_within(Duration::from_secs(5)), 1, "{:?}", program.lines());
    setup.nothing_left_on(port);
    program.line_with("action: exit | result: fail | error: ")
}

#[test]
fn a_draw_csv_that_is_damaged_or_of_other_bets_stops_the_start_and_the_message_says_what_to_do() {
    let mut setup = setup(3);
    let port = setup.keep_port();
    let central = setup.start();
    let mut agencies = with_bets(&central, 3);
    agencies.iter_mut().for_each(Participant::finish);
    are_answered(&mut agencies);
    drop(agencies);
    assert_eq!(central.stop().0, 0);
    let (path, good) = (setup.stored("draw.csv"), setup.read_stored("draw.csv"));
    // Bets of the three agencies: six, five and eight, four of which win.
    assert!(good.starts_with(b"draw,19,4\r\n"), "{}", String::from_utf8_lossy(&good));
    let text = String::from_utf8(good.clone()).unwrap();
    let (damaged, other) = ("it is not as a draw leaves it; move it away", "move this file away");
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
    ] {
        fs::write(&path, &bytes).unwrap();
        let line = start_fails(&setup, port);
        assert!(line.contains("draw.csv") && line.contains(reason), "{bytes:?}: {line}");
    }
    // As the message says: away with it, and another draw is held over the same bets.
    fs::remove_file(&path).unwrap();
    let central = setup.start();
    ask_and_are_answered(&central, 3);
    assert_eq!(setup.read_stored("draw.csv"), good);
    assert_eq!(draws(&central.stop_and_read_log()), 1);
}

#[test]
fn the_draw_waits_for_as_many_agencies_as_the_present_start_says() {
    let mut setup = setup(2);
    let central = setup.start();
    let mut agencies = with_bets(&central, 3);
    agencies[0].finish();
    central.agencies_wait(1);
    drop(agencies);
    assert_eq!(central.stop().0, 0);

    setup.set("SERVER_AGENCIES", "3");
    let central = setup.start();
    let mut agencies: Vec<_> =
        (1..=2).map(|number| Participant::connect(central.port, DIALECT, number)).collect();
    agencies.iter_mut().for_each(Participant::finish);
    central.agencies_wait(2);
    assert_eq!((central.number("agencies_finished"), central.number("agencies_expected")), (2, 3));
    assert!(agencies.iter_mut().all(|agency| agency.connection().hears_nothing()));
    drop(agencies);
    assert_eq!(draws(&central.stop_and_read_log()), 0);

    // Enough have finished, so nobody has to come for the draw to be held.
    setup.set("SERVER_AGENCIES", "2");
    let central = setup.start();
    central.program.line_with("action: sorteo | result: success");
    ask_and_are_answered(&central, 3);
    assert_eq!(central.stop().0, 0);

    setup.set("SERVER_AGENCIES", "5");
    let central = setup.start();
    ask_and_are_answered(&central, 3);
    assert_eq!(draws(&central.stop_and_read_log()), 0, "what was drawn stays drawn");

    setup.set("SERVER_STORAGE_DIR", "another");
    setup.set("SERVER_AGENCIES", "1");
    let central = setup.start();
    with_bets(&central, 1)[0].finish();
    ask_and_are_answered(&central, 1);
}

#[test]
fn where_the_result_was_taken_away_nobody_is_told_that_he_won_nothing() {
    let setup = Setup::new()
        .with("SERVER_PROTOCOL", "framed")
        .with("SERVER_WORKERS", "1")
        .with("SERVER_AGENCIES", "1");
    let central = setup.start();
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.store(&bets_with(FIVE[0]));
    agency.try_notify().unwrap();
    eventually("the draw", || central.status()["drawn"].clone(), |drawn| *drawn == true);
    fs::remove_file(setup.stored("draw.csv")).unwrap();
    agency.ask();
    assert_eq!(agency.into_connection().read_to_end(), b"ERROR|The winners cannot be told\n");
    let line = central.program.line_with("action: receive_message | result: fail");
    assert!(line.contains("the winners of agency 1 cannot be read: draw.csv is gone"), "{line}");
}
