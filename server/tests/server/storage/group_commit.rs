//! One worker syncs for all, and its sync takes as long as it likes: the others go on serving, and
//! nothing is answered before it is durable.
//!
//! A preloaded library lets the sync hang. The tests compile it, so they need a C compiler.

use std::time::{Duration, Instant};

use lottery::protocol::typed::decode_winners;
use nix::sys::signal::Signal;

use crate::harness::{
    AgencyConnection, CentralProcess, FileShim, Setup, eventually, eventually_within, kill,
    packet_of,
};

/// Bets of each batch, of which one wins.
const BETS: usize = 5;
/// Time within which the batches of the others are answered once the worker that syncs is dead.
const AFTER_DEATH: Duration = Duration::from_secs(1);

/// A central with two workers, one of which syncs for the first batch and hangs.
struct Hanging<'a> {
    central: CentralProcess<'a>,
    shim: FileShim,
    /// The worker that hangs.
    syncing: u32,
    /// The agency of its batch.
    first: AgencyConnection,
}

fn setup() -> Setup {
    Setup::new().with("SERVER_DURABILITY", "disk").with("SERVER_WORKERS", "2")
}

/// Starts a central and lets a sync hang, as the order says. Without a C compiler, reports the test
/// as left out.
fn hang<'a>(setup: &'a Setup, order: &str) -> Option<Hanging<'a>> {
    let shim = FileShim::compile(setup)?;
    let mut command = setup.command(&["run"]);
    shim.preload(&mut command);
    let central = setup.start_by(&mut command);
    shim.fail_next(order);
    let first = send(&central, "first");
    eventually("a sync hangs", || shim.hangs(), |hangs| *hangs);
    let sync = central.segment().lock("sync").unwrap();
    let syncing = sync.holder().unwrap().as_raw().cast_unsigned();
    Some(Hanging { central, shim, syncing, first })
}

fn send(central: &CentralProcess<'_>, mark: &str) -> AgencyConnection {
    let mut agency = central.connect();
    agency.send(&packet_of(mark, BETS, 1));
    agency
}

impl Hanging<'_> {
    /// Sends a batch and waits until the other worker has committed it.
    fn commit(&self, mark: &str) -> AgencyConnection {
        let agency = send(&self.central, mark);
        let is_committed = |rows: &Vec<String>| rows.iter().any(|row| row.contains(mark));
        eventually("committed rows", || self.central.setup().rows(), is_committed);
        agency
    }

    /// Commits a batch whose agency then resets its connection.
    fn commit_and_leave(&self, mark: &str) {
        let packet = packet_of(mark, BETS, 1);
        let in_flight = || self.central.number("agencies_in_flight");
        let before = in_flight();
        let mut agency = self.central.connect();
        // In two parts, so that the worker watches the connection and sees the reset.
        agency.send(&packet[..10]);
        eventually("a batch in flight", in_flight, |now| *now == before + 1);
        agency.send(&packet[10..]);
        let is_committed = |rows: &Vec<String>| rows.iter().any(|row| row.contains(mark));
        eventually("committed rows", || self.central.setup().rows(), is_committed);
        agency.reset();
        let refused = || self.central.worker_numbers("refused");
        eventually("a closed connection", refused, |counts| counts.contains(&1));
    }
}

/// Returns true if the batch of an agency is acknowledged. Fails if it is refused.
fn is_acknowledged(agency: &mut AgencyConnection) -> bool {
    let reply = agency.read_until_gone();
    let winners = decode_winners(&reply).unwrap();
    assert!(reply.is_empty() || winners.as_ref().is_some_and(|all| all.len() == 1), "{reply:?}");
    winners.is_some()
}

/// Lets a sync hang, and sends batches and queries to the other worker, which has this many idle
/// connections.
fn serve_while_a_sync_hangs(idle: usize) {
    let setup = setup();
    let Some(mut hanging) = hang(&setup, "sync journal hang") else { return };
    let _idle: Vec<_> = (0..idle).map(|_| hanging.central.connect()).collect();
    let mut others = Vec::new();
    for number in 1..=3 {
        others.push(hanging.commit(&format!("other{number}")));
        let results = hanging.central.results();
        assert_eq!((results.winners, results.in_flight), (0, number + 1));
    }
    let agencies = || others.iter().chain([&hanging.first]);
    assert!(agencies().all(AgencyConnection::is_quiet), "answered before it was durable");

    hanging.shim.release();
    for agency in others.iter_mut().chain([&mut hanging.first]) {
        assert!(is_acknowledged(agency));
        assert!(hanging.central.results().winners > 0, "read your writes");
    }
    let results = hanging.central.results();
    assert_eq!((results.winners, results.in_flight), (4, 0));
    assert_eq!(hanging.central.stop().0, 0);
}

#[test]
fn a_worker_commits_and_answers_queries_while_the_sync_of_another_one_hangs() {
    serve_while_a_sync_hangs(0);
}

#[test]
fn a_worker_with_many_connections_does_so_too() {
    serve_while_a_sync_hangs(40);
}

#[test]
fn batches_that_wait_for_a_worker_that_is_killed_while_it_syncs_are_answered() {
    for _ in 0..5 {
        let setup = setup();
        let Some(mut hanging) = hang(&setup, "sync journal hang") else { return };
        let mut others = [hanging.commit("second"), hanging.commit("third")];
        let killed = Instant::now();
        assert!(kill(hanging.syncing, Signal::SIGKILL));
        assert!(others.iter_mut().all(is_acknowledged));
        let took = killed.elapsed();
        assert!(took < AFTER_DEATH, "answered {took:?} after the death");
        assert!(!is_acknowledged(&mut hanging.first), "its worker is dead");
        hanging.central.none_in_flight_within_a_second();
        assert_eq!(hanging.central.results().winners, 3);
        assert_eq!(setup.rows().len(), 3 * BETS);
        assert_eq!(hanging.central.stop().0, 0);
    }
}

#[test]
fn no_batch_that_waits_for_a_sync_that_fails_is_acknowledged() {
    let setup = setup();
    let Some(mut hanging) = hang(&setup, "sync journal hang-error") else { return };
    let mut others = [hanging.commit("second"), hanging.commit("third")];
    hanging.shim.release();
    assert!(!is_acknowledged(&mut hanging.first), "the sync of its worker failed");
    assert!(!others.iter_mut().any(is_acknowledged), "the sync failed");
    assert_eq!(hanging.central.program.exit_code(), 3);
    drop(hanging);
    let central = setup.start();
    assert_eq!(central.number("bets"), setup.rows().len() as u64);
}

#[test]
fn a_stop_waits_for_the_sync_and_answers_every_batch() {
    let setup = setup().with("SERVER_GRACE", "10s");
    let Some(mut hanging) = hang(&setup, "sync journal hang") else { return };
    let mut others = [hanging.commit("second"), hanging.commit("third")];
    // Its client is gone, and its batch is stored nevertheless.
    hanging.commit_and_leave("gone");
    hanging.central.program.signal(Signal::SIGTERM);
    hanging.central.program.line_with("action: close_listener");
    assert!(others.iter().all(AgencyConnection::is_quiet), "answered before it was durable");
    assert!(hanging.central.program.is_running());

    hanging.shim.release();
    assert!(others.iter_mut().chain([&mut hanging.first]).all(is_acknowledged));
    assert_eq!(hanging.central.program.exit_code(), 0);
    drop(hanging);
    assert_eq!(setup.rows().len(), 4 * BETS);
}

#[test]
fn a_worker_that_retires_while_its_batch_waits_logs_it_and_leaves_nothing_in_flight() {
    let setup = setup().with("LOGGING_LEVEL", "INFO");
    let Some(hanging) = hang(&setup, "sync journal hang") else { return };
    hanging.commit_and_leave("gone");
    hanging.central.program.signal(Signal::SIGHUP);
    eventually("a new generation", || hanging.central.number("generation"), |now| *now == 2);
    // The worker has no connection left, and may end only after its commit is published.
    assert!(hanging.central.number("agencies_in_flight") >= 2);

    hanging.shim.release();
    let results = || hanging.central.results();
    let total = |seen: &lottery::Results| (seen.winners, seen.in_flight) == (2, 0);
    eventually_within(Duration::from_secs(5), "a total", results, total);
    let logged = || hanging.central.program.count_lines_with("apuesta_recibida | result: success");
    eventually("a line per batch", logged, |lines| *lines == 2);
    assert_eq!(hanging.central.stop().0, 0);
}
