//! The echo exercise: messages that the central echoes, each over a connection of its own.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal::SIGTERM;

use crate::support::{ClosedPort, FakeCentral, PROMPT, Running, Setup, vector};

/// Starts agency 1 with `amount` messages, `period` apart.
fn start(central: &FakeCentral, amount: &str, period: &str) -> Running {
    Setup::speaking("echo", central.address(), "")
        .args(["--data", "nothing.csv", "--loop-amount", amount, "--loop-period", period])
        .start()
}

/// Returns a message in the format of the assignment.
fn message(number: usize) -> Vec<u8> {
    format!("[CLIENT 1] Message N°{number}\n").into_bytes()
}

/// Receives a message and echoes it.
fn serve(central: &FakeCentral, number: usize) {
    let mut connection = central.accept();
    connection.expect(&message(number));
    connection.reply(&message(number));
    connection.assert_closed_by_agency();
}

#[test]
fn each_message_has_its_own_connection_and_its_echo_is_logged() {
    let central = FakeCentral::new();
    let agency = start(&central, "3", "10ms");
    let mut connection = central.accept();
    connection.expect(&vector("echo", "request"));
    connection.reply(&vector("echo", "reply"));
    connection.assert_closed_by_agency();
    serve(&central, 2);
    serve(&central, 3);
    let ended = agency.finish();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    let messages: Vec<_> =
        ended.lines.iter().map(|line| &line[line.find("action:").unwrap()..]).collect();
    assert!(
        messages[0].contains("loop_amount: 3 | loop_period: 10ms | log_level: INFO |"),
        "{}",
        messages[0]
    );
    assert_eq!(
        messages[1..],
        [
            "action: receive_message | result: success | client_id: 1 | msg: [CLIENT 1] Message N°1",
            "action: receive_message | result: success | client_id: 1 | msg: [CLIENT 1] Message N°2",
            "action: receive_message | result: success | client_id: 1 | msg: [CLIENT 1] Message N°3",
            "action: loop_finished | result: success | client_id: 1",
        ]
    );
    ended.assert_log_parses();
    central.assert_no_other_connection();
}

#[test]
fn the_period_passes_between_messages_but_not_after_the_last() {
    let central = FakeCentral::new();
    let agency = start(&central, "2", "2s");
    serve(&central, 1);
    let began = Instant::now();
    serve(&central, 2);
    assert!(began.elapsed() >= Duration::from_millis(1_900), "{:?}", began.elapsed());
    let ended = agency.finish_within(Duration::from_secs(1));
    assert_eq!((ended.code, ended.count("loop_finished")), (Some(0), 1));
}

#[test]
fn a_reply_in_pieces_or_with_another_text_is_logged_as_received() {
    let central = FakeCentral::new();
    let agency = start(&central, "2", "10ms");
    let mut connection = central.accept();
    connection.expect(&message(1));
    connection.reply_byte_by_byte(&message(1));
    let mut connection = central.accept();
    connection.expect(&message(2));
    connection.reply(b"another | text: \xFF\n");
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert!(ended.line("receive_message").ends_with("msg: [CLIENT 1] Message N°1"));
    assert!(
        ended.line("another").ends_with("msg: another ¦ text: \u{fffd}"),
        "{}",
        ended.line("another")
    );
    ended.assert_log_parses();
}

#[test]
fn an_agency_that_starts_first_waits_for_the_central_without_a_failure() {
    let port = ClosedPort::new();
    let mut agency = Setup::speaking("echo", port.address(), "")
        .args(["--loop-amount", "1", "--connect-timeout", "30s"])
        .start();
    agency.wait_for("action: connect | result: in_progress");
    let central = port.listen();
    serve(&central, 1);
    let ended = agency.finish();
    assert_eq!((ended.code, ended.count("result: fail")), (Some(0), 0));
}

#[test]
fn a_central_that_never_starts_ends_the_run() {
    let port = ClosedPort::new();
    let address = port.address();
    let ended = Setup::speaking("echo", address, "").finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    let begin = format!(
        "action: connect | result: fail | client_id: 1 | error: {address} cannot be reached ("
    );
    assert!(line.starts_with(&begin), "{line}");
    assert_eq!((ended.count("result: fail"), ended.count("loop_finished")), (1, 0));
    ended.assert_log_parses();
}

#[test]
fn a_message_that_is_not_echoed_ends_the_run() {
    for (reply, reason) in [
        (
            &b""[..],
            "the central closed the connection before its reply was complete (0 bytes received)",
        ),
        (
            b"[CLIENT",
            "the central closed the connection before its reply was complete (7 bytes received)",
        ),
    ] {
        let central = FakeCentral::new();
        let agency = start(&central, "3", "10ms");
        serve(&central, 1);
        let mut connection = central.accept();
        connection.expect(&message(2));
        connection.reply(reply);
        connection.close();
        let ended = agency.finish();
        assert_eq!(ended.code, Some(1));
        assert_eq!(
            ended.line("result: fail"),
            format!("action: receive_message | result: fail | client_id: 1 | error: {reason}")
        );
        assert_eq!((ended.count("receive_message"), ended.count("loop_finished")), (2, 0));
        central.assert_no_other_connection();
    }
}

#[test]
fn a_late_or_endless_reply_is_a_failure() {
    let central = FakeCentral::new();
    let agency =
        Setup::speaking("echo", central.address(), "").args(["--reply-timeout", "200ms"]).start();
    let mut connection = central.accept();
    connection.expect(&message(1));
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("receive_message | result: fail");
    assert!(line.contains("error: no complete reply within 200ms (0 bytes received)"), "{line}");

    let agency = start(&central, "1", "10ms");
    let mut connection = central.accept();
    connection.expect(&message(1));
    connection.reply_until_closed(b"x");
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .line("receive_message | result: fail")
            .contains("the reply is longer than 8192 bytes")
    );
}

#[test]
fn a_signal_ends_the_loop_cleanly_during_a_pause_and_during_an_exchange() {
    let central = FakeCentral::new();
    let mut agency = start(&central, "5", "1h");
    serve(&central, 1);
    agency.wait_for("receive_message");
    agency.signal(SIGTERM);
    let ended = agency.finish_within(PROMPT);
    assert_eq!((ended.code, ended.count("result: fail")), (Some(0), 0), "{ended:?}");
    assert_eq!(
        ended.line("action: exit"),
        "action: exit | result: success | client_id: 1 | signal: SIGTERM | messages: 1"
    );

    let agency = start(&central, "5", "1h");
    let mut connection = central.accept();
    connection.expect(&message(1));
    agency.signal(SIGTERM);
    let ended = agency.finish_within(PROMPT);
    connection.assert_closed_by_agency();
    assert_eq!((ended.code, ended.count("result: fail")), (Some(0), 0), "{ended:?}");
    assert_eq!(
        ended.line("close_connection"),
        "action: close_connection | result: success | client_id: 1"
    );
    ended.assert_log_parses();
}
