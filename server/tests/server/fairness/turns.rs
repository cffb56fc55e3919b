//! A large request waits for its turn. The wait is not part of the client's time, and is no way to
//! keep the in-flight mark of a batch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::harness::{AgencyConnection, Setup, eventually, large_packet};

#[test]
fn a_large_batch_of_which_a_byte_arrives_now_and_then_is_not_in_flight() {
    let setup = Setup::new().with("SERVER_STALL_TIME", "500ms");
    let central = setup.start();
    let packet = large_packet("trickle", 2000, 0);
    let (start, rest) = packet.split_at(20_000);
    let mut agency = central.connect();
    agency.send(start);
    eventually("in flight", || central.results().in_flight, |count| *count == 1);
    let begin = Instant::now();
    // More often than the central judges the rate.
    for byte in rest.chunks(1) {
        agency.send(byte);
        if central.results().in_flight == 0 {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "in flight with 20 bytes per second");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn large_batches_that_wait_for_their_turns_longer_than_the_request_timeout_are_stored() {
    const CLIENTS: usize = 8;
    const BETS: usize = 15_000;
    let setup = Setup::new().with("SERVER_WORKERS", "1").with("SERVER_REQUEST_TIMEOUT", "2s");
    let central = setup.start();
    let port = central.port_of("typed");
    let done = AtomicBool::new(false);
    scope(|scope| {
        // Ordinary requests without a pause, so that large ones get a small share of the time.
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    AgencyConnection::open(port).results();
                }
            });
        }
        let batches = (0..CLIENTS).map(|client| large_packet(&format!("turn{client}"), BETS, 0));
        let clients: Vec<_> = batches
            .map(|batch| {
                scope.spawn(move || {
                    let mut agency = AgencyConnection::open(port);
                    agency.try_send(&batch).then(|| agency.read_until_gone())
                })
            })
            .collect();
        let replies: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        done.store(true, Ordering::SeqCst);
        assert_eq!(replies, vec![Some(vec![0, 0]); CLIENTS]);
    });
    assert_eq!(setup.rows().len(), CLIENTS * BETS);
}
