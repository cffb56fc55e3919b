//! A query gets a partial result while any batch is in flight, and a total once the batch has ended
//! in any way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

use crate::harness::{
    AgencyConnection, CentralProcess, Setup, StoppedProcess, eventually, eventually_within,
    packet_of,
};
use lottery::Results;
use lottery::protocol::typed::decode_winners;

fn setup() -> Setup {
    Setup::new()
}

/// Connects an agency that has sent the byte 0 and nothing else.
fn begun(central: &CentralProcess<'_>) -> AgencyConnection {
    let mut agency = central.connect();
    agency.send(&[0]);
    agency
}

fn wait_for_in_flight(central: &CentralProcess<'_>, count: u32) {
    eventually("agencies in flight", || central.results().in_flight, |seen| *seen == count);
}

#[test]
fn a_client_alone_gets_a_total_that_includes_its_batch_after_every_query() {
    for (durability, rounds) in [("process", 300), ("disk", 30)] {
        let setup = setup().with("SERVER_DURABILITY", durability);
        let central = setup.start();
        let mut winners = 0;
        for round in 0..rounds {
            let won = round % 4;
            let reply = central.request(&packet_of(&round.to_string(), 5, won));
            assert_eq!(decode_winners(&reply).unwrap().map(|bets| bets.len()), Some(won));
            winners += won as u64;
            assert_eq!(
                central.results(),
                Results { winners, in_flight: 0 },
                "round {round}, {durability}"
            );
        }
    }
}

#[test]
fn a_batch_acknowledged_to_any_client_is_counted_for_all_clients_and_never_taken_back() {
    const CLIENTS: u64 = 4;
    const ROUNDS: u64 = 75;
    const BETS: usize = 20;
    let setup = setup().with("SERVER_WORKERS", "4");
    let central = setup.start();
    let acknowledged = AtomicU64::new(0);
    let client = |number: u64| {
        let mut last_seen = 0;
        for round in 0..ROUNDS {
            let won = ((number + round) % 5) as usize;
            let reply = central.request(&packet_of(&format!("{number}.{round}"), BETS, won));
            assert_eq!(decode_winners(&reply).unwrap().map(|bets| bets.len()), Some(won));
            acknowledged.fetch_add(won as u64, Ordering::SeqCst);
            let at_least = acknowledged.load(Ordering::SeqCst).max(last_seen);
            let Results { winners, in_flight } = central.results();
            assert!(
                winners >= at_least,
                "client {number}, round {round}: {winners} of at least {at_least}"
            );
            // Batches of the other clients may be in flight; that of this client is not.
            assert!(
                u64::from(in_flight) < CLIENTS,
                "client {number}, round {round}: {in_flight} in flight"
            );
            last_seen = winners;
        }
    };
    scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || client(number));
        }
    });
    let winners = acknowledged.load(Ordering::SeqCst);
    assert_eq!(central.results(), Results { winners, in_flight: 0 });
    assert_eq!(setup.rows().len() as u64, CLIENTS * ROUNDS * BETS as u64);
}

#[test]
fn an_agency_that_has_sent_one_byte_is_in_flight_until_its_connection_ends_in_any_way() {
    type End = fn(AgencyConnection);
    let ways: [(&str, End); 3] = [
        ("closes", drop),
        ("ends sending", |agency| {
            let mut agency = agency;
            agency.end_sending();
            assert!(agency.read_to_end().is_empty());
        }),
        ("resets", AgencyConnection::reset),
    ];
    let setup = setup();
    let central = setup.start();
    central.request(&packet_of("a", 1, 1));
    for (way, end) in ways {
        let agency = begun(&central);
        wait_for_in_flight(&central, 1);
        for _ in 0..20 {
            assert_eq!(central.request(&[1]), [0, 0, 1, 0, 0, 0, 1], "an agency that later {way}");
        }
        end(agency);
        let query = || central.request(&[1]);
        eventually_within(Duration::from_secs(1), way, query, |reply| *reply == [1, 0, 0, 0, 1]);
    }
}

#[test]
fn an_agency_that_stalls_is_in_flight_until_its_deadline() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let setup = setup().with("SERVER_REQUEST_TIMEOUT", "1s");
    let central = setup.start();
    let start = Instant::now();
    let mut agency = begun(&central);
    wait_for_in_flight(&central, 1);
    let within = TIMEOUT + Duration::from_secs(1);
    eventually_within(
        within,
        "no batch in flight",
        || central.results().in_flight,
        |count| *count == 0,
    );
    assert!(start.elapsed() >= TIMEOUT, "closed after {:?}", start.elapsed());
    assert!(agency.read_to_end().is_empty());
}

#[test]
fn more_agencies_in_flight_than_a_byte_can_count_are_counted_exactly() {
    let setup = setup().with("SERVER_WORKERS", "1");
    let central = setup.start();
    let mut agencies: Vec<_> = (0..300).map(|_| begun(&central)).collect();
    wait_for_in_flight(&central, 300);
    assert_eq!(
        central.request(&[1]),
        [0, 300_u16.to_be_bytes()[0], 300_u16.to_be_bytes()[1], 0, 0, 0, 0]
    );
    assert_eq!(central.number("agencies_in_flight"), 300);
    let segment = central.segment();
    let processing = segment.raw_array::<u8>("processing").unwrap();
    let counts = segment.raw_array::<u16>("in_flight").unwrap();
    assert_eq!((processing.load(0), counts.load(0)), (1, 300));
    agencies.drain(..50).for_each(drop);
    wait_for_in_flight(&central, 250);
    agencies.drain(..100).for_each(AgencyConnection::reset);
    wait_for_in_flight(&central, 150);
    assert_eq!(processing.load(0), 1, "some batches are still in flight");
    drop(agencies);
    central.none_in_flight_within_a_second();
    eventually("the byte is cleared after the count", || processing.load(0), |byte| *byte == 0);
}

#[test]
fn requests_of_clients_that_leave_before_they_are_accepted_are_still_served() {
    const EACH: usize = 20;
    let setup = setup();
    let central = setup.start();
    let frozen: Vec<_> = central.worker_pids().into_iter().map(StoppedProcess::new).collect();
    let (mut waiting, mut resetting, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..EACH {
        let send = |kind: &str| {
            let mut agency = central.connect();
            agency.send(&packet_of(&format!("{kind}{number}"), 2, 1));
            agency
        };
        drop(send("closed"));
        let agency = send("half-closed");
        agency.end_sending();
        waiting.push(agency);
        resetting.push(send("reset"));
        silent.push(central.connect());
    }
    // Closed only now, because the next connection could get a port that is free again.
    let silent_ports: Vec<_> = silent.iter().map(AgencyConnection::port).collect();
    // A batch whose connection was reset is stored completely or not at all.
    resetting.into_iter().chain(silent).for_each(AgencyConnection::reset);
    drop(frozen);
    for mut agency in waiting {
        assert_eq!(agency.read_to_end()[..2], [0, 1]);
    }
    let stored =
        |kind: &str| setup.rows().iter().filter(|row| row.contains(&format!(",{kind}"))).count();
    eventually("the bets of closed connections", || stored("closed"), |rows| *rows == 2 * EACH);
    assert_eq!(stored("half-closed"), 2 * EACH);
    assert_eq!(stored("reset") % 2, 0);
    central.none_in_flight_within_a_second();
    assert_eq!(central.results().winners as usize, setup.rows().len() / 2);
    // A client that sends nothing has not failed.
    let log = central.stop_and_read_log();
    let failed = log.iter().filter(|line| line.contains("receive_message | result: fail"));
    for line in failed {
        let silent = silent_ports.iter().any(|port| line.contains(&format!("port: {port} ")));
        assert!(!silent, "{line}");
    }
}
