//! Several centrals are one lottery.

use std::sync::Arc;
use std::time::Duration;

use lottery::protocol::Advice;

use crate::counted::counted;
use crate::harness::{
    BatchRecord, CentralProcess, KeyedAgency, Load, Participant, Program, Random, Setup, bets_with,
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
fn no_more_sessions_begin_than_with_files_and_those_that_exist_go_on() {
    let setup = Setup::new().with("SERVER_PROTOCOL", "keyed");
    let central = setup.start();
    let send = |agency: &mut KeyedAgency, number, mark| {
        let batch = agency.batch(number, mark);
        reply(&central, &batch)
    };
    let [mut early, mut last, mut late] = [1, 2, 3].map(KeyedAgency::new);
    let stored = send(&mut early, 1, "one");
    early.assert_stored(&stored, "one");
    // With the one that exists, one less than there may be.
    setup.database.as_ref().unwrap().query(
        "INSERT INTO lottery.sessions SELECT $1, decode(lpad(to_hex(n), 32, '0'), 'hex'), 9, 1, 1 \
         FROM generate_series(1, 16382) n",
    );
    let stored = send(&mut last, 1, "last");
    last.assert_stored(&stored, "last");
    let refused = send(&mut late, 1, "late");
    assert_eq!(late.advice(&refused), Advice::Stop);
    assert!(String::from_utf8_lossy(&refused).contains("no room for another session"));
    for (number, mark) in [(1, "one"), (2, "two")] {
        let stored = send(&mut early, number, mark);
        early.assert_stored(&stored, mark);
    }
    assert_eq!(setup.rows().len(), 9, "nothing of the refused batch is stored");
}

#[test]
fn a_central_with_other_settings_than_a_live_one_is_refused_with_both_values() {
    let (a, mut b) = two();
    let first = a.start();
    b.set("SERVER_AGENCIES", "6");
    b.set("SERVER_DRAW", "confirm");
    let mut refused = Program::start(&mut b.command(&["run"]));
    assert_eq!(refused.exit_code(), 1);
    refused.line_with("the central a of the lottery");
    refused
        .line_with("(SERVER_AGENCIES is 6 here, 5 there; SERVER_DRAW is confirm here, automatic");
    assert!(!first.request(&packet_of("a", 1, 0)).is_empty(), "the first goes on");
    assert_eq!(first.stop().0, 0);
    // No central is alive whose agencies could wait for something else.
    assert_eq!(b.start().stop().0, 0);
}

#[test]
fn a_roster_must_be_that_of_the_live_centrals() {
    let (a, b) = two();
    let [a, b] = [(a, [1, 2]), (b, [1, 3])].map(|(setup, [one, two])| {
        let roster =
            format!("number,name,networks\n{one},x,::/0 0.0.0.0/0\n{two},y,::/0 0.0.0.0/0\n");
        std::fs::write(setup.directory().join("roster"), roster).unwrap();
        setup.with("SERVER_ROSTER", "roster")
    });
    let _first = a.start();
    let mut refused = Program::start(&mut b.command(&["run"]));
    assert_eq!(refused.exit_code(), 1);
    refused.line_with("(SERVER_ROSTER is a list of 1, 3 here, a list of 1, 2 there): give all");
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
