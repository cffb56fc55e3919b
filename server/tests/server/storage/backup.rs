//! `loteria-central backup`: a consistent copy of the storage, of a running central too, and a
//! restore.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Output;
use std::sync::Arc;

use nix::sys::signal::Signal;

use crate::harness::{
    BatchRecord, CentralProcess, Load, Participant, Random, Setup, StoppedProcess, bet, eventually,
    kill, packet_of,
};

/// Runs `loteria-central backup` of the storage of this setup.
fn back_up(setup: &Setup, target: &str) -> Output {
    setup.run(&["backup", target])
}

/// Runs a backup that must succeed. Returns the line that it logs.
fn backed_up(setup: &Setup, target: &str) -> String {
    let output = back_up(setup, target);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// Runs a backup that must fail and leave nothing. Returns what it says.
fn refused(setup: &Setup, target: &str) -> String {
    let output = back_up(setup, target);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!setup.directory().join(format!("{target}.new")).exists());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Restores a backup as docs/operator.md says: the storage directory is replaced by a copy of the
/// backup.
fn restore(setup: &Setup, backup: &str) {
    fs::remove_dir_all(setup.stored("")).unwrap();
    fs::create_dir(setup.stored("")).unwrap();
    for entry in fs::read_dir(setup.directory().join(backup)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), setup.stored(entry.file_name().to_str().unwrap())).unwrap();
    }
}

fn setup(durability: &str) -> Setup {
    Setup::new()
        .with("SERVER_DURABILITY", durability)
        .with("SERVER_PROTOCOL", "typed,framed:0")
        .with("SERVER_AGENCIES", "2")
}

/// Backs up a central under load, `count` times. Before each backup, `disturb` gets the central.
/// Then restores each backup and asserts that it holds what was acknowledged before it.
fn back_up_under_load(
    durability: &str,
    count: usize,
    mut disturb: impl FnMut(&CentralProcess<'_>),
) {
    let setup = setup(durability).with("LOGGING_LEVEL", "INFO");
    let central = setup.start();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(4, central.port, &record, &mut random);
    let mut backups = Vec::new();
    for number in 0..count {
        eventually("more batches", || record.acknowledged(), |count| *count >= 20 * number);
        disturb(&central);
        let before = record.acknowledgements();
        let name = format!("backup-{number}");
        assert!(backed_up(&setup, &name).contains("| running: true"));
        backups.push((name, before));
    }
    load.stop();
    central.none_in_flight_within_a_second();
    record.check(&setup, &central);
    assert_eq!(central.stop().0, 0);
    for (name, before) in backups {
        restore(&setup, &name);
        let central = setup.start();
        record.as_of(&before).check(&setup, &central);
        assert!(central.request(&packet_of("more", 3, 1)).len() > 2, "it can go on");
        assert_eq!(central.stop().0, 0);
    }
}

#[test]
fn a_backup_under_load_holds_whole_batches_and_all_that_were_acknowledged_before_it() {
    for durability in ["process", "disk"] {
        let mut workers = None;
        back_up_under_load(durability, 5, |central| {
            let now = central.worker_pids();
            assert_eq!(*workers.get_or_insert(now.clone()), now, "the central is not disturbed");
        });
    }
}

#[test]
fn workers_that_are_killed_during_a_backup_do_no_harm_to_it() {
    let mut random = Random::seeded();
    back_up_under_load("process", 5, |central| {
        let workers = central.worker_pids();
        kill(workers[random.below(2) as usize], Signal::SIGKILL);
    });
}

#[test]
fn a_backup_of_a_stopped_central_and_of_a_killed_one_holds_everything() {
    for durability in ["process", "disk"] {
        let setup = setup(durability);
        let central = setup.start();
        assert!(central.request(&packet_of("a", 100, 40)).len() > 2);
        assert_eq!(central.stop().0, 0);
        assert!(backed_up(&setup, "stopped").contains("| bets: 100 | winners: 40"));

        let central = setup.start();
        assert!(central.request(&packet_of("b", 10, 5)).len() > 2);
        central.kill_all();
        let line = backed_up(&setup, "killed");
        assert!(line.contains("| bets: 110 | winners: 45") && line.contains("| running: false"));
        let rows = setup.read_stored("bets.csv");

        restore(&setup, "killed");
        let central = setup.start();
        assert_eq!((central.number("bets"), central.results().winners), (110, 45));
        assert_eq!(central.stop().0, 0);
        assert_eq!(setup.read_stored("bets.csv"), rows);
        restore(&setup, "stopped");
        let central = setup.start();
        assert_eq!((central.number("bets"), central.results().winners), (100, 40));
        assert_eq!(central.stop().0, 0);
    }
}

#[test]
fn finish_marks_and_the_result_of_the_draw_are_in_the_backup() {
    let setup = setup("disk");
    let central = setup.start();
    let port = central.port_of("framed");
    let mut agencies = [1, 2].map(|number| Participant::connect(port, "framed", number));
    for (number, agency) in agencies.iter_mut().enumerate() {
        agency.store(&[bet(&format!("{number}"), true), bet("lost", false)]);
    }
    agencies[0].finish();
    assert!(backed_up(&setup, "half").contains("| agencies_finished: 1"));
    agencies[1].finish();
    central.until_drawn();
    let result = setup.read_stored("draw.csv");
    assert!(backed_up(&setup, "whole").contains("| agencies_finished: 2"));
    assert_eq!(central.stop().0, 0);

    restore(&setup, "whole");
    assert_eq!(setup.read_stored("draw.csv"), result);
    let central = setup.start();
    assert_eq!(central.status()["drawn"], true);
    let mut agency = Participant::connect(central.port_of("framed"), "framed", 1);
    agency.finish();
    agency.ask();
    assert_eq!(agency.winners().0, 1);
    drop(agency);
    assert_eq!(central.stop().0, 0);

    restore(&setup, "half");
    let central = setup.start();
    assert_eq!(central.number("agencies_finished"), 1);
    assert_eq!(central.status()["drawn"], false);
    Participant::connect(central.port_of("framed"), "framed", 2).finish();
    central.until_drawn();
    assert_eq!(setup.read_stored("draw.csv"), result, "the same draw over the same bets");
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_target_with_files_or_without_a_name_is_refused_and_an_empty_one_is_used() {
    let setup = setup("process");
    let central = setup.start();
    assert!(central.request(&packet_of("a", 5, 1)).len() > 2);
    let taken = setup.directory().join("taken");
    fs::create_dir(&taken).unwrap();
    backed_up(&setup, "taken");
    let said = refused(&setup, "taken");
    assert!(said.contains("taken exists and is not an empty directory"), "{said}");
    assert_eq!(fs::read(taken.join("bets.csv")).unwrap(), setup.read_stored("bets.csv"));
    fs::write(setup.directory().join("file"), "").unwrap();
    assert!(refused(&setup, "file").contains("is not an empty directory"));
    assert!(refused(&setup, "..").contains("is not the name of a new directory"));

    let unfinished = setup.directory().join("next.new");
    fs::create_dir(&unfinished).unwrap();
    let output = back_up(&setup, "next");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("next.new exists"), "{said}");
    assert!(unfinished.exists(), "it may belong to another program");
    let modes = ["", "bets.csv", "journal"].map(|name| fs::metadata(taken.join(name)).unwrap());
    assert_eq!(modes.map(|metadata| metadata.mode() & 0o777), [0o750, 0o640, 0o600]);
}

#[test]
fn without_a_storage_there_is_nothing_to_back_up_and_nothing_is_created() {
    let setup = setup("process");
    let said = refused(&setup, "backup");
    assert!(said.contains("./storage has no bets.csv"), "{said}");
    assert!(!setup.stored("").exists() && !setup.directory().join("backup").exists());
}

#[test]
fn changed_rows_are_not_backed_up_as_if_they_were_acknowledged() {
    let setup = setup("process");
    let central = setup.start();
    assert!(central.request(&packet_of("a", 5, 1)).len() > 2);
    let bets = File::options().write(true).open(setup.stored("bets.csv")).unwrap();
    bets.write_all_at(b"9", 0).unwrap();
    let said = refused(&setup, "backup");
    assert!(said.contains("bets.csv: it is not what was acknowledged"), "{said}");
    assert!(!setup.directory().join("backup").exists());
    drop(central);
}

#[test]
fn a_backup_takes_no_lock_of_the_central() {
    let setup = setup("process");
    let central = setup.start();
    assert!(central.request(&packet_of("a", 5, 1)).len() > 2);
    let segment = central.segment();
    let ledger = segment.value::<[u64; 11]>("ledger").unwrap();
    let winners = segment.value::<u64>("winners").unwrap();
    let sync = segment.lock("sync").unwrap();
    let held = [ledger.get_lock(), winners.get_lock(), &sync].map(|lock| lock.lock().unwrap());
    assert!(backed_up(&setup, "backup").contains("| bets: 5"));
    drop(held);
}

#[test]
fn a_killed_central_of_which_a_worker_is_stopped_is_not_mistaken_for_a_running_one() {
    let setup = setup("process");
    let mut central = setup.start();
    assert!(central.request(&packet_of("a", 5, 1)).len() > 2);
    let stopped = StoppedProcess::new(central.worker_pids()[0]);
    central.program.signal(Signal::SIGKILL);
    central.program.exit_code();
    let said = refused(&setup, "backup");
    assert!(said.contains("is in use, but its central does not run"), "{said}");
    drop(stopped);
    let stopped = || back_up(&setup, "backup").status.code();
    eventually("a backup after its end", stopped, |code| *code == Some(0));
}
