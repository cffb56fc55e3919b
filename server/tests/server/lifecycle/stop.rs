//! A graceful stop: begun requests are finished, queued connections are served, and the central
//! ends in time whatever clients do and leaves nothing behind.

use std::io::Write;
use std::sync::Arc;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use crate::harness::{
    AgencyConnection, BatchRecord, CentralProcess, Load, Random, Setup, StoppedProcess, bet, codec,
    eventually, kill, large_packet, packet_in, packet_of,
};
use nix::sys::signal::Signal;

const GRACE: Duration = Duration::from_secs(2);
/// Time that a stop may take beyond the grace period.
const MARGIN: Duration = Duration::from_secs(2);

fn setup() -> (Setup, u16) {
    let mut setup = Setup::new().with("SERVER_GRACE", "2s");
    let port = setup.keep_port();
    (setup, port)
}

/// Connects an agency, sends these bytes, and waits until the central has read the type byte.
fn begun(central: &CentralProcess<'_>, bytes: &[u8]) -> AgencyConnection {
    let before = central.number("agencies_in_flight");
    let mut agency = central.connect();
    agency.send(bytes);
    eventually(
        "a batch in flight",
        || central.number("agencies_in_flight"),
        |now| *now == before + 1,
    );
    agency
}

/// Asserts that nothing is left after a stop, and that the next start on the same port has this
/// many rows.
fn assert_starts_again(setup: &Setup, port: u16, rows: usize) {
    setup.assert_nothing_left(port);
    let central = setup.start();
    assert_eq!(central.number("bets"), rows as u64);
    assert_eq!(setup.rows().len(), rows);
    assert_eq!(central.stop().0, 0);
    setup.assert_nothing_left(port);
}

#[test]
fn a_batch_that_arrives_during_a_stop_is_stored_and_answered() {
    let (setup, port) = setup();
    let mut central = setup.start();
    let packet = packet_of("a", 100, 50);
    let mut agency = begun(&central, &packet[..packet.len() / 2]);

    central.program.signal(Signal::SIGTERM);
    for _ in 0..2 {
        central.program.line_with("action: close_listener");
    }
    agency.send(&packet[packet.len() / 2..]);

    assert!(agency.read_to_end().len() > 2, "answered");
    let answered = Instant::now();
    assert_eq!(central.program.exit_code(), 0);
    assert!(answered.elapsed() < GRACE, "it ends with the last connection");
    assert_eq!(central.program.count_lines_with("action: exit | result: success"), 1);
    assert_starts_again(&setup, port, 100);
}

#[test]
fn connections_in_the_queue_at_a_stop_are_served_and_not_reset() {
    let (setup, port) = setup();
    let mut central = setup.start();
    let workers: Vec<_> = central.worker_pids().into_iter().map(StoppedProcess::new).collect();
    let mut agencies: Vec<_> = (0..100).map(|_| central.connect()).collect();
    for (number, agency) in agencies.iter_mut().enumerate() {
        agency.send(&packet_of(&number.to_string(), 10, 1));
    }
    central.program.signal(Signal::SIGTERM);
    central.program.line_with("action: shutdown | result: in_progress | reason: SIGTERM");
    drop(workers);

    for agency in &mut agencies {
        // Panics if the connection is reset.
        assert!(agency.read_to_end().len() > 2, "answered");
    }
    assert_eq!(central.program.exit_code(), 0);
    assert_starts_again(&setup, port, 1000);
}

/// Returns true if a process has not handled a SIGTERM that was sent to it.
fn has_pending_sigterm(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
    let pending = u64::from_str_radix(pending.trim(), 16).unwrap();
    pending & 1 << (Signal::SIGTERM as u32 - 1) != 0
}

#[test]
fn a_queued_connection_is_served_at_a_stop_although_the_worker_with_fewer_connections_dies() {
    let setup = Setup::new().with("SERVER_PROTOCOL", "framed").with("SERVER_GRACE", "20s");
    let setup = setup.with("SERVER_HEARTBEAT_TIMEOUT", "0s").with("SERVER_WORKERS", "1");
    let mut central = setup.start();
    // Together with the request to stop, their events are as many as one round takes. So the round
    // that begins the stop does not see the queued connection before.
    let mut others: Vec<_> = (0..255).map(|_| central.connect()).collect();
    eventually("connections", || central.connections(), |count| *count == others.len() as u64);
    central.program.signal(Signal::SIGTTIN);
    eventually(
        "a second worker",
        || central.status()["workers"][1]["state"].clone(),
        |state| state == "ready",
    );
    let [busy, without_connections] = central.worker_pids()[..] else { panic!("two workers") };
    let (busy, without_connections) =
        (StoppedProcess::new(busy), StoppedProcess::new(without_connections));
    others.iter_mut().for_each(|agency| agency.send(b"0"));
    central.program.signal(Signal::SIGTERM);
    eventually("a request to stop", || has_pending_sigterm(busy.pid()), |pending| *pending);
    let mut queued = central.connect();
    queued.send(&packet_in(&mut *codec("framed", 1), &[bet("a", true)]));
    drop(busy);
    central.program.line_with("action: close_listener | result: success | worker: 0");
    without_connections.kill();

    // Panics if the connection is reset.
    assert!(!queued.read_to_end().is_empty(), "answered");
    drop(others);
    assert_eq!(central.program.exit_code(), 0);
    assert_eq!(setup.rows().len(), 1);
}

/// Sends the rest of a batch one byte at a time, until the connection ends.
fn dribble(mut agency: AgencyConnection, rest: Vec<u8>) -> JoinHandle<()> {
    spawn(move || {
        for byte in rest {
            if agency.stream().write_all(&[byte]).is_err() {
                break;
            }
            // The pace of this client; no test waits for it.
            sleep(Duration::from_millis(20));
        }
        agency.read_until_gone();
    })
}

#[test]
fn a_stop_ends_within_the_grace_period_whatever_clients_do() {
    let (setup, port) = setup();
    let mut central = setup.start();
    let small = packet_of("small", 100, 50);
    let silent: Vec<_> = (0..20).map(|_| central.connect()).collect();
    let half = begun(&central, &small[..small.len() / 2]);
    let dribbling = dribble(begun(&central, &small[..1]), small[1..].to_vec());
    // All bets win, so the reply is larger than the buffers of the socket, and the client does not
    // read it.
    let mut reading_nothing = central.connect();
    let mark = "a document of some length ".repeat(2);
    reading_nothing.send(&large_packet(&mark, 50_000, 50_000));
    central.program.line_with("cantidad: 50000");

    let start = Instant::now();
    central.program.signal(Signal::SIGTERM);
    let code = central.program.exit_code_within(GRACE + MARGIN);
    let took = start.elapsed();

    assert_eq!(code, 0);
    assert!(took > GRACE / 2, "the clients had no chance to finish: {took:?}");
    assert_eq!(central.program.count_lines_with("killed_workers"), 0, "a worker had to be killed");
    dribbling.join().unwrap();
    drop((silent, half, reading_nothing));
    assert_starts_again(&setup, port, 50_000);
}

/// Time in which a stop without requests must end: less than the shortest time that a container
/// engine waits before it kills.
const ENGINES_SHORTEST: Duration = Duration::from_secs(1);

/// Stops a central with the default grace after `prepare` has been called, and asserts that the
/// stop is quick.
fn assert_quick_stop<T>(protocol: &str, prepare: impl FnOnce(&CentralProcess<'_>) -> T) {
    let (setup, port) = setup();
    let setup = setup.with("SERVER_GRACE", "8s").with("SERVER_DURABILITY", "disk");
    let setup = setup.with("SERVER_PROTOCOL", protocol);
    let central = setup.start();
    let _kept = prepare(&central);
    let (code, took) = central.stop();
    assert_eq!(code, 0);
    assert!(took < ENGINES_SHORTEST, "{took:?}");
    setup.assert_nothing_left(port);
}

fn connected(central: &CentralProcess<'_>) -> Vec<AgencyConnection> {
    let silent = (0..20).map(|_| central.connect()).collect();
    eventually("all accepted", || central.connections(), |count| *count == 20);
    silent
}

#[test]
fn a_stop_of_an_idle_central_is_quick() {
    assert_quick_stop("typed", |_| ());
}

#[test]
fn silent_clients_do_not_delay_a_stop() {
    assert_quick_stop("typed", connected);
}

#[test]
fn idle_kept_connections_do_not_delay_a_stop() {
    assert_quick_stop("framed", |central| {
        let mut agencies = connected(central);
        let packet = packet_in(&mut *codec("framed", 1), &[bet("a", true)]);
        for agency in &mut agencies {
            agency.send(&packet);
            agency.read_bytes(1);
        }
        agencies
    });
}

#[test]
fn a_worker_that_does_not_react_is_killed_after_the_grace_period() {
    let (setup, port) = setup();
    let central = setup.start();
    assert!(central.request(&packet_of("a", 10, 4)).len() > 2);
    let _stuck = StoppedProcess::new(central.worker_pids()[1]);
    let mut central = central;
    let start = Instant::now();
    central.program.signal(Signal::SIGTERM);
    assert_eq!(central.program.exit_code_within(GRACE + MARGIN), 0);
    assert!(start.elapsed() >= GRACE, "killed too early: {:?}", start.elapsed());
    assert_eq!(central.program.count_lines_with("killed_workers: 1"), 1);
    assert_starts_again(&setup, port, 10);
}

#[test]
fn a_worker_killed_during_a_stop_leaves_nothing_of_the_batch_it_was_receiving() {
    let (setup, port) = setup();
    let mut central = setup.start();
    let packet = packet_of("a", 100, 50);
    let mut agency = begun(&central, &packet[..packet.len() / 2]);
    let processing = central.segment().raw_array::<u16>("in_flight").unwrap();
    let slot = (0..2).find(|slot| processing.load(*slot) == 1).unwrap();
    let pid = central.worker_pids()[slot];
    central.program.signal(Signal::SIGTERM);
    central.program.line_with("action: shutdown | result: in_progress");
    kill(pid, Signal::SIGKILL);
    assert!(agency.read_until_gone().is_empty());
    assert_eq!(central.program.exit_code_within(GRACE + MARGIN), 0);
    central.program.line_with("next: none, the central is stopping");
    assert_starts_again(&setup, port, 0);
}

#[test]
fn a_stop_under_load_loses_and_miscounts_nothing() {
    for durability in ["process", "disk"] {
        let (setup, port) = setup();
        let setup = setup.with("SERVER_DURABILITY", durability);
        let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
        let load = Load::start(4, port, &record, &mut random);
        for _ in 0..5 {
            let central = setup.start();
            let before = record.acknowledged();
            eventually("acknowledged batches", || record.acknowledged(), |now| *now > before + 10);
            let (code, took) = central.stop();
            assert_eq!(code, 0);
            assert!(
                took < Duration::from_secs(1),
                "no client was slow, but the stop took {took:?}"
            );
        }
        load.stop();
        let central = setup.start();
        record.check(&setup, &central);
        assert_eq!(central.stop().0, 0);
        setup.assert_nothing_left(port);
    }
}
