//! A batch that has begun is in flight only while it arrives at a minimum rate.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{
    AgencyConnection, Setup, bet, codec, draw_dialects, eventually, eventually_within,
    large_packet, packet_in,
};
use lottery::Results;

/// The default of `SERVER_STALL_TIME`, after which a batch that stalls is released.
const STALL_TIME: &str = "500ms";
/// I5 of the design: a batch that does not keep the rate is not in flight after this time. The
/// central checks four times per second, and the machine may be busy.
const RELEASED: Duration = Duration::from_secs(2);

fn setup(protocol: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", protocol).with("SERVER_STALL_TIME", STALL_TIME)
}

#[test]
fn a_connection_that_has_sent_only_the_type_byte_does_not_keep_queries_partial() {
    let setup = setup("typed");
    let central = setup.start();
    let mut agency = central.connect();
    agency.send(&[0]);
    eventually("in flight", || central.results().in_flight, |count| *count == 1);
    let released = || central.results();
    eventually_within(RELEASED, "a total", released, |results| results.in_flight == 0);
    assert!(agency.is_quiet(), "the connection stays open until its timeout");
    // Sending one byte more does not take the mark again.
    agency.send(&[0]);
    sleep(Duration::from_millis(50));
    assert_eq!(central.results(), Results { winners: 0, in_flight: 0 });
}

#[test]
fn a_batch_that_stalls_in_any_dialect_is_released_and_stored_once_it_is_complete() {
    for dialect in draw_dialects() {
        let setup = setup(&format!("{dialect}:0,typed:0"));
        let central = setup.start();
        let results = || AgencyConnection::open(central.port_of("typed")).results();
        let mut codec = codec(dialect, 1);
        let greeting = codec.greeting();
        let bets = ["1", "2", "3"].map(|document| bet(document, true));
        let packet = packet_in(&mut *codec, &bets);
        // Every dialect recognizes a batch by its first half.
        let (half, rest) = packet.split_at(packet.len() / 2);
        let mut agency = central.connect();
        agency.send(&[&greeting, half].concat());
        eventually("in flight", results, |now| now.in_flight == 1);
        eventually_within(RELEASED, dialect, results, |now| now.in_flight == 0);
        agency.send(rest);
        // The reply comes after the count.
        agency.read_bytes(1);
        assert_eq!(results(), Results { winners: 3, in_flight: 0 }, "{dialect}");
    }
}

#[test]
fn a_batch_that_keeps_the_rate_stays_in_flight_and_one_that_lapsed_is_in_flight_again() {
    const PIECE: usize = 1000;
    const PAUSE: Duration = Duration::from_millis(100);
    let setup = setup("typed");
    let central = setup.start();
    let packet = large_packet("slow", 1000, 1);
    let mut pieces = packet.chunks(PIECE);
    let mut agency = central.connect();
    agency.send(pieces.next().unwrap());
    eventually("in flight", || central.results().in_flight, |count| *count == 1);
    // Ten times the minimum rate, so that a busy machine keeps it too.
    for piece in pieces.by_ref().take(15) {
        agency.send(piece);
        assert_eq!(central.results().in_flight, 1);
        sleep(PAUSE);
    }
    let start = Instant::now();
    eventually("lapsed", || central.results().in_flight, |count| *count == 0);
    assert!(start.elapsed() < RELEASED);
    agency.send(pieces.next().unwrap());
    eventually("in flight again", || central.results().in_flight, |count| *count == 1);
    pieces.for_each(|piece| agency.send(piece));
    assert_eq!(agency.read_to_end()[..2], [0, 1]);
    assert_eq!(central.results(), Results { winners: 1, in_flight: 0 });
    assert_eq!(setup.rows().len(), 1000);
}
