//! The last reply of a connection and the end of its stream.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{AgencyConnection, Setup, packet_of};
use lottery::protocol::typed::decode_winners;

const CLIENTS: usize = 4;
const TRIES: usize = 250;

/// Reads without blocking until the first bytes arrive, then once more. Returns the result of the
/// second read: `Some(0)` for the end of the stream, `None` if nothing more has arrived.
fn read_behind_first_bytes(agency: &AgencyConnection) -> Option<usize> {
    let (mut stream, mut buffer) = (agency.stream(), vec![0; 1 << 16]);
    stream.set_nonblocking(true).unwrap();
    let start = Instant::now();
    // Without a pause, because the second read must follow at once.
    while stream.read(&mut buffer).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "no reply");
    }
    stream.read(&mut buffer).ok()
}

#[test]
fn the_end_of_the_stream_arrives_together_with_the_last_reply() {
    let setup = Setup::new();
    let central = setup.start();
    let (central, packet) = (&central, packet_of("a", 10, 5));
    let count_late_ends = || {
        let ends = (0..TRIES).map(|_| {
            let mut agency = central.connect();
            agency.send(&packet);
            read_behind_first_bytes(&agency)
        });
        ends.filter(|end| *end != Some(0)).count()
    };
    // The kernel adds all of a segment to the stream at once. Otherwise few ends would be late, but
    // more of them on a busy machine.
    let late: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(count_late_ends)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(late, 0, "of {}", CLIENTS * TRIES);
}

#[test]
fn a_client_that_sends_more_after_its_last_request_still_gets_the_reply() {
    let setup = Setup::new();
    let central = setup.start();
    for number in 0..TRIES {
        let mut agency = central.connect();
        agency.send(&packet_of(&number.to_string(), 10, 5));
        // These bytes arrive while the central stores the batch, or after it has closed.
        (0..20).for_each(|_| _ = agency.try_send(&[0; 100]));
        let reply = agency.read_until_gone();
        assert_eq!(decode_winners(&reply).unwrap().map(|bets| bets.len()), Some(5), "{number}");
    }
}
