//! The echo exercise: messages that come back, each over a connection of its own.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal::SIGTERM;
use support::{Central, PROMPT, Running, Setup, vector};

/// Agency 1 with so many messages, so far apart.
fn start(central: &Central, amount: &str, period: &str) -> Running {
    Setup::speaking("echo", central.address(), "")
        .args(["--data", "nothing.csv", "--loop-amount", amount, "--loop-period", period])
        .start()
}

/// The message as the assignment writes it.
fn message(number: usize) -> Vec<u8> {
    format!("[CLIENT 1] Message N°{number}\n").into_bytes()
}

/// Takes a message and sends it back.
fn serve(central: &Central, number: usize) {
    let mut link = central.accept();
    link.expect(&message(number));
    link.reply(&message(number));
    link.assert_closed_by_agency();
}

#[test]
fn each_message_is_said_over_a_connection_of_its_own_and_logged_when_it_comes_back() {
    let central = Central::new();
    let agency = start(&central, "3", "10ms");
    let mut link = central.accept();
    link.expect(&vector("echo", "request"));
    link.reply(&vector("echo", "reply"));
    link.assert_closed_by_agency();
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
    central.assert_nobody_else_came();
}

#[test]
fn the_period_passes_between_messages_and_not_after_the_last() {
    let central = Central::new();
    let agency = start(&central, "2", "2s");
    serve(&central, 1);
    let began = Instant::now();
    serve(&central, 2);
    assert!(began.elapsed() >= Duration::from_millis(1_900), "{:?}", began.elapsed());
    let ended = agency.finish_within(Duration::from_secs(1));
    assert_eq!((ended.code, ended.count("loop_finished")), (Some(0), 1));
}

#[test]
fn a_reply_that_comes_byte_by_byte_or_is_another_text_is_logged_as_it_came() {
    let central = Central::new();
    let agency = start(&central, "2", "10ms");
    let mut link = central.accept();
    link.expect(&message(1));
    link.reply_byte_by_byte(&message(1));
    let mut link = central.accept();
    link.expect(&message(2));
    link.reply(b"another | text: \xFF\n");
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
fn a_central_that_is_not_there_yet_is_waited_for_without_a_failure() {
    let address = Central::nobody();
    let mut agency = Setup::speaking("echo", address, "")
        .args(["--loop-amount", "1", "--connect-timeout", "30s"])
        .start();
    agency.wait_for("action: connect | result: in_progress");
    let central = Central::at(address);
    serve(&central, 1);
    let ended = agency.finish();
    assert_eq!((ended.code, ended.count("result: fail")), (Some(0), 0));
}

#[test]
fn a_central_that_never_comes_ends_the_run() {
    let address = Central::nobody();
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
fn a_message_that_does_not_come_back_ends_the_run() {
    for (reply, reason) in [
        (
            &b""[..],
            "the central closed the connection before its reply was whole (0 bytes of it came)",
        ),
        (
            b"[CLIENT",
            "the central closed the connection before its reply was whole (7 bytes of it came)",
        ),
    ] {
        let central = Central::new();
        let agency = start(&central, "3", "10ms");
        serve(&central, 1);
        let mut link = central.accept();
        link.expect(&message(2));
        link.reply(reply);
        link.close();
        let ended = agency.finish();
        assert_eq!(ended.code, Some(1));
        assert_eq!(
            ended.line("result: fail"),
            format!("action: receive_message | result: fail | client_id: 1 | error: {reason}")
        );
        assert_eq!((ended.count("receive_message"), ended.count("loop_finished")), (2, 0));
        central.assert_nobody_else_came();
    }
}

#[test]
fn a_reply_that_takes_too_long_or_does_not_end_is_a_failure() {
    let central = Central::new();
    let agency =
        Setup::speaking("echo", central.address(), "").args(["--reply-timeout", "200ms"]).start();
    let mut link = central.accept();
    link.expect(&message(1));
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("receive_message | result: fail");
    assert!(line.ends_with("error: no whole reply within 200ms (0 bytes of it came)"), "{line}");

    let agency = start(&central, "1", "10ms");
    let mut link = central.accept();
    link.expect(&message(1));
    link.reply_until_closed(b"x");
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .line("receive_message | result: fail")
            .ends_with("the reply has more than 8192 bytes")
    );
}

#[test]
fn a_signal_ends_the_loop_cleanly_wherever_it_is() {
    let central = Central::new();
    let mut agency = start(&central, "5", "1h");
    serve(&central, 1);
    agency.wait_for("receive_message");
    agency.signal(SIGTERM);
    let ended = agency.finish_within(PROMPT);
    assert_eq!((ended.code, ended.count("result: fail")), (Some(0), 0), "{ended:?}");
    assert_eq!(
        ended.line("action: exit"),
        "action: exit | result: success | client_id: 1 | signal: SIGTERM | mensajes: 1"
    );

    let agency = start(&central, "5", "1h");
    let mut link = central.accept();
    link.expect(&message(1));
    agency.signal(SIGTERM);
    let ended = agency.finish_within(PROMPT);
    link.assert_closed_by_agency();
    assert_eq!((ended.code, ended.count("result: fail")), (Some(0), 0), "{ended:?}");
    assert_eq!(
        ended.line("close_connection"),
        "action: close_connection | result: success | client_id: 1"
    );
    ended.assert_log_parses();
}
