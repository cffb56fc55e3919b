//! The draw is held once, when the last of the expected agencies has finished, and each agency
//! receives its own winners and no others.

use crate::harness::{
    Participant, Setup, WINNERS_BY_AGENCY, bets_with, count_draws, draw_dialects, eventually,
    receipt, vector, winners_reply,
};

pub(super) const AGENCIES: u16 = 5;

pub(super) fn setup(dialect: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", dialect)
}

/// Returns the reply that agency 1 to 5 must receive.
fn reply_to(dialect: &str, agency: u16) -> Vec<u8> {
    winners_reply(dialect, WINNERS_BY_AGENCY[usize::from(agency) - 1])
}

/// Connects an agency that stores its bets and sends nothing more.
fn with_bets(port: u16, dialect: &str, agency: u16) -> Participant {
    let mut participant = Participant::connect(port, dialect, agency);
    let winners = WINNERS_BY_AGENCY[usize::from(agency) - 1];
    let stored = participant.store(&bets_with(winners));
    assert_eq!(stored, receipt(dialect, winners.len()), "{dialect}");
    participant
}

#[test]
fn every_agency_receives_its_winners_once_the_last_has_finished_and_nothing_before() {
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        let mut agencies: Vec<_> =
            (1..=AGENCIES).map(|n| with_bets(central.port, dialect, n)).collect();
        for (number, agency) in (1..AGENCIES).zip(&mut agencies) {
            agency.finish();
            central.until_waiting(number.into());
        }
        let status = central.status();
        let draw =
            ["agencies_finished", "agencies_expected", "waiting", "drawn"].map(|key| &status[key]);
        assert_eq!(draw.map(ToString::to_string), ["4", "5", "4", "false"], "{dialect}");
        for agency in &mut agencies[..4] {
            assert!(agency.connection().is_quiet(), "{dialect}");
        }
        assert_eq!(count_draws(&central.program.lines()), 0, "{dialect}");

        agencies[4].finish();

        for (number, agency) in (1..).zip(&mut agencies) {
            let (winners, bytes) = agency.winners();
            assert_eq!(bytes, reply_to(dialect, number), "{dialect}, agency {number}");
            assert_eq!(winners, WINNERS_BY_AGENCY[usize::from(number) - 1].len() as u64);
        }
        central.until_waiting(0);
        assert_eq!(central.status()["drawn"], true);
        drop(agencies);
        let log = central.stop_and_read_log();
        let places = |part: &str| {
            let lines = log.iter().enumerate().filter(|(_, line)| line.ends_with(part));
            lines.map(|(place, _)| place).collect::<Vec<_>>()
        };
        let [drawn] = places("action: sorteo | result: success")[..] else {
            panic!("one draw: {log:#?}")
        };
        for number in 1..=AGENCIES {
            let notification = format!("agency_finished | result: success | agency: {number}");
            let [notified] =
                places(&format!("{notification} | finished: {number} | expected: 5"))[..]
            else {
                panic!("{notification} once: {log:#?}");
            };
            assert!(notified < drawn, "{log:#?}");
        }
    }
}

#[test]
fn requests_of_the_original_agencies_get_the_replies_of_the_original_centrals() {
    let echoed = "batch_end_1_and_its_echo";
    // The requests with their replies, and the last message, which has none.
    let agencies = [
        ("counted", vec![("batch_L", "ok"), ("end_agency_1", "winners_L")], "final_ack"),
        ("counted-u8", vec![("batch_L", "ok"), ("end_agency_1", "winners_L")], "final_ack"),
        ("line", vec![("bet_L", ""), (echoed, echoed), ("ready_1", "winners_1")], ""),
        (
            "framed",
            vec![("batch_L", "success_1"), ("finished_1", "ack"), ("query_1", "winners_L")],
            "",
        ),
        ("sentinel", vec![("id_1", ""), ("batch_L", "ack"), ("notify", "winners_L")], ""),
    ];
    let bytes = |dialect: &str, name: &str| {
        if name.is_empty() { Vec::new() } else { vector(dialect, name) }
    };
    for (dialect, steps, last) in agencies {
        let setup = setup(dialect).with("SERVER_AGENCIES", "1");
        let central = setup.start();
        let mut agency = central.connect();
        for (request, reply) in steps {
            agency.send(&bytes(dialect, request));
            let reply = bytes(dialect, reply);
            assert_eq!(agency.read_bytes(reply.len()), reply, "{dialect}: reply to {request}");
        }
        agency.send(&bytes(dialect, last));
        assert!(agency.read_to_end().is_empty(), "{dialect}: nothing more before the end");
        assert_eq!(setup.rows(), ["1,Santiago Lionel,Lorca,30904465,1999-03-17,7574"]);
    }
}

#[test]
fn an_agency_that_notifies_repeatedly_counts_once_and_gets_an_answer_each_time() {
    for dialect in draw_dialects() {
        let setup = setup(dialect).with("SERVER_AGENCIES", "2");
        let central = setup.start();
        let mut same: Vec<_> =
            (0..3).map(|_| Participant::connect(central.port, dialect, 1)).collect();
        same[0].store(&bets_with(WINNERS_BY_AGENCY[0]));
        for (waiting, agency) in (1..).zip(&mut same) {
            agency.finish();
            central.until_waiting(waiting);
        }
        assert_eq!(central.number("agencies_finished"), 1, "{dialect}");
        assert!(same.iter_mut().all(|agency| agency.connection().is_quiet()), "{dialect}");
        let mut last = with_bets(central.port, dialect, 2);
        last.finish();
        assert_eq!(last.winners().1, reply_to(dialect, 2), "{dialect}");
        for agency in &mut same {
            assert_eq!(agency.winners().1, reply_to(dialect, 1), "{dialect}");
        }
        drop((same, last));
        assert_eq!(count_draws(&central.stop_and_read_log()), 1, "{dialect}");
    }
}

#[test]
fn an_agency_that_notifies_again_while_it_waits_gets_an_answer_and_not_a_reset() {
    for dialect in ["line", "sentinel", "framed"] {
        let setup = setup(dialect).with("SERVER_AGENCIES", "2");
        let central = setup.start();
        let mut impatient = with_bets(central.port, dialect, 1);
        impatient.finish();
        central.until_waiting(1);
        impatient.ask();
        let mut last = with_bets(central.port, dialect, 2);
        last.finish();
        assert_eq!(last.winners().1, reply_to(dialect, 2), "{dialect}");
        // Panics if the connection is reset.
        assert_eq!(impatient.into_connection().read_to_end(), reply_to(dialect, 1), "{dialect}");
    }
}

#[test]
fn an_agency_that_disconnects_while_it_waits_harms_no_other_and_gets_its_answer_when_it_returns() {
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        let mut agencies: Vec<_> =
            (1..=AGENCIES).map(|n| with_bets(central.port, dialect, n)).collect();
        let mut staying = agencies.split_off(2);
        agencies.iter_mut().for_each(Participant::finish);
        central.until_waiting(2);
        agencies.remove(1).into_connection().reset();
        drop(agencies);
        central.until_waiting(0);

        staying.iter_mut().for_each(Participant::finish);

        for (number, agency) in (3..).zip(&mut staying) {
            assert_eq!(agency.winners().1, reply_to(dialect, number), "{dialect}, agency {number}");
        }
        for number in 1..=2 {
            let mut returned = Participant::connect(central.port, dialect, number);
            returned.finish();
            assert_eq!(
                returned.winners().1,
                reply_to(dialect, number),
                "{dialect}, agency {number}"
            );
        }
        drop(staying);
        let connections = central.segment().raw_array::<u32>("worker_connections").unwrap();
        eventually("no connection left", || connections.iter().sum::<u32>(), |count| *count == 0);
        assert_eq!(central.number("worker_deaths"), 0);
        assert_eq!(count_draws(&central.stop_and_read_log()), 1, "{dialect}");
    }
}
