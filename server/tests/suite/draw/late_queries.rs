//! After the draw, and at its edge: the same answer for every question however late, also after a restart, no more bets, and what
//! becomes of whoever asks too early (invariant I10).

use crate::harness::{
    Central, FIVE, Participant, Setup, bets_with, codec, draw_dialects, draws, eventually,
    packet_in, refusals, vector, winners_reply,
};

fn setup(dialect: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", dialect)
}

/// Agency 1 to 5 store their bets and finish, each leaving before the draw; then all have their winners.
fn hold_draw(central: &Central<'_>, dialect: &str) {
    for (number, documents) in (1..).zip(FIVE) {
        let mut agency = Participant::connect(central.port, dialect, number);
        agency.store(&bets_with(documents));
        agency.finish();
        if number < 5 {
            central.agencies_wait(1);
            drop(agency);
            central.agencies_wait(0);
        } else {
            assert_eq!(agency.winners().1, winners_reply(dialect, documents), "{dialect}");
        }
    }
}

/// Every agency asks, one that had no part in the draw too, and each says first again that it has finished.
fn everybody_is_told_the_same_again(central: &Central<'_>, dialect: &str) {
    for (number, documents) in (1..).zip(FIVE.into_iter().chain([&[][..]])) {
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
fn a_late_or_repeated_question_gets_the_same_answer_also_after_a_stop_and_after_a_kill_of_everybody()
 {
    for dialect in draw_dialects() {
        for durability in ["process", "disk"] {
            let setup = setup(dialect).with("SERVER_DURABILITY", durability);
            let central = setup.start();
            hold_draw(&central, dialect);
            everybody_is_told_the_same_again(&central, dialect);
            assert_eq!(draws(&central.stop_and_read_log()), 1, "{dialect}");
            let central = setup.start();
            everybody_is_told_the_same_again(&central, dialect);
            central.kill_everything();
            let central = setup.start();
            everybody_is_told_the_same_again(&central, dialect);
            assert_eq!(central.status()["drawn"], true);
            let log = central.stop_and_read_log();
            assert_eq!(draws(&log), 0, "held once, not once a start: {log:#?}");
            let told =
                log.iter().filter(|line| line.contains("action: sorteo | result: in_progress"));
            assert_eq!(told.count(), 1, "the operator is told why no bets are taken: {log:#?}");
        }
    }
}

#[test]
fn bets_after_the_draw_are_refused_in_the_words_of_the_dialect_logged_and_not_stored() {
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        hold_draw(&central, dialect);
        let rows = setup.rows();
        let greeting = codec(dialect, 1).greeting();
        let batch = packet_in(&mut *codec(dialect, 1), &bets_with(FIVE[0]));
        let (refusal, goes_on) = match dialect {
            "line" => (vec![], false),
            "framed" => (vector(dialect, "fail_0"), true),
            "sentinel" => (vector(dialect, "err"), true),
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

        central.nobody_in_flight_within_a_second();
        assert_eq!(setup.rows(), rows, "{dialect}");
        everybody_is_told_the_same_again(&central, dialect);
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
fn a_question_before_the_draw_that_is_no_notification_waits_and_counts_for_nobody() {
    let setup = setup("framed").with("SERVER_AGENCIES", "1");
    let central = setup.start();
    let mut curious = Participant::connect(central.port, "framed", 1);
    curious.store(&bets_with(FIVE[0]));
    curious.ask();
    central.agencies_wait(1);
    assert_eq!(central.number("agencies_finished"), 0);
    let mut same = Participant::connect(central.port, "framed", 1);
    same.finish();
    assert_eq!(same.winners().1, vector("framed", "winners_L"));
    assert_eq!(curious.winners().1, vector("framed", "winners_L"));
    // It has not finished on this connection, so it may go on there.
    curious.ask();
    assert_eq!(curious.winners().1, vector("framed", "winners_L"));
}

#[test]
fn a_central_that_lets_nobody_wait_refuses_early_questions_and_answers_late_ones() {
    let setup = setup("framed").with("SERVER_AGENCIES", "2").with("SERVER_EARLY_QUERY", "refuse");
    let central = setup.start();
    let not_yet = vector("framed", "not_yet");
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.store(&bets_with(FIVE[0]));
    for _ in 0..2 {
        agency.ask();
        assert_eq!(agency.connection().read_bytes(not_yet.len()), not_yet);
    }
    agency.finish();
    assert_eq!(agency.connection().read_bytes(not_yet.len()), not_yet, "after FINISHED too");
    let mut last = Participant::connect(central.port, "framed", 2);
    last.try_notify().unwrap();
    eventually("the draw", || central.status()["drawn"].clone(), |drawn| *drawn == true);
    agency.ask();
    assert_eq!(agency.winners().1, vector("framed", "winners_L"), "on the same connection");
}

#[test]
fn where_the_question_is_the_notification_it_waits_whatever_is_said_of_early_questions() {
    for dialect in draw_dialects().into_iter().filter(|dialect| *dialect != "framed") {
        let setup =
            setup(dialect).with("SERVER_AGENCIES", "2").with("SERVER_EARLY_QUERY", "refuse");
        let central = setup.start();
        let mut agencies = [1, 2].map(|number| Participant::connect(central.port, dialect, number));
        agencies[0].finish();
        central.agencies_wait(1);
        agencies[1].finish();
        for mut agency in agencies {
            assert_eq!(agency.winners().1, winners_reply(dialect, &[]), "{dialect}");
        }
    }
}
