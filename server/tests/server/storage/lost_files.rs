//! Another program deletes, replaces or shortens a file that a running central relies on: the
//! central stops within a second, says which file it was, and acknowledges nothing more.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{
    AgencyConnection, CentralProcess, Participant, Setup, StoppedProcess, bet, eventually_within,
    packet_of,
};

/// Files of a running central before its draw.
const FILES: [&str; 6] = ["bets.csv", "winners.log", "winners.idx", "journal", "finished", "lock"];
/// How long a central may take to notice and to exit, on a busy machine.
const SOON: Duration = Duration::from_secs(5);
/// Exit code when the storage cannot be used any more.
const UNUSABLE: i32 = 3;

fn setup(durability: &str) -> Setup {
    Setup::new()
        .with("SERVER_DURABILITY", durability)
        .with("SERVER_PROTOCOL", "typed,framed:0")
        .with("SERVER_AGENCIES", "1")
}

/// Asserts that the central has exited because of `path`, and that its log says what to do.
fn assert_stopped(mut central: CentralProcess<'_>, path: &Path, loss: &str) {
    assert_eq!(central.program.exit_code_within(SOON), UNUSABLE, "{path:?} {loss}");
    let path = path.display().to_string();
    let log = central.program.lines();
    let named = |line: &&String| line.contains(&path) && line.contains(loss);
    let line = log.iter().find(named).unwrap_or_else(|| panic!("{path} {loss}: {log:?}"));
    assert!(line.contains("start the central again"), "{line}");
    let errors = log.iter().filter(|line| line.contains("ERROR")).count();
    assert!(errors <= 5, "{errors} errors: {log:?}");
    assert!(!log.iter().any(|line| line.contains("action: exit | result: success")), "{log:?}");
}

/// Renames a file or directory of the storage, so that its name leads nowhere.
fn delete(path: &Path) {
    fs::rename(path, path.with_extension("aside")).unwrap();
}

/// Replaces a file by a copy of it.
fn replace(path: &Path) {
    delete(path);
    fs::copy(path.with_extension("aside"), path).unwrap();
}

#[test]
fn a_deleted_file_stops_an_idle_central() {
    for name in FILES {
        let setup = setup("process");
        let central = setup.start();
        central.request(&packet_of("a", 3, 1));
        delete(&setup.stored(name));
        assert_stopped(central, &Path::new("./storage").join(name), "was deleted");
    }
}

#[test]
fn a_replaced_file_stops_an_idle_central() {
    for name in FILES {
        let setup = setup("process");
        let central = setup.start();
        central.request(&packet_of("a", 3, 1));
        replace(&setup.stored(name));
        assert_stopped(central, &Path::new("./storage").join(name), "was replaced");
    }
}

#[test]
fn a_shortened_file_stops_an_idle_central() {
    for name in ["bets.csv", "winners.log", "journal", "finished"] {
        let setup = setup("disk");
        let central = setup.start();
        central.request(&packet_of("a", 3, 1));
        File::options().write(true).open(setup.stored(name)).unwrap().set_len(1).unwrap();
        assert_stopped(central, &Path::new("./storage").join(name), "was shortened to 1 of ");
    }
}

#[test]
fn a_removed_directory_stops_the_central_and_no_other_one_runs_there_for_long() {
    for durability in ["process", "disk"] {
        let setup = setup(durability);
        let central = setup.start();
        central.request(&packet_of("a", 3, 1));
        fs::remove_dir_all(setup.stored("")).unwrap();
        // A second central in the directory that it creates anew.
        let second = setup.start();
        assert_stopped(central, Path::new("./storage"), "was ");
        assert_eq!(second.number("bets"), 0);
        assert!(second.request(&packet_of("b", 2, 1)).len() > 2);
        assert_eq!((second.stop().0, setup.rows().len()), (0, 2));
    }
}

#[test]
fn a_directory_that_is_removed_under_load_stops_the_central_and_nothing_is_acknowledged_later() {
    let setup = setup("process");
    let central = setup.start();
    let send = |number: usize| {
        let Ok(mut agency) = AgencyConnection::try_open(central.port) else { return false };
        agency.try_send(&packet_of(&format!("m{number}"), 10, 1));
        !agency.read_until_gone().is_empty()
    };
    assert!(send(0));
    fs::remove_dir_all(setup.stored("")).unwrap();
    let mut number = 0;
    let acknowledges = || {
        number += 1;
        send(number)
    };
    eventually_within(SOON, "nothing acknowledged", acknowledges, |acknowledged| !acknowledged);
    let later = (0..20).filter(|number| send(1000 + number)).count();
    assert_eq!(later, 0, "acknowledged after the loss was noticed");
    assert_stopped(central, Path::new("./storage"), "was deleted");
}

#[test]
fn bets_that_are_emptied_get_no_hole() {
    let setup = setup("process");
    let mut central = setup.start();
    assert!(central.request(&packet_of("a", 10, 1)).len() > 2);
    let bets = File::options().write(true).open(setup.stored("bets.csv")).unwrap();
    bets.set_len(0).unwrap();
    assert_eq!(central.request(&packet_of("b", 10, 1)), b"", "nothing is acknowledged");
    assert_eq!(central.program.exit_code_within(SOON), UNUSABLE);
    // A write at the old end would have made the start a hole, which reads as zeros.
    assert_eq!(bets.metadata().unwrap().len(), 0);
}

#[test]
fn a_stop_after_a_file_was_lost_is_not_a_success() {
    for name in ["bets.csv", "lock"] {
        let setup = setup("disk");
        let central = setup.start();
        central.request(&packet_of("a", 3, 1));
        delete(&setup.stored(name));
        let (code, _) = central.stop();
        assert_eq!(code, UNUSABLE, "{name}");
    }
}

#[test]
fn a_worker_that_was_stopped_checks_the_files_before_it_acknowledges() {
    let setup = setup("process").with("SERVER_WORKERS", "1");
    let central = setup.start();
    let stopped = StoppedProcess::new(central.worker_pids()[0]);
    let mut agency = central.connect();
    agency.try_send(&packet_of("a", 3, 1));
    // The worker made its last check before this.
    fs::remove_dir_all(setup.stored("")).unwrap();
    std::thread::sleep(Duration::from_millis(600));
    drop(stopped);
    assert_eq!(agency.read_until_gone(), b"");
    assert_stopped(central, Path::new("./storage"), "was deleted");
}

#[test]
fn the_result_of_the_draw_is_watched_once_there_is_one() {
    for (change, loss) in
        [(delete as fn(&Path), "was deleted"), (replace, "was replaced"), (empty, "was shortened")]
    {
        let setup = setup("process");
        let central = setup.start();
        let mut agency = Participant::connect(central.port_of("framed"), "framed", 1);
        agency.store(&[bet("1", true)]);
        agency.finish();
        agency.ask();
        assert_eq!(agency.winners().0, 1);
        // Every worker has seen the result by then.
        std::thread::sleep(Duration::from_secs(1));
        change(&setup.stored("draw.csv"));
        assert_stopped(central, Path::new("./storage/draw.csv"), loss);
    }
}

fn empty(path: &Path) {
    File::options().write(true).open(path).unwrap().set_len(0).unwrap();
}

#[test]
fn a_directory_that_is_removed_before_the_draw_ends_in_the_stop_and_not_in_endless_errors() {
    let setup = setup("process");
    let central = setup.start();
    let mut agency = Participant::connect(central.port_of("framed"), "framed", 1);
    agency.store(&[bet("1", true)]);
    fs::remove_dir_all(setup.stored("")).unwrap();
    let _finished = agency.try_finish();
    assert_stopped(central, Path::new("./storage"), "was deleted");
}

#[test]
fn shared_memory_that_is_removed_stops_the_central() {
    let setup = setup("process");
    let mut central = setup.start();
    let entry = central.segment().name().path();
    fs::remove_file(&entry).unwrap();
    assert_eq!(central.program.exit_code_within(SOON), UNUSABLE);
    let named = format!("another program deleted or replaced {}", entry.display());
    assert!(central.program.count_lines_with(&named) > 0, "{:?}", central.program.lines());
}

#[test]
fn health_fails_with_the_reason_while_the_central_stops() {
    let setup = setup("process").with("SERVER_GRACE", "10s");
    let mut central = setup.start();
    // A stopped worker keeps the central alive until the end of the grace.
    let stopped = StoppedProcess::new(central.worker_pids()[0]);
    delete(&setup.stored("bets.csv"));
    let port = central.port.to_string();
    let health = || {
        let output = setup.run(&["health", "--port", &port, "--protocol", "typed"]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let reason = "another program deleted, replaced or shortened bets.csv of the storage";
    let named = |(code, said): &(Option<i32>, String)| *code == Some(1) && said.contains(reason);
    eventually_within(SOON, "health names the file", health, named);
    drop(stopped);
    assert_eq!(central.program.exit_code_within(SOON), UNUSABLE);
    central.program.signal(Signal::SIGCONT);
}

#[test]
fn a_lock_file_that_was_deleted_does_not_let_a_second_central_use_the_same_files() {
    let setup = setup("process");
    let central = setup.start();
    let workers = central.worker_pids().into_iter().map(StoppedProcess::new);
    let stopped: Vec<_> = workers.collect();
    delete(&setup.stored("lock"));
    let refused = setup.run(&["run"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(1) && said.contains("in use by another central"),
        "{said}"
    );
    drop(stopped);
    assert_stopped(central, Path::new("./storage/lock"), "was ");
}
