//! What can go wrong around a draw in each dialect: wrong final bytes, more winners than fit a
//! reply, agencies without bets, two agencies on one connection.

use crate::harness::{
    AgencyConnection, CentralProcess, Participant, Setup, WINNERS_BY_AGENCY, bet, bets_with, codec,
    draw_dialects, eventually, numbered_bet, packet_in, receipt, refusals, vector, winners_reply,
};

/// Returns the setup of a central whose draw needs only agency 1.
fn setup(protocol: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", protocol).with("SERVER_AGENCIES", "1")
}

#[test]
fn both_final_bytes_or_none_are_accepted_in_both_editions_and_any_other_is_refused_with_01() {
    for dialect in ["counted", "counted-u8"] {
        let setup = setup(dialect);
        let central = setup.start();
        let mut agency = Participant::connect(central.port, dialect, 1);
        agency.store(&bets_with(WINNERS_BY_AGENCY[0]));
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

/// Returns the setup of a central that has this many winning bets of agency 1 stored and no draw
/// held.
fn with_winners(dialect: &str, winners: u32) -> Setup {
    let setup = setup(dialect);
    let row = |document| format!("1,A,B,{document},1999-03-17,7574\r\n");
    setup.store_before(&(1..=winners).map(row).collect::<String>());
    setup
}

#[test]
fn more_winners_than_fit_a_reply_are_logged_and_not_answered_with_a_wrong_count() {
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

        let setup = with_winners(&format!("{dialect}:0,line:0"), most + 1);
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
        let mut agency = Participant::connect(central.port_of("line"), "line", 1);
        agency.finish();
        assert_eq!(agency.winners().0, u64::from(most + 1), "{dialect}: the way out");
        assert_eq!(central.number("worker_deaths"), 0);
        let log = central.stop_and_read_log();
        let failure = format!(
            "action: send_reply | result: fail | protocol: {dialect} | agency: 1 | error: \
             winners: {}, at most {most} can be encoded in this dialect | next: close without an \
             answer; line and framed have no such limit: add one to SERVER_PROTOCOL and restart, \
             or read draw.csv",
            most + 1
        );
        assert_eq!(
            log.iter().filter(|line| line.contains(&failure)).count(),
            2,
            "{dialect}: {log:#?}"
        );
    }
}

#[test]
fn a_document_that_another_enabled_dialect_cannot_encode_is_refused_when_it_arrives() {
    let cases = [
        ("framed:0,counted:0", "framed", "M-5", "counted"),
        ("line:0,sentinel:0", "line", "007", "sentinel"),
        ("line:0,counted-u8:0", "line", "4294967296", "counted-u8"),
        ("line:0,framed:0", "line", "12|3", "framed"),
        ("line:0,framed:0", "line", "", "framed"),
        ("framed", "framed", "", "framed"),
        ("keyed:0,counted:0", "keyed", "M-5", "counted"),
    ];
    for (list, speaks, document, other) in cases {
        let setup = setup(list);
        let central = setup.start();
        let mut stranger = Participant::connect(central.port, speaks, 1);
        let packet = packet_in(&mut *codec(speaks, 1), &[bet("7", true), bet(document, false)]);
        stranger.connection().send(&packet);
        let expected = match speaks {
            "framed" => vector("framed", "fail_0"),
            "keyed" => vector("keyed", "error_unacceptable"),
            _ => vec![],
        };
        assert_eq!(stranger.connection().read_bytes(expected.len()), expected, "{list}");
        let line = central.program.line_with("action: receive_message | result: fail");
        let named =
            format!("record 2: the document {document:?} does not fit the answer of {other}");
        // A line has no `|` inside its values.
        let named = named.replace('|', "¦");
        assert!(line.contains(&named), "{line}");
        assert!(setup.rows().is_empty(), "{list}: nothing of the batch is stored");
        // The honest bet is stored, and the agency gets its winners in both dialects.
        Participant::connect(central.port, speaks, 1).store(&[numbered_bet(5, true)]);
        for dialect in [speaks, other] {
            let mut agency = Participant::connect(central.port_of(dialect), dialect, 1);
            agency.finish();
            assert_eq!(agency.winners().1, winners_reply(dialect, &[5]), "{list}: {dialect}");
        }
    }
}

#[test]
fn a_document_may_be_any_text_as_long_as_every_enabled_dialect_can_encode_it() {
    let setup = setup("framed:0,line:0,typed:0");
    let central = setup.start();
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.store(&[bet("M-5", true)]);
    agency.finish();
    assert_eq!(agency.winners().1, b"WINNERS|M-5\n");
}

#[test]
fn a_document_of_an_earlier_run_that_a_dialect_cannot_encode_gets_no_answer() {
    for dialect in ["counted", "sentinel"] {
        let setup = setup(dialect);
        setup.store_before("1,A,B,M-5,1999-03-17,7574\r\n");
        let central = setup.start();
        let mut agency = Participant::connect(central.port, dialect, 1);
        agency.finish();
        assert!(agency.connection().read_to_end().is_empty(), "{dialect}");
        assert_eq!(central.number("worker_deaths"), 0);
    }
}

#[test]
fn a_draw_without_bets_and_an_agency_without_bets_have_no_winners() {
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
        central.program.line_with("action: draw | result: success | reason: no bet is stored");

        let setup = self::setup(dialect).with("SERVER_AGENCIES", "2");
        let central = setup.start();
        let mut agencies = [1, 2].map(|number| Participant::connect(central.port, dialect, number));
        agencies[0].store(&bets_with(WINNERS_BY_AGENCY[0]));
        agencies.iter_mut().for_each(Participant::finish);
        for (agency, documents) in agencies.iter_mut().zip([WINNERS_BY_AGENCY[0], &[]]) {
            assert_eq!(
                agency.winners().1,
                winners_reply(dialect, documents),
                "{dialect}: one agency has bets"
            );
        }
    }
}

#[test]
fn the_agency_with_the_largest_number_takes_part_like_any_other() {
    for (dialect, number) in [
        ("counted", 255),
        ("counted-u8", 255),
        ("sentinel", 255),
        ("line", 65_535),
        ("framed", 65_535),
        ("keyed", 65_535),
    ] {
        let setup = setup(dialect);
        let central = setup.start();
        let mut agency = Participant::connect(central.port, dialect, number);
        assert_eq!(
            agency.store(&bets_with(WINNERS_BY_AGENCY[3])),
            receipt(dialect, 2),
            "{dialect}"
        );
        agency.finish();
        assert_eq!(agency.winners().1, winners_reply(dialect, WINNERS_BY_AGENCY[3]), "{dialect}");
    }
}

/// Sends the messages on one connection. All but the last get the reply 00; the last gets 01 and
/// ends the connection.
fn assert_last_refused(central: &CentralProcess<'_>, messages: &[Vec<u8>]) {
    let mut agency = AgencyConnection::open(central.port);
    let (last, good) = messages.split_last().unwrap();
    for message in good {
        agency.send(message);
        assert_eq!(agency.read_bytes(1), [0]);
    }
    agency.send(last);
    assert_eq!(agency.read_to_end(), [1]);
}

#[test]
fn a_connection_in_counted_belongs_to_one_agency() {
    let batch = |dialect, agency| packet_in(&mut *codec(dialect, agency), &[numbered_bet(7, true)]);
    for dialect in ["counted", "counted-u8"] {
        let setup = setup(dialect);
        let central = setup.start();
        assert_last_refused(&central, &[batch(dialect, 2), batch(dialect, 3)]);
        assert_last_refused(
            &central,
            &[batch(dialect, 4), batch(dialect, 4), vector(dialect, "end_agency_5")],
        );
        central.none_in_flight_within_a_second();
        let agencies: Vec<_> = setup.rows().iter().map(|row| row[..1].to_owned()).collect();
        assert_eq!(agencies, ["2", "4", "4"], "{dialect}: nothing of agency 3");
        assert_eq!(central.number("agencies_finished"), 0, "{dialect}: agency 5 has not finished");
    }
}

#[test]
fn an_agency_number_with_leading_zeros_names_the_same_agency() {
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
fn any_message_except_a_query_after_finished_ends_the_connection_and_the_agency_stays_finished() {
    let setup = setup("framed").with("SERVER_AGENCIES", "2");
    let central = setup.start();
    for (number, next) in (1..).zip(["batch_L", "finished_1"]) {
        let mut agency = central.connect();
        agency.send(&vector("framed", "finished_1"));
        assert_eq!(agency.read_bytes(4), b"ACK\n");
        agency.send(&vector("framed", next));
        assert!(agency.read_to_end().is_empty(), "{next}");
        let lines = || central.program.count_lines_with("must not follow FINISHED");
        eventually("a line", lines, |lines| *lines == number);
    }
    central.none_in_flight_within_a_second();
    assert_eq!((setup.rows().len(), central.number("agencies_finished")), (0, 1));
}
