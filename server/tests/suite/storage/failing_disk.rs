//! The disk loses something: a sync fails once. The kernel says so once, so from then on nothing may be acknowledged, and the
//! central stops for a restart to recover, whichever file it was and whoever found out.
//!
//! A library put before the C library's lets one `fdatasync` fail; it is compiled here, so the tests need a C compiler.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Agency, Participant, Setup, large_packet};

/// Fails the next `fdatasync` of the file whose path ends with `$FAIL_SYNC_OF`, once, when the file `$FAIL_SYNC_NOW` exists.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    const char *wanted = getenv("FAIL_SYNC_OF"), *now = getenv("FAIL_SYNC_NOW");
    if (length > 0 && wanted && now) {
        path[length] = 0;
        size_t end = strlen(wanted);
        if ((size_t)length >= end && !strcmp(path + length - end, wanted) && !unlink(now)) {
            errno = EIO;
            return -1;
        }
    }
    return syscall(SYS_fdatasync, fd);
}
"#;

/// Bets of a batch: three of these fill the journal, and a full journal is a checkpoint, which syncs every file.
const BETS: usize = 50_000;

/// The central's command with that library, and the file that lets the next sync of `file` fail; `None` without a C compiler.
fn failing_sync_of(file: &str, setup: &Setup) -> Option<(Command, PathBuf)> {
    let library = setup.directory().join("failing.so");
    let source = setup.directory().join("failing.c");
    fs::write(&source, LIBRARY).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    if !compiled.is_ok_and(|status| status.success()) {
        println!("SKIPPED: no C compiler");
        return None;
    }
    let now = setup.directory().join("now");
    let mut command = setup.command(&["run"]);
    command.env("LD_PRELOAD", &library).env("FAIL_SYNC_OF", file).env("FAIL_SYNC_NOW", &now);
    Some((command, now))
}

fn a_failed_sync_of(file: &str) {
    let setup = Setup::new().with("SERVER_DURABILITY", "disk");
    let Some((mut command, now)) = failing_sync_of(file, &setup) else { return };
    let mut central = setup.start_by(&mut command);
    let send = |number: usize| {
        let Ok(mut agency) = Agency::try_connect(central.port) else { return false };
        agency.try_send(&large_packet(&format!("m{number}"), BETS, 1));
        !agency.read_until_gone().is_empty()
    };
    assert!(send(0), "the disk is well");

    fs::write(&now, "").unwrap();
    let acknowledged = 1 + (1..20).take_while(|number| send(*number)).count();
    assert!(!now.exists(), "no sync of {file} was tried in {acknowledged} batches");

    assert_eq!(central.program.exit_code(), 3, "{:?}", central.program.lines());
    assert!(central.program.count_lines_with(&format!("{file} durable")) > 0);
    drop(central);

    let central = setup.start();
    let (winners, bets) = (central.results().winners, central.number("bets"));
    assert!(
        winners >= acknowledged as u64,
        "{winners} winners, {acknowledged} batches acknowledged"
    );
    assert_eq!((bets, setup.rows().len() as u64), (winners * BETS as u64, bets));
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_lost_page_of_the_bets_stops_the_central_and_loses_nothing_acknowledged() {
    a_failed_sync_of("bets.csv");
}

#[test]
fn a_lost_page_of_the_winners_stops_the_central_and_loses_nothing_acknowledged() {
    a_failed_sync_of("winners.log");
}

#[test]
fn a_lost_page_of_the_journal_stops_the_central_and_loses_nothing_acknowledged() {
    a_failed_sync_of("journal");
}

#[test]
fn a_lost_page_of_who_has_finished_stops_the_central_before_anybody_is_told() {
    let setup = Setup::new()
        .with("SERVER_DURABILITY", "disk")
        .with("SERVER_PROTOCOL", "framed")
        .with("SERVER_AGENCIES", "2");
    let Some((mut command, now)) = failing_sync_of("finished", &setup) else { return };
    let mut central = setup.start_by(&mut command);
    let mut first = Participant::connect(central.port, "framed", 1);
    first.try_notify().unwrap();
    fs::write(&now, "").unwrap();
    let mut second = Participant::connect(central.port, "framed", 2);
    assert!(second.try_notify().is_err(), "acknowledged, though it may be lost");
    assert_eq!(central.program.exit_code(), 3, "{:?}", central.program.lines());
    assert_eq!(central.program.count_lines_with("action: sorteo"), 0);
    drop(central);

    let central = setup.start();
    assert!(central.number("agencies_finished") >= 1, "who was acknowledged is remembered");
    assert_eq!(central.stop().0, 0);
}
