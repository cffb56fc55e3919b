//! What can go wrong around a draw, by dialect: wrong final bytes, more winners than a reply can tell, agencies without bets, two
//! agencies on one connection.

#![allow(clippy::unwrap_used)]

use std::fs;

use harness::{
    Agency, Central, FIVE, Participant, Setup, bets_with, draw_dialects, refusals, vector,
    winners_reply,
};
use lottery::protocol::Receipt;

/// A central whose draw needs agency 1 only.
fn setup(protocol: &str) -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_server"))
        .with("SERVER_PROTOCOL", protocol)
        .with("SERVER_AGENCIES", "1")
}

#[test]
fn either_final_byte_is_taken_in_either_edition_none_is_no_harm_and_any_other_is_refused_with_01() {
    for dialect in ["counted", "counted-u8"] {
        let setup = setup(dialect);
        let central = setup.start();
        let mut agency = Participant::connect(central.port, dialect, 1);
        agency.store(&bets_with(FIVE[0]));
        let mut ports = Vec::new();
        for (last, reply) in
            [(vec![1], vec![]), (vec![3], vec![]), (vec![], vec![]), (vec![5], vec![1])]
        {
            let mut agency = central.connect();
            ports.push(agency.port());
            agency.send(&vector(dialect, "end_agency_1"));
            let winners = vector(dialect, "winners_L");
            assert_eq!(agency.read_bytes(winners.len()), winners, "{dialect}");
            agency.send(&last);
            if last.is_empty() {
                agency.end_sending();
            }
            assert_eq!(agency.read_to_end(), reply, "{dialect}: final byte {last:?}");
        }
        drop(agency);
        let log = central.stop_and_read_log();
        for (number, port) in ports.iter().enumerate() {
            let lines = refusals(&log, *port);
            match number {
                3 => {
                    assert!(matches!(&lines[..], [line] if line.contains("unknown final byte 5,")))
                }
                _ => assert!(lines.is_empty(), "{dialect}: {lines:?}"),
            }
        }
    }
}

/// A central with so many winners of agency 1 in its storage, before their draw.
fn with_winners(dialect: &str, winners: u32) -> Setup {
    let setup = setup(dialect);
    fs::create_dir(setup.stored("")).unwrap();
    let row = |document| format!("1,A,B,{document},1999-03-17,7574\r\n");
    fs::write(setup.stored("bets.csv"), (1..=winners).map(row).collect::<String>()).unwrap();
    setup
}

#[test]
fn more_winners_than_a_reply_can_tell_are_told_to_the_log_and_not_told_wrong() {
    for (dialect, most) in [("counted-u8", 255), ("sentinel", 16_383), ("counted", 65_535)] {
        let setup = with_winners(dialect, most);
        let central = setup.start();
        let mut agency = Participant::connect(central.port, dialect, 1);
        agency.finish();
        let documents: Vec<_> = (1..=most).collect();
        let reply = winners_reply(dialect, &documents);
        assert!(
            agency.connection().read_bytes(reply.len()) == reply,
            "{dialect}: {most} winners fit"
        );

        let setup = with_winners(dialect, most + 1);
        let central = setup.start();
        for _ in 0..2 {
            let mut agency = Participant::connect(central.port, dialect, 1);
            agency.finish();
            assert!(agency.connection().read_to_end().is_empty(), "{dialect}: not a wrong count");
            let mut other = Participant::connect(central.port, dialect, 2);
            other.finish();
            assert_eq!(
                other.winners().1,
                winners_reply(dialect, &[]),
                "{dialect}: others are answered"
            );
        }
        assert_eq!(central.number("worker_deaths"), 0);
        let log = central.stop_and_read_log();
        let told = format!(
            "action: responder | result: fail | error: winners: {}, at most {most}",
            most + 1
        );
        assert_eq!(
            log.iter().filter(|line| line.contains(&told)).count(),
            2,
            "{dialect}: {log:#?}"
        );
    }
}

#[test]
fn a_document_that_is_no_number_is_not_told_wrong_in_a_dialect_of_numbers() {
    let setup = setup("framed:0,counted:0,sentinel:0");
    let central = setup.start();
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.store(&[harness::bet("M-5", true)]);
    agency.finish();
    assert_eq!(agency.winners().1, b"WINNERS|M-5\n");
    for dialect in ["counted", "sentinel"] {
        let mut agency = Participant::connect(central.port_of(dialect), dialect, 1);
        agency.finish();
        assert!(agency.connection().read_to_end().is_empty(), "{dialect}");
    }
    assert_eq!(central.number("worker_deaths"), 0);
}

#[test]
fn a_draw_over_no_bets_and_an_agency_without_bets_have_no_winners() {
    for dialect in draw_dialects() {
        let setup = setup(dialect).with("SERVER_AGENCIES", "2");
        let central = setup.start();
        let mut agencies = [1, 2].map(|number| Participant::connect(central.port, dialect, number));
        agencies.iter_mut().for_each(Participant::finish);
        for agency in &mut agencies {
            assert_eq!(
                agency.winners().1,
                winners_reply(dialect, &[]),
                "{dialect}: no bets at all"
            );
        }

        let setup = self::setup(dialect).with("SERVER_AGENCIES", "2");
        let central = setup.start();
        let mut agencies = [1, 2].map(|number| Participant::connect(central.port, dialect, number));
        agencies[0].store(&bets_with(FIVE[0]));
        agencies.iter_mut().for_each(Participant::finish);
        for (agency, documents) in agencies.iter_mut().zip([FIVE[0], &[]]) {
            assert_eq!(
                agency.winners().1,
                winners_reply(dialect, documents),
                "{dialect}: bets of one"
            );
        }
    }
}

#[test]
fn the_largest_number_of_an_agency_is_an_agency_like_any_other() {
    for (dialect, number) in [
        ("counted", 255),
        ("counted-u8", 255),
        ("sentinel", 255),
        ("line", 65_535),
        ("framed", 65_535),
    ] {
        let setup = setup(dialect);
        let central = setup.start();
        let mut agency = Participant::connect(central.port, dialect, number);
        assert_eq!(
            agency.store(&bets_with(FIVE[3])),
            Receipt::Stored { winners: None },
            "{dialect}"
        );
        agency.finish();
        assert_eq!(agency.winners().1, winners_reply(dialect, FIVE[3]), "{dialect}");
    }
}

/// Sends the messages on one connection; all but the last are answered with 00, the last with 01 and the end.
fn the_last_is_refused(central: &Central<'_>, messages: &[Vec<u8>]) {
    let mut agency = Agency::connect(central.port);
    let (last, good) = messages.split_last().unwrap();
    for message in good {
        agency.send(message);
        assert_eq!(agency.read_bytes(1), [0]);
    }
    agency.send(last);
    assert_eq!(agency.read_to_end(), [1]);
}

#[test]
fn a_connection_of_counted_belongs_to_one_agency() {
    let batch = |dialect, agency| {
        harness::packet_in(&mut *harness::codec(dialect, agency), &[harness::numbered_bet(7, true)])
    };
    for dialect in ["counted", "counted-u8"] {
        let setup = setup(dialect);
        let central = setup.start();
        the_last_is_refused(&central, &[batch(dialect, 2), batch(dialect, 3)]);
        the_last_is_refused(
            &central,
            &[batch(dialect, 4), batch(dialect, 4), vector(dialect, "end_agency_5")],
        );
        central.nobody_in_flight_within_a_second();
        let agencies: Vec<_> = setup.rows().iter().map(|row| row[..1].to_owned()).collect();
        assert_eq!(agencies, ["2", "4", "4"], "{dialect}: nothing of agency 3");
        assert_eq!(central.number("agencies_finished"), 0, "{dialect}: agency 5 has not finished");
    }
}

#[test]
fn leading_zeros_make_no_other_agency() {
    let setup = setup("framed").with("SERVER_AGENCIES", "2");
    let central = setup.start();
    for number in ["1", "01", " 1", "001"] {
        let text = format!("FINISHED|{number}\n");
        let mut agency = central.connect();
        agency.send(&[&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat());
        assert_eq!(agency.read_bytes(4), b"ACK\n", "{text:?}");
    }
    assert_eq!(central.number("agencies_finished"), 1);
}

#[test]
fn whatever_follows_a_finished_but_a_question_ends_the_connection_and_the_agency_has_finished() {
    let setup = setup("framed").with("SERVER_AGENCIES", "2");
    let central = setup.start();
    for (number, next) in (1..).zip(["batch_L", "finished_1"]) {
        let mut agency = central.connect();
        agency.send(&vector("framed", "finished_1"));
        assert_eq!(agency.read_bytes(4), b"ACK\n");
        agency.send(&vector("framed", next));
        assert!(agency.read_to_end().is_empty(), "{next}");
        let lines = || central.program.count_lines_with("must not follow FINISHED");
        harness::eventually("a line", lines, |lines| *lines == number);
    }
    central.nobody_in_flight_within_a_second();
    assert_eq!((setup.rows().len(), central.number("agencies_finished")), (0, 1));
}
