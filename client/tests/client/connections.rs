//! The use of connections: one for everything or one per request, and kept connections that end.

use std::fs::{File, OpenOptions};
use std::io::Write;

use lottery::protocol::{CentralCodec, ConnectionUse, Decoded, Dialect};
use lottery::{Reply, Request, Results};
use nix::sys::stat::Mode;

use crate::support::{FakeCentral, ROW_L, Running, ServerConnection, Setup, dialects_that, vector};

/// Largest packet in bytes, from the assignment.
const MAX_PACKET: usize = 8192;

/// What one agency has sent, decoded by the central's codec of its dialect.
#[derive(Default)]
struct Received {
    /// Number of bets in each batch.
    batches: Vec<usize>,
    /// First names in the order of arrival.
    names: Vec<String>,
    /// Number of connections that carried a request.
    connections: usize,
    /// Size of the largest batch in bytes.
    largest: usize,
}

/// Plays a central of this dialect until the agency has received its winners.
fn serve(central: &FakeCentral, dialect: &Dialect) -> Received {
    let mut received = Received::default();
    loop {
        received.connections += 1;
        let mut connection = central.accept();
        let mut codec = (dialect.central)();
        let mut bytes = Vec::new();
        loop {
            let more = connection.receive();
            if more.is_empty() {
                break;
            }
            bytes.extend_from_slice(&more);
            if answer(codec.as_mut(), &mut bytes, &mut received, &mut connection) {
                return received;
            }
        }
        assert!(bytes.is_empty(), "{}: incomplete message", dialect.name);
    }
}

/// Answers the complete requests. Returns true after an answer with the winners.
fn answer(
    codec: &mut dyn CentralCodec,
    bytes: &mut Vec<u8>,
    received: &mut Received,
    connection: &mut ServerConnection,
) -> bool {
    loop {
        let (reply, consumed, last) = match codec.decode(bytes).unwrap() {
            Decoded::Incomplete => return false,
            Decoded::Skip { consumed } => (None, consumed, false),
            Decoded::Complete { request, consumed } => match request {
                Request::Store(bets) | Request::StoreOnce { bets, .. } => {
                    received.batches.push(bets.len());
                    received.names.extend(bets.iter().map(|bet| bet.first_name.to_owned()));
                    received.largest = received.largest.max(consumed);
                    (Some(Reply::Stored { bets: bets.len(), winners: Vec::new() }), consumed, false)
                }
                Request::Results => {
                    let results = Results { winners: 0, in_flight: 0 };
                    (Some(Reply::Results(results)), consumed, true)
                }
                Request::Finish { .. } => (Some(Reply::Finished), consumed, false),
                Request::Winners { .. } => (Some(Reply::Winners(Vec::new())), consumed, true),
                other => panic!("an agency does not send {other:?}"),
            },
        };
        if let Some(reply) = reply {
            let mut out = Vec::new();
            codec.encode(&reply, &mut out).unwrap();
            connection.reply(&out);
        }
        bytes.drain(..consumed);
        if last {
            return true;
        }
    }
}

/// Returns rows that every dialect can encode, each with its own first name, and these names.
fn rows(count: usize) -> (String, Vec<String>) {
    let names: Vec<_> = (1..=count).map(|row| format!("Nombre{row}")).collect();
    let row = |name: &String| format!("{name},Apellido,30904465,1990-01-01,1\r\n");
    (names.iter().map(row).collect(), names)
}

#[test]
fn every_dialect_sends_each_row_once_and_in_order_for_each_use_of_connections() {
    for dialect in dialects_that(|_| true) {
        for connection in dialect.connections {
            let (rows, names) = rows(1000);
            for max in ["10", "65535"] {
                let central = FakeCentral::new();
                let agency = Setup::speaking(dialect.name, central.address(), &rows)
                    .args(["--batch-max-amount", max, "--connection", connection.name()])
                    .start();
                let received = serve(&central, dialect);
                let case = format!("{}, {}, {max} bets per batch", dialect.name, connection.name());
                let ended = agency.finish();
                assert_eq!(ended.code, Some(0), "{case}: {ended:?}");
                assert_eq!(received.names, names, "{case}");
                assert!(received.largest <= MAX_PACKET && !received.batches.contains(&0), "{case}");
                if max == "10" {
                    assert_eq!(received.batches, [10; 100], "{case}");
                } else {
                    assert!(received.largest > MAX_PACKET - 100, "{case}: {}", received.largest);
                }
                match connection {
                    ConnectionUse::Kept => assert_eq!(received.connections, 1, "{case}"),
                    ConnectionUse::PerRequest => {
                        assert!(received.connections > received.batches.len(), "{case}");
                    }
                }
                central.assert_no_other_connection();
            }
        }
    }
}

#[test]
fn with_per_request_each_message_has_its_own_connection() {
    let central = FakeCentral::new();
    let agency = Setup::speaking("framed", central.address(), ROW_L)
        .args(["--connection", "per-request"])
        .start();
    for (sent, answer) in
        [("batch_L", "success_1"), ("finished_1", "ack"), ("query_1", "winners_L")]
    {
        let mut connection = central.accept();
        connection.expect(&vector("framed", sent));
        connection.reply(&vector("framed", answer));
        connection.assert_closed_by_agency();
    }
    assert_eq!(agency.finish().code, Some(0));
    central.assert_no_other_connection();
}

/// Starts an agency of the `sentinel` dialect with one bet per batch. It reads rows from a pipe as
/// the test writes them.
fn agency_with_slow_rows(central: &FakeCentral) -> (Running, File) {
    let setup = Setup::speaking("sentinel", central.address(), "");
    let path = setup.path("slow.csv");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    let agency = setup.args(["--data", "slow.csv", "--batch-max-amount", "1"]).start();
    // Opening blocks until the agency opens the other end.
    (agency, OpenOptions::new().write(true).open(path).unwrap())
}

#[test]
fn a_kept_connection_that_ends_between_two_batches_is_reopened_with_its_greeting() {
    let greeted_batch = [vector("sentinel", "id_1"), vector("sentinel", "batch_L")].concat();
    for unasked in [&b""[..], b"x"] {
        let central = FakeCentral::new();
        let (mut agency, mut rows) = agency_with_slow_rows(&central);
        rows.write_all(ROW_L.as_bytes()).unwrap();
        let mut connection = central.accept();
        connection.expect(&greeted_batch);
        connection.reply(&vector("sentinel", "ack"));
        agency.wait_for("apuesta_enviada");
        if unasked.is_empty() {
            connection.close();
        } else {
            connection.reply(unasked);
        }
        rows.write_all(ROW_L.as_bytes()).unwrap();
        drop(rows);
        let mut connection = central.accept();
        connection.expect(&greeted_batch);
        connection.reply(&vector("sentinel", "ack"));
        connection.expect(&vector("sentinel", "notify"));
        connection.reply(&vector("sentinel", "winners_none"));
        let ended = agency.finish();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.count("apuesta_enviada | result: success | cantidad: 1"), 2);
        let line = ended.line("action: connect | result: in_progress");
        assert!(line.contains("the kept connection cannot be reused: the central "), "{line}");
        central.assert_no_other_connection();
    }
}

#[test]
fn a_batch_on_a_kept_connection_that_is_lost_is_in_doubt_and_not_retried() {
    for reset in [false, true] {
        let central = FakeCentral::new();
        let (agency, mut rows) = agency_with_slow_rows(&central);
        rows.write_all(ROW_L.repeat(3).as_bytes()).unwrap();
        let mut connection = central.accept();
        connection.expect(&[vector("sentinel", "id_1"), vector("sentinel", "batch_L")].concat());
        connection.reply(&vector("sentinel", "ack"));
        connection.expect(&vector("sentinel", "batch_L"));
        if reset {
            connection.reset()
        } else {
            connection.close()
        }
        let ended = agency.finish();
        assert_eq!(ended.code, Some(1));
        let line = ended.line("result: fail");
        assert!(line.contains("rows_in_doubt: 2-2 | rows_stored: 1-1"), "{line}");
        central.assert_no_other_connection();
    }
}
