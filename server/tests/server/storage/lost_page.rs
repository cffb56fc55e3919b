//! The disk loses a page, and the kernel reports that once per open file description. Whichever
//! process sees the report, and even if it dies, no process acknowledges what may be lost.
//!
//! A preloaded library loses the page. The tests compile it, so they need a C compiler.

use std::thread::scope;

use crate::harness::{
    AgencyConnection, CentralProcess, FileShim, Program, Setup, eventually, large_packet, packet_of,
};

/// Bets of a batch. About ten such batches fill the journal, which leads to a checkpoint.
const BETS: usize = 50_000;

fn setup(workers: &str) -> Setup {
    Setup::new().with("SERVER_DURABILITY", "disk").with("SERVER_WORKERS", workers)
}

/// Starts a central of which a page can be lost. Without a C compiler, reports the test as left
/// out.
fn start(setup: &Setup) -> Option<(CentralProcess<'_>, FileShim)> {
    let shim = FileShim::compile(setup)?;
    let mut command = setup.command(&["run"]);
    shim.preload(&mut command);
    Some((setup.start_by(&mut command), shim))
}

/// Sends a batch. Returns true if it is acknowledged.
fn is_acknowledged(port: u16, packet: &[u8]) -> bool {
    let Ok(mut agency) = AgencyConnection::try_open(port) else { return false };
    agency.try_send(packet);
    !agency.read_until_gone().is_empty()
}

/// Sends batches of one bet until the central has exited. Returns how many are acknowledged.
fn acknowledged_until_exit(central: &mut CentralProcess<'_>) -> usize {
    let port = central.port;
    let acknowledged = (0..20)
        .take_while(|_| AgencyConnection::try_open(port).is_ok())
        .filter(|number| is_acknowledged(port, &packet_of(&format!("after{number}"), 1, 1)))
        .count();
    if acknowledged == 0 {
        assert_eq!(central.program.exit_code(), 3, "{:?}", central.program.lines());
    }
    acknowledged
}

/// Asserts that a start finds these bets.
fn assert_stored(setup: &Setup, least: usize) {
    let central = setup.start();
    let bets = central.number("bets");
    assert!(bets >= least as u64, "{bets} bets are stored, {least} were acknowledged");
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_loss_that_another_worker_sees_during_a_sync_prevents_the_acknowledgement() {
    let setup = setup("2");
    let Some((mut central, shim)) = start(&setup) else { return };
    let port = central.port;
    assert!(is_acknowledged(port, &packet_of("before", 5, 1)), "the disk works");
    shim.fail_next("sync journal wait");
    scope(|scope| {
        let packet = packet_of("during", 5, 1);
        let sent = scope.spawn(move || is_acknowledged(port, &packet));
        eventually("a sync begins", || shim.is_pending(), |pending| !pending);
        // The other worker reopens the bets, and syncs the journal at the same time.
        shim.fail_next("sync journal lost");
        let port = port.to_string();
        let _reopening = Program::start(&mut setup.command(&["draw", "--port", &port, "--reopen"]));
        eventually("the page is lost", || shim.has_lost(), |lost| *lost);
        assert!(!sent.join().unwrap(), "a batch that may be lost was acknowledged");
    });
    assert_eq!(central.program.exit_code(), 3, "{:?}", central.program.lines());
    drop(central);
    assert_stored(&setup, 5);
}

#[test]
fn a_loss_that_only_a_killed_worker_has_seen_prevents_every_acknowledgement() {
    let setup = setup("2");
    let Some((mut central, shim)) = start(&setup) else { return };
    assert!(is_acknowledged(central.port, &packet_of("before", 5, 1)), "the disk works");
    shim.fail_next("sync journal lost-killed");
    assert!(!is_acknowledged(central.port, &packet_of("during", 5, 1)) && shim.has_lost());
    assert_eq!(acknowledged_until_exit(&mut central), 0);
    drop(central);
    assert_stored(&setup, 5);
}

#[test]
fn a_replacement_of_the_killed_worker_stops_the_central_whichever_file_lost_the_page() {
    let files = ["bets.csv", "winners.log", "winners.idx", "finished", "checkpoints", "journal"];
    for file in files {
        let setup = setup("1");
        let Some((mut central, shim)) = start(&setup) else { return };
        let port = central.port;
        shim.fail_next(&format!("sync {file} lost-killed"));
        let large =
            |number| large_packet(&format!("the-mark-of-all-bets-in-the-batch-{number}"), BETS, 1);
        let acknowledged = (0..40).take_while(|number| is_acknowledged(port, &large(*number)));
        let acknowledged = acknowledged.count();
        assert!(shim.has_lost(), "no sync of {file} was tried in {acknowledged} batches");
        assert_eq!(acknowledged_until_exit(&mut central), 0, "{file}");
        drop(central);
        assert_stored(&setup, acknowledged * BETS);
    }
}
