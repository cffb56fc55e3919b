//! What goes over the wire when an agency sends its bets, seen from the central's end.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Central, Setup, THREE_RECORDS, THREE_ROWS};

/// Largest packet, from the assignment.
const MAX_PACKET: usize = 8192;

fn rows(count: usize) -> String {
    (1..=count)
        .map(|row| format!("Nombre{row},Apellido,{},1990-01-01,{row}\r\n", 20_000_000 + row))
        .collect()
}

/// Plays the central for a whole run: the sizes of the packets and the records that came.
fn collect(central: &Central) -> (Vec<usize>, Vec<Vec<String>>) {
    let (mut sizes, mut batches) = (Vec::new(), Vec::new());
    loop {
        let mut link = central.accept();
        let mut kind = [0];
        link.peek(&mut kind);
        if kind == [1] {
            link.read_query();
            link.reply(&[1, 0, 0, 0, 0]);
            return (sizes, batches);
        }
        batches.push(link.read_batch());
        sizes.push(link.packet.len());
        link.reply(&[0, 0]);
    }
}

#[test]
fn a_batch_is_the_bytes_of_the_protocol_and_the_connection_is_closed_after_its_reply() {
    let central = Central::new();
    let one_row = THREE_ROWS.lines().next().unwrap();
    let agency = Setup::agency(central.address(), one_row).start();
    let mut link = central.accept();
    link.read_batch();
    let mut expected = vec![0, 0, 1, 0, 46];
    expected.extend_from_slice(THREE_RECORDS[0].as_bytes());
    assert_eq!(link.packet, expected);
    link.reply(&[0, 0]);
    // The central leaves its own side open: whoever waited for its end would wait for ever.
    link.assert_closed_by_agency();
    central.answer_total(0);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn batches_hold_as_many_bets_as_configured_and_the_last_one_what_is_left() {
    let central = Central::new();
    let agency =
        Setup::agency(central.address(), rows(25)).args(["--batch-max-amount", "10"]).start();
    let (_, batches) = collect(&central);
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
    let expected: Vec<_> = (1..=25)
        .map(|row| format!("Nombre{row};Apellido;{};1990-01-01;{row}", 20_000_000 + row))
        .collect();
    assert_eq!(batches.concat(), expected);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert_eq!(
        ended.count("action: apuesta_enviada | result: success | cantidad: 10 | ganadores: 0"),
        2
    );
    assert_eq!(
        ended.count("action: apuesta_enviada | result: success | cantidad: 5 | ganadores: 0"),
        1
    );
    ended.assert_log_parses();
}

#[test]
fn a_file_that_ends_with_a_full_batch_is_not_followed_by_an_empty_one() {
    let central = Central::new();
    let agency =
        Setup::agency(central.address(), rows(20)).args(["--batch-max-amount", "10"]).start();
    let (_, batches) = collect(&central);
    assert_eq!(batches.len(), 2);
    assert_eq!(agency.finish().code, Some(0));
    central.assert_nobody_else_came();
}

#[test]
fn no_packet_exceeds_8192_bytes_whatever_the_configured_amount() {
    let central = Central::new();
    let agency =
        Setup::agency(central.address(), rows(1000)).args(["--batch-max-amount", "65535"]).start();
    let (sizes, batches) = collect(&central);
    assert!(sizes.iter().all(|size| *size <= MAX_PACKET), "{sizes:?}");
    // Full ones have no room for one more record.
    let full = &sizes[..sizes.len() - 1];
    assert!(!full.is_empty() && full.iter().all(|size| *size > MAX_PACKET - 50), "{sizes:?}");
    assert_eq!(batches.concat().len(), 1000);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn the_longest_bets_travel_ten_to_a_packet() {
    let central = Central::new();
    let name = "ñ".repeat(127);
    let row = format!("{name},{name},{name},1990-01-01,4294967295\n");
    let agency = Setup::agency(central.address(), row.repeat(15)).start();
    let (sizes, batches) = collect(&central);
    assert!(sizes.iter().all(|size| *size <= MAX_PACKET), "{sizes:?}");
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [10, 5]);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn an_empty_file_goes_straight_to_the_query() {
    let central = Central::new();
    let agency = Setup::agency(central.address(), "").start();
    let (_, batches) = collect(&central);
    assert_eq!(batches, Vec::<Vec<String>>::new());
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("resumen").contains("apuestas: 0 | lotes: 0 | ganadores: 0"));
}

#[test]
fn rows_without_number_become_records_of_four_fields() {
    let central = Central::new();
    let rows = "Santiago Lionel,Lorca,30904465,1999-03-17\r\nAna,\"Sosa, hija\",1,1999-3-7\r\n";
    let agency = Setup::agency(central.address(), rows).start();
    let (_, batches) = collect(&central);
    assert_eq!(
        batches,
        [["Santiago Lionel;Lorca;30904465;1999-03-17", "Ana;Sosa, hija;1;1999-03-07"]]
    );
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn quotes_byte_order_mark_zeros_before_the_number_and_either_line_end_are_read() {
    let central = Central::new();
    let rows = "\u{feff}\"Juan \"\"Pepe\"\"\",\"Paz, hijo\",1,1990-01-01,0007\n\r\n\"Ana\",Ñu|ñez,2,1990-01-02,0\r\nEva,,3,1990-01-03,4294967295";
    let agency = Setup::agency(central.address(), rows).start();
    let (_, batches) = collect(&central);
    let expected = [
        "Juan \"Pepe\";Paz, hijo;1;1990-01-01;7",
        "Ana;Ñu|ñez;2;1990-01-02;0",
        "Eva;;3;1990-01-03;4294967295",
    ];
    assert_eq!(batches, [expected]);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn the_file_of_the_agency_is_found_by_its_number() {
    let central = Central::new();
    let setup = Setup::new();
    std::fs::create_dir(setup.path(".data")).unwrap();
    let agency = setup
        .file(".data/agency-42.csv", THREE_ROWS)
        .env("CLI_ID", "42")
        .args(["--server", &central.address().to_string()]);
    let agency = agency.start();
    assert_eq!(central.take_batch(), THREE_RECORDS);
    central.answer_total(1);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("config").contains("client_id: 42"));
}
