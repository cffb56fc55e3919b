//! A sync fails because the disk has lost a page. The kernel reports this once, so from then on
//! nothing may be acknowledged: the central stops, and a restart recovers. It does not matter which
//! file it was and which process noticed.
//!
//! A preloaded library makes one sync fail. The tests compile it, so they need a C compiler.

use std::process::Command;

use crate::harness::{
    AgencyConnection, FileShim, Participant, Program, Setup, large_packet, packet_of,
};

/// Bets of a batch. About ten such batches fill the journal, which leads to a checkpoint, which
/// syncs every file.
const BETS: usize = 50_000;

/// Returns a command for a central of which a sync can be made to fail. Without a C compiler,
/// reports the test as left out.
fn failing(setup: &Setup) -> Option<(Command, FileShim)> {
    let shim = FileShim::compile(setup)?;
    let mut command = setup.command(&["run"]);
    shim.preload(&mut command);
    Some((command, shim))
}

/// Asserts that a failed sync of this file stops the central and loses no acknowledged batch.
fn stops_after_a_failed_sync_of(file: &str) {
    let setup = Setup::new().with("SERVER_DURABILITY", "disk");
    let Some((mut command, shim)) = failing(&setup) else { return };
    let mut central = setup.start_by(&mut command);
    let send = |number: usize| {
        let Ok(mut agency) = AgencyConnection::try_open(central.port) else { return false };
        agency.try_send(&large_packet(
            &format!("the-mark-of-all-bets-in-the-batch-{number}"),
            BETS,
            1,
        ));
        !agency.read_until_gone().is_empty()
    };
    assert!(send(0), "the disk works");

    shim.fail_next(&format!("sync {file} error"));
    let acknowledged = 1 + (1..40).take_while(|number| send(*number)).count();
    assert!(!shim.is_pending(), "no sync of {file} was tried in {acknowledged} batches");

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
fn a_failed_sync_of_the_bets_stops_the_central_and_loses_nothing_acknowledged() {
    stops_after_a_failed_sync_of("bets.csv");
}

#[test]
fn a_failed_sync_of_the_winners_stops_the_central_and_loses_nothing_acknowledged() {
    stops_after_a_failed_sync_of("winners.log");
}

#[test]
fn a_failed_sync_of_the_index_stops_the_central_and_loses_nothing_acknowledged() {
    stops_after_a_failed_sync_of("winners.idx");
}

#[test]
fn a_failed_sync_of_the_journal_stops_the_central_and_loses_nothing_acknowledged() {
    stops_after_a_failed_sync_of("journal");
}

#[test]
fn a_failed_sync_of_a_finish_mark_stops_the_central_before_it_acknowledges() {
    let setup = Setup::new()
        .with("SERVER_DURABILITY", "disk")
        .with("SERVER_PROTOCOL", "framed")
        .with("SERVER_AGENCIES", "2");
    let Some((mut command, shim)) = failing(&setup) else { return };
    let mut central = setup.start_by(&mut command);
    let mut first = Participant::connect(central.port, "framed", 1);
    first.try_notify().unwrap();
    shim.fail_next("sync journal error");
    let mut second = Participant::connect(central.port, "framed", 2);
    assert!(second.try_notify().is_err(), "acknowledged although it may be lost");
    assert_eq!(central.program.exit_code(), 3, "{:?}", central.program.lines());
    assert_eq!(central.program.count_lines_with("action: sorteo"), 0);
    drop(central);

    let central = setup.start();
    assert!(central.number("agencies_finished") >= 1, "the acknowledged agency has finished");
    assert_eq!(central.stop().0, 0);
}

#[test]
fn batches_of_a_killed_run_with_durability_disk_are_durable_before_a_run_without_it_stores_more() {
    for file in ["bets.csv", "winners.log", "winners.idx", "finished", "journal"] {
        let mut setup = Setup::new().with("SERVER_DURABILITY", "disk");
        let central = setup.start();
        assert!(central.request(&packet_of("acknowledged", 10, 4)).len() > 2);
        central.kill_all();

        setup.set("SERVER_DURABILITY", "process");
        let Some((mut command, shim)) = failing(&setup) else { return };
        shim.fail_next(&format!("sync {file} error"));
        let mut program = Program::start(&mut command);
        program.line_with(&format!("{file} durable"));
        assert_eq!(program.exit_code(), 1);
        drop(program);
        let central = setup.start();
        assert_eq!((central.number("bets"), central.results().winners), (10, 4), "{file}");
        assert_eq!(central.stop().0, 0);
    }
}

#[test]
fn a_new_file_of_finished_agencies_is_durable_before_it_gets_its_name() {
    let setup = Setup::new();
    let Some((mut command, shim)) = failing(&setup) else { return };
    shim.fail_next("sync finished.new error");
    let mut program = Program::start(&mut command);
    program.line_with("finished.new durable: Input/output error");
    assert_eq!(program.exit_code(), 1);
    drop(program);
    assert!(!setup.stored("finished").exists());
    assert_eq!(setup.start().stop().0, 0);
}
