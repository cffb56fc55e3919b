//! The bytes that an agency sends for its bets, as the central receives them.

use std::thread;
use std::time::Instant;

use crate::support::{FakeCentral, PATIENCE, Setup, THREE_RECORDS, THREE_ROWS};

/// Largest packet in bytes, from the assignment.
const MAX_PACKET: usize = 8192;

fn rows(count: usize) -> String {
    (1..=count)
        .map(|row| format!("Nombre{row},Apellido,{},1990-01-01,{row}\r\n", 20_000_000 + row))
        .collect()
}

/// Plays the central for a whole run. Returns the sizes of the packets and their records.
fn collect(central: &FakeCentral) -> (Vec<usize>, Vec<Vec<String>>) {
    let (mut sizes, mut batches) = (Vec::new(), Vec::new());
    loop {
        let mut connection = central.accept();
        let mut kind = [0];
        connection.peek(&mut kind);
        if kind == [1] {
            connection.read_query();
            connection.reply(&[1, 0, 0, 0, 0]);
            return (sizes, batches);
        }
        batches.push(connection.read_batch());
        sizes.push(connection.packet.len());
        connection.reply(&[0, 0]);
    }
}

#[test]
fn a_batch_is_the_bytes_of_the_protocol_and_the_connection_is_closed_after_its_reply() {
    let central = FakeCentral::new();
    let one_row = THREE_ROWS.lines().next().unwrap();
    let agency = Setup::agency(central.address(), one_row).start();
    let mut connection = central.accept();
    connection.read_batch();
    let mut expected = vec![0, 0, 1, 0, 46];
    expected.extend_from_slice(THREE_RECORDS[0].as_bytes());
    assert_eq!(connection.packet, expected);
    connection.reply(&[0, 0]);
    // The central keeps its side open, so an agency that waits for it to close would wait forever.
    connection.assert_closed_by_agency();
    central.answer_total(0);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn each_batch_has_the_configured_number_of_bets_and_the_last_one_has_the_rest() {
    let central = FakeCentral::new();
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
        ended.count("action: apuesta_enviada | result: success | cantidad: 10 | winners: 0"),
        2
    );
    assert_eq!(
        ended.count("action: apuesta_enviada | result: success | cantidad: 5 | winners: 0"),
        1
    );
    ended.assert_log_parses();
}

#[test]
fn a_full_last_batch_is_not_followed_by_an_empty_one() {
    let central = FakeCentral::new();
    let agency =
        Setup::agency(central.address(), rows(20)).args(["--batch-max-amount", "10"]).start();
    let (_, batches) = collect(&central);
    assert_eq!(batches.len(), 2);
    assert_eq!(agency.finish().code, Some(0));
    central.assert_no_other_connection();
}

#[test]
fn no_packet_exceeds_8192_bytes_even_if_more_bets_are_configured() {
    let central = FakeCentral::new();
    let agency =
        Setup::agency(central.address(), rows(1000)).args(["--batch-max-amount", "65535"]).start();
    let (sizes, batches) = collect(&central);
    assert!(sizes.iter().all(|size| *size <= MAX_PACKET), "{sizes:?}");
    // All but the last packet have no room for one more record.
    let full = &sizes[..sizes.len() - 1];
    assert!(!full.is_empty() && full.iter().all(|size| *size > MAX_PACKET - 50), "{sizes:?}");
    assert_eq!(batches.concat().len(), 1000);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn a_packet_has_room_for_ten_of_the_longest_bets() {
    let central = FakeCentral::new();
    let name = "ñ".repeat(127);
    let row = format!("{name},{name},{name},1990-01-01,4294967295\n");
    let agency = Setup::agency(central.address(), row.repeat(15)).start();
    let (sizes, batches) = collect(&central);
    assert!(sizes.iter().all(|size| *size <= MAX_PACKET), "{sizes:?}");
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [10, 5]);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn an_agency_with_an_empty_file_only_sends_the_query() {
    let central = FakeCentral::new();
    let agency = Setup::agency(central.address(), "").start();
    let (_, batches) = collect(&central);
    assert_eq!(batches, Vec::<Vec<String>>::new());
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("summary").contains("bets: 0 | batches: 0 | winners: 0"));
}

#[test]
fn rows_without_a_number_become_records_of_four_fields() {
    let central = FakeCentral::new();
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
fn quotes_a_byte_order_mark_leading_zeros_and_both_line_ends_are_accepted() {
    let central = FakeCentral::new();
    let rows = concat!(
        "\u{feff}\"Juan \"\"Pepe\"\"\",\"Paz, hijo\",1,1990-01-01,0007\n\r\n",
        "\"Ana\",Ñu|ñez,2,1990-01-02,0\r\n",
        "Eva,,3,1990-01-03,4294967295"
    );
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
fn the_default_file_is_found_by_the_number_of_the_agency() {
    let central = FakeCentral::new();
    let setup = Setup::new();
    std::fs::create_dir(setup.path(".data")).unwrap();
    let agency = setup
        .file(".data/agency-42.csv", THREE_ROWS)
        .env("CLI_ID", "42")
        .args(["--server", &central.address().to_string()]);
    let agency = agency.start();
    assert_eq!(central.accept_batch(), THREE_RECORDS);
    central.answer_total(1);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("config").contains("client_id: 42"));
}

#[test]
fn the_next_batch_is_read_while_the_reply_is_awaited() {
    /// The agency reads this many bytes at once.
    const READ: u64 = 256 * 1024;
    let central = FakeCentral::new();
    let setup = Setup::agency(central.address(), rows(10_000));
    let agency = setup.args(["--batch-max-amount", "65535"]).start();
    let mut sent = 0;
    let mut connection = central.accept();
    loop {
        // A record is two bytes shorter than its row.
        let records = connection.read_batch();
        sent += records.iter().map(|record| record.len() as u64 + 2).sum::<u64>();
        if sent + 8_100 > READ {
            break;
        }
        connection.reply(&[0, 0]);
        connection = central.accept();
    }
    assert!(sent <= READ, "the last batch ends with byte {sent}, the next one after byte {READ}");
    let deadline = Instant::now() + PATIENCE;
    while agency.bytes_read("bets.csv") <= READ {
        assert!(Instant::now() < deadline, "the rows after byte {READ} were not read");
        thread::yield_now();
    }
}
