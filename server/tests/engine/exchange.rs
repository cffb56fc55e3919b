//! What the engine holds after ordinary exchanges.

use crate::commands::take_part;
use crate::counted::counted;
use crate::harness::{Setup, packet_of, winners_reply};

#[test]
fn a_batch_is_stored_with_the_bytes_of_the_files_and_counted() {
    let setup = Setup::new();
    let central = setup.start();
    central.request(&packet_of("a", 3, 1));
    central.request(&packet_of("b", 2, 2));
    let mut rows = setup.rows();
    rows.sort();
    assert_eq!(rows[0], "0,Santiago Lionel,Lorca,a-0,1999-03-17,7574");
    assert_eq!(rows.len(), 5);
    assert_eq!(counted(&setup), (5, 3));
    assert_eq!((central.number("bets"), central.number("winners")), (5, 3));
    let lines = String::from_utf8(setup.read_stored("winners.log")).unwrap();
    let line = "Full name: Santiago Lionel Lorca | Document: a-0 | Date of Birth: 17/03/1999";
    assert!(lines.lines().any(|found| found == line), "{lines}");
    assert_eq!(central.stop().0, 0);
}

#[test]
fn totals_are_those_of_the_lottery_after_a_stop_and_a_start() {
    let setup = Setup::new();
    let central = setup.start();
    central.request(&packet_of("a", 3, 2));
    assert_eq!(central.stop().0, 0);
    let central = setup.start();
    assert_eq!((central.number("bets"), central.number("winners")), (3, 2));
    assert_eq!(central.results().winners, 2);
}

#[test]
fn each_agency_gets_its_winners_from_the_draw_in_the_engine() {
    let setup = Setup::new().with("SERVER_PROTOCOL", "framed").with("SERVER_AGENCIES", "2");
    let central = setup.start();
    let mut agencies = take_part(&central);
    let documents: [&[u32]; 2] = [&[11, 12], &[21]];
    for (agency, documents) in agencies.iter_mut().zip(documents) {
        assert_eq!(agency.winners().1, winners_reply("framed", documents));
    }
}
