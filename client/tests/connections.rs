//! How connections are used: one for everything or one for each request, and what happens to a kept one that ends.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{File, OpenOptions};
use std::io::Write;

use lottery::protocol::{CentralCodec, ConnectionUse, Decoded, Dialect};
use lottery::{Reply, Request, Results};
use nix::sys::stat::Mode;
use support::{Central, Link, ROW_L, Running, Setup, dialects_that, vector};

/// Largest packet, from the assignment.
const MAX_PACKET: usize = 8192;

/// What one agency said, as the central's side of its dialect understands it.
#[derive(Default)]
struct Heard {
    /// Bets of each batch.
    batches: Vec<usize>,
    /// First names in the order they came.
    names: Vec<String>,
    /// Connections that carried a request.
    connections: usize,
    /// Largest batch in bytes.
    largest: usize,
}

/// Plays a central of this dialect until the agency has its winners.
fn serve(central: &Central, dialect: &Dialect) -> Heard {
    let mut heard = Heard::default();
    loop {
        heard.connections += 1;
        let mut link = central.accept();
        let mut codec = (dialect.central)();
        let mut bytes = Vec::new();
        loop {
            let more = link.hear();
            if more.is_empty() {
                break;
            }
            bytes.extend_from_slice(&more);
            if answer(codec.as_mut(), &mut bytes, &mut heard, &mut link) {
                return heard;
            }
        }
        assert!(bytes.is_empty(), "{}: bytes that are no message", dialect.name);
    }
}

/// Answers what is whole. True when the winners were told.
fn answer(
    codec: &mut dyn CentralCodec,
    bytes: &mut Vec<u8>,
    heard: &mut Heard,
    link: &mut Link,
) -> bool {
    loop {
        let (reply, consumed, last) = match codec.decode(bytes).unwrap() {
            Decoded::Incomplete => return false,
            Decoded::Skip { consumed } => (None, consumed, false),
            Decoded::Complete { request, consumed } => match request {
                Request::Store(bets) => {
                    heard.batches.push(bets.len());
                    heard.names.extend(bets.iter().map(|bet| bet.first_name.to_owned()));
                    heard.largest = heard.largest.max(consumed);
                    (Some(Reply::Stored { bets: bets.len(), winners: Vec::new() }), consumed, false)
                }
                Request::Results => {
                    let results = Results { winners: 0, in_flight: 0 };
                    (Some(Reply::Results(results)), consumed, true)
                }
                Request::Finish { .. } => (Some(Reply::Finished), consumed, false),
                Request::Winners { .. } => (Some(Reply::Winners(Vec::new())), consumed, true),
                other => panic!("an agency does not say {other:?}"),
            },
        };
        if let Some(reply) = reply {
            let mut out = Vec::new();
            codec.encode(&reply, &mut out).unwrap();
            link.reply(&out);
        }
        bytes.drain(..consumed);
        if last {
            return true;
        }
    }
}

/// Rows that every dialect carries, each with a name of its own.
fn rows(count: usize) -> (String, Vec<String>) {
    let names: Vec<_> = (1..=count).map(|row| format!("Nombre{row}")).collect();
    let row = |name: &String| format!("{name},Apellido,30904465,1990-01-01,1\r\n");
    (names.iter().map(row).collect(), names)
}

#[test]
fn every_row_is_sent_once_and_in_order_in_every_dialect_however_connections_are_used() {
    for dialect in dialects_that(|_| true) {
        for connection in dialect.connections {
            let (rows, names) = rows(1000);
            for max in ["10", "65535"] {
                let central = Central::new();
                let agency = Setup::speaking(dialect.name, central.address(), &rows)
                    .args(["--batch-max-amount", max, "--connection", connection.name()])
                    .start();
                let heard = serve(&central, dialect);
                let case = format!("{}, {}, {max} bets a batch", dialect.name, connection.name());
                let ended = agency.finish();
                assert_eq!(ended.code, Some(0), "{case}: {ended:?}");
                assert_eq!(heard.names, names, "{case}");
                assert!(heard.largest <= MAX_PACKET && !heard.batches.contains(&0), "{case}");
                if max == "10" {
                    assert_eq!(heard.batches, [10; 100], "{case}");
                } else {
                    assert!(heard.largest > MAX_PACKET - 100, "{case}: {}", heard.largest);
                }
                match connection {
                    ConnectionUse::Kept => assert_eq!(heard.connections, 1, "{case}"),
                    ConnectionUse::PerRequest => {
                        assert!(heard.connections > heard.batches.len(), "{case}");
                    }
                }
                central.assert_nobody_else_came();
            }
        }
    }
}

#[test]
fn each_message_has_a_connection_of_its_own_where_that_is_asked_for() {
    let central = Central::new();
    let agency = Setup::speaking("framed", central.address(), ROW_L)
        .args(["--connection", "per-request"])
        .start();
    for (said, answer) in
        [("batch_L", "success_1"), ("finished_1", "ack"), ("query_1", "winners_L")]
    {
        let mut link = central.accept();
        link.expect(&vector("framed", said));
        link.reply(&vector("framed", answer));
        link.assert_closed_by_agency();
    }
    assert_eq!(agency.finish().code, Some(0));
    central.assert_nobody_else_came();
}

/// An agency of the `sentinel` dialect, one bet a batch, whose rows come when the test writes them.
fn agency_with_slow_rows(central: &Central) -> (Running, File) {
    let setup = Setup::speaking("sentinel", central.address(), "");
    let path = setup.path("slow.csv");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    let agency = setup.args(["--data", "slow.csv", "--batch-max-amount", "1"]).start();
    // Waits until the agency opens the other end.
    (agency, OpenOptions::new().write(true).open(path).unwrap())
}

#[test]
fn a_kept_connection_that_ends_between_two_batches_is_made_again_with_its_greeting() {
    let greeted_batch = [vector("sentinel", "id_1"), vector("sentinel", "batch_L")].concat();
    for unasked in [&b""[..], b"x"] {
        let central = Central::new();
        let (mut agency, mut rows) = agency_with_slow_rows(&central);
        rows.write_all(ROW_L.as_bytes()).unwrap();
        let mut link = central.accept();
        link.expect(&greeted_batch);
        link.reply(&vector("sentinel", "ack"));
        agency.wait_for("apuesta_enviada");
        if unasked.is_empty() {
            link.close();
        } else {
            link.reply(unasked);
        }
        rows.write_all(ROW_L.as_bytes()).unwrap();
        drop(rows);
        let mut link = central.accept();
        link.expect(&greeted_batch);
        link.reply(&vector("sentinel", "ack"));
        link.expect(&vector("sentinel", "notify"));
        link.reply(&vector("sentinel", "winners_none"));
        let ended = agency.finish();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.count("apuesta_enviada | result: success | cantidad: 1"), 2);
        let line = ended.line("action: connect | result: in_progress");
        assert!(line.contains("the kept connection is of no more use: the central "), "{line}");
        central.assert_nobody_else_came();
    }
}

#[test]
fn a_batch_on_a_kept_connection_that_is_lost_is_in_doubt_and_not_sent_again() {
    for reset in [false, true] {
        let central = Central::new();
        let (agency, mut rows) = agency_with_slow_rows(&central);
        rows.write_all(ROW_L.repeat(3).as_bytes()).unwrap();
        let mut link = central.accept();
        link.expect(&[vector("sentinel", "id_1"), vector("sentinel", "batch_L")].concat());
        link.reply(&vector("sentinel", "ack"));
        link.expect(&vector("sentinel", "batch_L"));
        if reset {
            link.reset()
        } else {
            link.close()
        }
        let ended = agency.finish();
        assert_eq!(ended.code, Some(1));
        let line = ended.line("result: fail");
        assert!(line.contains("rows_in_doubt: 2-2 | rows_stored: 1-1"), "{line}");
        central.assert_nobody_else_came();
    }
}
