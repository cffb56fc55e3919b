//! Several centrals are one lottery.

use std::sync::Arc;
use std::time::Duration;

use lottery::protocol::Advice;

use crate::counted::counted;
use crate::harness::{
    BatchRecord, CentralProcess, KeyedAgency, Load, Participant, Random, Setup, bets_with,
    count_draws, eventually, packet_of, winners_reply,
};

/// Sends a request as the only one of its connection, and returns the reply.
fn reply(central: &CentralProcess<'_>, request: &[u8]) -> Vec<u8> {
    let mut agency = central.connect();
    agency.send(request);
    agency.end_sending();
    agency.read_to_end()
}

/// Returns the setups of two centrals of one lottery.
fn two() -> (Setup, Setup) {
    let first = Setup::new();
    let mut second = Setup::new().with("SERVER_CENTRAL_NAME", "b");
    let lottery = first.database.as_ref().unwrap().lottery.clone();
    second.set("SERVER_LOTTERY", &lottery);
    second.database.as_mut().unwrap().lottery = lottery;
    (first, second)
}

#[test]
fn a_batch_acknowledged_by_one_central_is_in_the_next_total_of_another() {
    let (a, b) = two();
    let (a, b) = (a.start(), b.start());
    for round in 1..=30 {
        let (stores, asks) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        stores.request(&packet_of(&round.to_string(), 3, 1));
        assert_eq!(asks.results().winners, round);
    }
    // The status of each shows all bets, at most a heartbeat late.
    for central in [&a, &b] {
        eventually("all bets", || central.number("bets"), |bets| *bets == 90);
    }
}

#[test]
fn a_batch_in_flight_at_one_central_makes_the_answer_of_another_partial() {
    let (a, b) = two();
    let (a, b) = (a.start(), b.start());
    let mut agency = a.connect();
    agency.send(&[0]);
    eventually("a partial result", || b.results().in_flight, |count| *count == 1);
    agency.reset();
    eventually("a total", || b.results().in_flight, |count| *count == 0);
}

#[test]
fn the_agencies_in_flight_of_a_killed_central_stop_counting() {
    let (a, b) = two();
    let (a, b) = (a.start(), b.start());
    let mut agency = a.connect();
    agency.send(&[0]);
    eventually("a partial result", || b.results().in_flight, |count| *count == 1);
    a.kill_all();
    let within = Duration::from_secs(15);
    let in_flight = || b.results().in_flight;
    crate::harness::eventually_within(within, "the end of the lease", in_flight, |count| {
        *count == 0
    });
}

#[test]
fn agencies_of_two_centrals_take_part_in_one_draw() {
    let (a, b) = two();
    let [a, b] = [a, b].map(|setup| setup.with("SERVER_PROTOCOL", "framed"));
    let (a, b) = (a.start(), b.start());
    let documents: [&[u32]; 5] = [&[11, 12], &[21], &[], &[41, 42, 43], &[51]];
    let mut agencies: Vec<_> = (1..=5)
        .zip(documents)
        .map(|(number, documents)| {
            let port = if number % 2 == 0 { a.port } else { b.port };
            let mut agency = Participant::connect(port, "framed", number);
            agency.store(&bets_with(documents));
            agency.finish();
            agency
        })
        .collect();
    for (agency, documents) in agencies.iter_mut().zip(documents) {
        assert_eq!(agency.winners().1, winners_reply("framed", documents));
    }
    // The answer does not depend on the central.
    let mut again = Participant::connect(a.port, "framed", 1);
    again.finish();
    assert_eq!(again.winners().1, winners_reply("framed", documents[0]));
    for central in [a, b] {
        assert_eq!(count_draws(&central.stop_and_read_log()), 1);
    }
}

#[test]
fn a_session_goes_on_at_another_central_and_a_repetition_is_answered_there() {
    let (a, b) = two();
    let [a, b] = [a, b].map(|setup| setup.with("SERVER_PROTOCOL", "keyed"));
    let (first, second) = (a.start(), b.start());
    let mut agency = KeyedAgency::new(1);
    let [one, two, four] = [(1, "one"), (2, "two"), (4, "four")].map(|(n, m)| agency.batch(n, m));
    agency.assert_stored(&reply(&first, &one), "one");
    agency.assert_stored(&reply(&second, &one), "one");
    agency.assert_stored(&reply(&second, &two), "two");
    agency.assert_stored(&reply(&first, &two), "two");
    assert_eq!(agency.advice(&reply(&first, &four)), Advice::ResendFrom(3));
    assert_eq!(a.rows().len(), 6);
}

#[test]
fn the_death_of_one_of_two_centrals_under_load_loses_and_doubles_nothing() {
    let (mut a, b) = two();
    let (port, lottery) = (a.keep_port(), b);
    let (first, second) = (a.start(), lottery.start());
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let loads = [port, second.port].map(|port| Load::start(3, port, &record, &mut random));
    let acknowledged = || record.acknowledged();
    eventually("acknowledgements", acknowledged, |count| *count > 50);
    first.kill_all();
    let before = record.acknowledged();
    eventually("acknowledgements", acknowledged, |count| *count > before + 20);
    loads.into_iter().for_each(Load::stop);
    // Until the lease of the dead central ends, its agencies may be in flight.
    let within = Duration::from_secs(15);
    let in_flight = || second.results().in_flight;
    crate::harness::eventually_within(within, "the end of the lease", in_flight, |count| {
        *count == 0
    });
    let known = || second.number("bets") as i64;
    let counted = counted(&lottery);
    eventually("all bets", known, |bets| *bets == counted.0);
    record.check(&lottery, &second);
    let first = a.start();
    record.check(&a, &first);
}
