//! A central that is suspended, as by `docker pause`: it answers what has arrived meanwhile, even
//! if every deadline has passed.

use std::thread::{scope, sleep};
use std::time::Duration;

use crate::harness::{
    AgencyConnection, CentralProcess, Setup, StoppedProcess, bet, codec, eventually, large_packet,
    packet_in, packet_of,
};

/// Time of a request, and of an idle connection.
const TIMEOUT: Duration = Duration::from_secs(2);
/// More connections than a worker handles in one pass of its event loop.
const CONNECTIONS: usize = 400;

fn setup() -> Setup {
    let timeout = format!("{}s", TIMEOUT.as_secs());
    Setup::new().with("SERVER_WORKERS", "1").with("SERVER_REQUEST_TIMEOUT", &timeout)
}

/// Suspends the whole central until every deadline has passed, and meanwhile calls `meanwhile`.
fn suspended(central: &CentralProcess<'_>, meanwhile: impl FnOnce()) {
    let pids = central.worker_pids().into_iter().chain([central.program.pid()]);
    let stopped: Vec<_> = pids.map(StoppedProcess::new).collect();
    meanwhile();
    sleep(TIMEOUT * 5 / 4);
    drop(stopped);
}

#[test]
fn requests_whose_bytes_arrived_during_a_suspension_are_answered() {
    let setup = setup();
    let central = setup.start();
    let packet = packet_of("a", 10, 4);
    let mut agencies: Vec<AgencyConnection> = Vec::new();
    suspended(&central, || {
        agencies.extend((0..CONNECTIONS).map(|_| central.connect()));
        agencies.iter_mut().for_each(|agency| agency.send(&packet));
    });
    for agency in &mut agencies {
        // Panics if the connection is reset.
        assert!(agency.read_to_end().len() > 2, "answered");
    }
    assert_eq!(setup.rows().len(), 10 * CONNECTIONS);
    assert_eq!(central.program.count_lines_with("result: fail"), 0);
}

#[test]
fn requests_that_had_begun_before_a_suspension_are_answered() {
    let setup = setup();
    let central = setup.start();
    let packet = packet_of("a", 10, 4);
    let (first, rest) = packet.split_at(packet.len() / 2);
    let mut agencies: Vec<_> = (0..CONNECTIONS).map(|_| central.connect()).collect();
    agencies.iter_mut().for_each(|agency| agency.send(first));
    let begun = || central.number("agencies_in_flight") as usize;
    eventually("every batch in flight", begun, |count| *count == CONNECTIONS);
    suspended(&central, || agencies.iter_mut().for_each(|agency| agency.send(rest)));
    for agency in &mut agencies {
        assert!(agency.read_to_end().len() > 2, "answered");
    }
    assert_eq!(setup.rows().len(), 10 * CONNECTIONS);
}

#[test]
fn a_batch_that_fills_more_than_the_buffers_of_the_socket_outlasts_a_suspension() {
    let setup = setup();
    let central = setup.start();
    let packet = large_packet("a document of some length ", 60_000, 10);
    let mut agency = central.connect();
    agency.send(&packet[..1]);
    eventually("in flight", || central.number("agencies_in_flight"), |count| *count == 1);
    scope(|scope| {
        suspended(&central, || _ = scope.spawn(|| agency.send(&packet[1..])));
    });
    assert!(agency.read_to_end().len() > 2, "answered");
    assert_eq!(setup.rows().len(), 60_000);
}

#[test]
fn a_kept_connection_outlasts_a_suspension_and_then_has_its_idle_time_again() {
    let setup = setup().with("SERVER_PROTOCOL", "framed").with("SERVER_IDLE_TIMEOUT", "2s");
    let central = setup.start();
    let mut agencies: Vec<_> = (0..10).map(|_| central.connect()).collect();
    eventually("all accepted", || central.connections(), |count| *count == 10);
    suspended(&central, || {});
    let packet = packet_in(&mut *codec("framed", 1), &[bet("a", true)]);
    for agency in &mut agencies {
        agency.send(&packet);
        agency.read_bytes(1);
    }
    assert_eq!(setup.rows().len(), 10);
}
