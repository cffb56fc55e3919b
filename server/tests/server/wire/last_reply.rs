//! The last reply of a connection and the end of its stream.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::harness::{AgencyConnection, Setup, packet_of};
use lottery::protocol::typed::decode_winners;

const TRIES: usize = 200;

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
    let ends = (0..TRIES).map(|number| {
        let mut agency = central.connect();
        agency.send(&packet_of(&number.to_string(), 10, 5));
        read_behind_first_bytes(&agency)
    });
    // The kernel adds all of a segment to the stream at once.
    assert_eq!(ends.filter(|end| *end != Some(0)).count(), 0, "of {TRIES}");
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
