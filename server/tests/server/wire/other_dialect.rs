//! A client that speaks another dialect than its port: the error line names both, and what to
//! change.

use lottery::protocol::DIALECTS;

use crate::harness::{
    CentralProcess, Setup, codec, eventually, numbered_bet, packet_in, packet_of, refusals,
};

/// Returns the names of the dialects with bets.
fn dialects() -> impl Iterator<Item = &'static str> {
    DIALECTS.iter().filter(|dialect| dialect.agency.is_some()).map(|dialect| dialect.name)
}

/// Returns the first bytes of agency 2 that sends a batch. The first byte of agency 1 in `sentinel`
/// would be a query in `typed`.
fn opening(dialect: &str) -> Vec<u8> {
    let mut codec = codec(dialect, 2);
    let greeting = codec.greeting();
    [greeting, packet_in(&mut *codec, &[numbered_bet(33, false), numbered_bet(34, true)])].concat()
}

/// Sends bytes and ends. Returns the one error line about the connection.
fn refusal(central: &CentralProcess<'_>, bytes: &[u8]) -> String {
    let mut agency = central.connect();
    agency.send(bytes);
    agency.end_sending();
    agency.read_until_gone();
    let port = agency.port();
    let lines = || {
        let log = central.program.lines();
        refusals(&log, port).into_iter().cloned().collect::<Vec<_>>()
    };
    let lines = eventually("a line about the connection", lines, |lines| !lines.is_empty());
    lines[0].clone()
}

#[test]
fn the_error_line_names_the_dialect_that_the_bytes_are_valid_in_and_that_of_the_port() {
    for port in dialects() {
        let setup = Setup::new().with("SERVER_PROTOCOL", port);
        let central = setup.start();
        // A batch of up to 255 bets in `typed` begins with a report of an agency in `counted`.
        let is_valid = |spoken: &str| spoken == "typed" && port.starts_with("counted");
        for spoken in dialects().filter(|spoken| *spoken != port && !is_valid(spoken)) {
            let line = refusal(&central, &opening(spoken));
            let hint = format!(
                "it is a valid message of {spoken}, and this port speaks {port}: change the \
                 client's dialect, or SERVER_PROTOCOL"
            );
            assert!(line.ends_with(&hint), "{spoken} on a port of {port}: {line}");
        }
        assert!(setup.rows().is_empty(), "{port}: {:?}", setup.rows());
    }
}

#[test]
fn a_client_of_the_echo_exercise_is_recognized_on_a_port_with_bets() {
    let setup = Setup::new().with("SERVER_PROTOCOL", "framed");
    let central = setup.start();
    let line = refusal(&central, "[CLIENT 1] Message N°1\n".as_bytes());
    assert!(line.contains("a valid message of echo, and this port speaks framed"), "{line}");
}

#[test]
fn a_client_that_waits_for_a_reply_in_another_dialect_is_recognized_when_its_time_is_over() {
    let setup = Setup::new()
        .with("SERVER_PROTOCOL", "framed")
        .with("SERVER_REQUEST_TIMEOUT", "300ms")
        .with("SERVER_IDLE_TIMEOUT", "300ms");
    let central = setup.start();
    let mut agency = central.connect();
    agency.send(&opening("line"));
    agency.read_until_gone();
    let line = central.program.line_with("error: not done within");
    assert!(line.contains("a valid message of line, and this port speaks framed"), "{line}");
}

#[test]
fn a_wrong_message_in_the_dialect_of_the_port_gets_no_hint() {
    let setup = Setup::new();
    let central = setup.start();
    let whole = packet_of("a", 3, 0);
    for bytes in [&whole[..whole.len() - 1], &[0, 0, 0], &[7; 40]] {
        let line = refusal(&central, bytes);
        assert!(!line.contains("a valid message of"), "{line}");
    }
    central.none_in_flight_within_a_second();
}
