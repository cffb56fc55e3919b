//! Queries after the draw get the same answer, however late and even after a restart. Bets after
//! the draw are refused. Queries before the draw wait or are refused.

use crate::harness::{
    CentralProcess, Participant, Setup, WINNERS_BY_AGENCY, bets_with, codec, count_draws,
    draw_dialects, packet_in, refusals, vector, winners_reply,
};

fn setup(dialect: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", dialect)
}

/// Holds a draw in which agencies 1 to 5 store their bets and finish. The first four disconnect
/// before the draw; the last receives its winners.
fn hold_draw(central: &CentralProcess<'_>, dialect: &str) {
    for (number, documents) in (1..).zip(WINNERS_BY_AGENCY) {
        let mut agency = Participant::connect(central.port, dialect, number);
        agency.store(&bets_with(documents));
        agency.finish();
        if number < 5 {
            central.until_waiting(1);
            drop(agency);
            central.until_waiting(0);
        } else {
            assert_eq!(agency.winners().1, winners_reply(dialect, documents), "{dialect}");
        }
    }
}

/// Asserts that every agency receives its winners again after another notification, and that an
/// agency without a part in the draw receives none.
fn assert_same_answers(central: &CentralProcess<'_>, dialect: &str) {
    for (number, documents) in (1..).zip(WINNERS_BY_AGENCY.into_iter().chain([&[][..]])) {
        for _ in 0..2 {
            let mut agency = Participant::connect(central.port, dialect, number);
            agency.finish();
            assert_eq!(
                agency.winners().1,
                winners_reply(dialect, documents),
                "{dialect}, agency {number}"
            );
        }
    }
}

#[test]
fn late_and_repeated_queries_get_the_same_answer_even_after_a_stop_or_a_kill_of_all_processes() {
    for dialect in draw_dialects() {
        for durability in ["process", "disk"] {
            let setup = setup(dialect).with("SERVER_DURABILITY", durability);
            let central = setup.start();
            hold_draw(&central, dialect);
            assert_same_answers(&central, dialect);
            assert_eq!(count_draws(&central.stop_and_read_log()), 1, "{dialect}");
            let central = setup.start();
            assert_same_answers(&central, dialect);
            central.kill_all();
            let central = setup.start();
            assert_same_answers(&central, dialect);
            assert_eq!(central.status()["drawn"], true);
            let log = central.stop_and_read_log();
            assert_eq!(count_draws(&log), 0, "held once, not once per start: {log:#?}");
            let closed =
                log.iter().filter(|line| line.contains("action: sorteo | result: in_progress"));
            assert_eq!(closed.count(), 1, "a line explains why bets are refused: {log:#?}");
        }
    }
}

#[test]
fn bets_after_the_draw_are_refused_as_the_dialect_says_and_logged_and_not_stored() {
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        hold_draw(&central, dialect);
        let rows = setup.rows();
        let greeting = codec(dialect, 1).greeting();
        let batch = packet_in(&mut *codec(dialect, 1), &bets_with(WINNERS_BY_AGENCY[0]));
        let (refusal, goes_on) = match dialect {
            "line" => (vec![], false),
            "framed" => (vector(dialect, "fail_0"), true),
            "sentinel" => (vector(dialect, "err"), true),
            "keyed" => (vector(dialect, "error_closed"), true),
            _ => (vector(dialect, "error"), false),
        };
        let mut agency = central.connect();
        let port = agency.port();
        agency.send(&greeting);
        for _ in 0..if goes_on { 2 } else { 1 } {
            agency.send(&batch);
            assert_eq!(agency.read_bytes(refusal.len()), refusal, "{dialect}");
        }
        agency.end_sending();
        assert!(agency.read_to_end().is_empty(), "{dialect}");
        drop(agency);

        central.none_in_flight_within_a_second();
        assert_eq!(setup.rows(), rows, "{dialect}");
        assert_same_answers(&central, dialect);
        let log = central.stop_and_read_log();
        let refused = if goes_on { 2 } else { 1 };
        let failed =
            |line: &&String| line.ends_with("apuesta_recibida | result: fail | cantidad: 6");
        assert_eq!(log.iter().filter(failed).count(), refused, "{dialect}: {log:#?}");
        let lines = refusals(&log, port);
        assert_eq!(lines.len(), refused, "{dialect}: {lines:?}");
        assert!(lines.iter().all(|line| line.contains("bets are closed")), "{dialect}: {lines:?}");
        let central = setup.start();
        let mut late = Participant::connect(central.port, dialect, 1);
        late.connection().send(&batch);
        assert_eq!(
            late.connection().read_bytes(refusal.len()),
            refusal,
            "{dialect}, after a restart"
        );
        assert_eq!(setup.rows(), rows, "{dialect}, after a restart");
    }
}

#[test]
fn a_query_without_notification_waits_for_the_draw_and_finishes_no_agency() {
    let setup = setup("framed").with("SERVER_AGENCIES", "1");
    let central = setup.start();
    let mut curious = Participant::connect(central.port, "framed", 1);
    curious.store(&bets_with(WINNERS_BY_AGENCY[0]));
    curious.ask();
    central.until_waiting(1);
    assert_eq!(central.number("agencies_finished"), 0);
    let mut same = Participant::connect(central.port, "framed", 1);
    same.finish();
    assert_eq!(same.winners().1, vector("framed", "winners_L"));
    assert_eq!(curious.winners().1, vector("framed", "winners_L"));
    // The agency has not finished on this connection, so it may send more requests here.
    curious.ask();
    assert_eq!(curious.winners().1, vector("framed", "winners_L"));
}

#[test]
fn with_early_queries_refused_a_query_is_answered_only_after_the_draw() {
    for (dialect, not_yet) in [("framed", "not_yet"), ("keyed", "error_not_yet")] {
        let setup =
            setup(dialect).with("SERVER_AGENCIES", "2").with("SERVER_EARLY_QUERY", "refuse");
        let central = setup.start();
        let not_yet = vector(dialect, not_yet);
        let mut agency = Participant::connect(central.port, dialect, 1);
        agency.store(&bets_with(WINNERS_BY_AGENCY[0]));
        for _ in 0..2 {
            agency.ask();
            assert_eq!(agency.connection().read_bytes(not_yet.len()), not_yet, "{dialect}");
        }
        agency.finish();
        let answer = agency.connection().read_bytes(not_yet.len());
        assert_eq!(answer, not_yet, "{dialect}: after the notification too");
        let mut last = Participant::connect(central.port, dialect, 2);
        last.try_notify().unwrap();
        central.until_drawn();
        agency.ask();
        let winners = agency.winners().1;
        assert_eq!(winners, vector(dialect, "winners_L"), "{dialect}: on the same connection");
    }
}

#[test]
fn where_the_query_is_the_notification_it_waits_even_if_early_queries_are_refused() {
    let asks_apart = |dialect: &&str| codec(dialect, 1).notification().is_some();
    for dialect in draw_dialects().into_iter().filter(|dialect| !asks_apart(dialect)) {
        let setup =
            setup(dialect).with("SERVER_AGENCIES", "2").with("SERVER_EARLY_QUERY", "refuse");
        let central = setup.start();
        let mut agencies = [1, 2].map(|number| Participant::connect(central.port, dialect, number));
        agencies[0].finish();
        central.until_waiting(1);
        agencies[1].finish();
        for mut agency in agencies {
            assert_eq!(agency.winners().1, winners_reply(dialect, &[]), "{dialect}");
        }
    }
}
