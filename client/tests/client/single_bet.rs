//! The bet from the environment, sent instead of a file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::sys::signal::Signal::SIGTERM;

use crate::support::{FakeCentral, PROMPT, Setup, THREE_RECORDS, vector};

/// The example of the assignment, called L in the vectors.
const BET: [(&str, &str); 5] = [
    ("NOMBRE", "Santiago Lionel"),
    ("APELLIDO", "Lorca"),
    ("DOCUMENTO", "30904465"),
    ("NACIMIENTO", "1999-03-17"),
    ("NUMERO", "7574"),
];

/// Prepares an agency of this dialect with the bet in its environment and without a file of bets.
fn with_bet(dialect: &str, central: &FakeCentral, bet: &[(&str, &str)]) -> Setup {
    let setup = Setup::speaking(dialect, central.address(), "").args(["--data", "nothing.csv"]);
    bet.iter().fold(setup, |setup, (name, value)| setup.env(name, value))
}

#[test]
fn the_bet_is_sent_as_one_batch_and_nothing_follows() {
    for (dialect, sent, reply) in [
        ("counted", vec!["batch_L"], "ok"),
        ("counted-u8", vec!["batch_L"], "ok"),
        ("line", vec!["bet_L", "batch_end_1_and_its_echo"], "batch_end_1_and_its_echo"),
        ("framed", vec!["batch_L"], "success_1"),
        ("sentinel", vec!["id_1", "batch_L"], "ack"),
    ] {
        let central = FakeCentral::new();
        let agency = with_bet(dialect, &central, &BET).start();
        let mut connection = central.accept();
        let sent: Vec<_> = sent.into_iter().flat_map(|name| vector(dialect, name)).collect();
        connection.expect(&sent);
        connection.reply(&vector(dialect, reply));
        connection.assert_closed_by_agency();
        let ended = agency.finish();
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{dialect}: {ended:?}");
        assert_eq!(ended.lines.len(), 3);
        assert_eq!(
            ended.line("apuesta_enviada"),
            "action: apuesta_enviada | result: success | dni: 30904465 | numero: 7574"
        );
        assert_eq!(
            ended.line("loop_finished"),
            "action: loop_finished | result: success | client_id: 1"
        );
        ended.assert_log_parses();
        central.assert_no_other_connection();
    }
}

#[test]
fn the_bet_can_be_sent_in_the_typed_dialect() {
    let central = FakeCentral::new();
    let agency = with_bet("typed", &central, &BET).start();
    assert_eq!(central.accept_batch(), THREE_RECORDS[..1]);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    central.assert_no_other_connection();
}

#[test]
fn missing_or_empty_variables_are_named() {
    let central = FakeCentral::new();
    for (given, missing) in [
        (&BET[..4], "NUMERO"),
        (&BET[1..2], "NOMBRE, DOCUMENTO, NACIMIENTO, NUMERO"),
        (&[BET[0], BET[1], ("DOCUMENTO", ""), BET[3], BET[4]], "DOCUMENTO"),
    ] {
        let ended = with_bet("typed", &central, given).finish();
        assert_eq!(ended.code, Some(2));
        assert_eq!(
            ended.errors,
            format!(
                "client: the bet from the environment is incomplete: {missing} not set, of NOMBRE, APELLIDO, DOCUMENTO, \
                 NACIMIENTO, NUMERO\n"
            )
        );
        assert_eq!(ended.lines.len(), 0);
    }
    central.assert_no_other_connection();
}

#[test]
fn variables_that_are_all_empty_count_as_no_bet() {
    let central = FakeCentral::new();
    let setup = BET
        .iter()
        .fold(Setup::agency(central.address(), ""), |setup, (name, _)| setup.env(name, ""));
    let agency = setup.start();
    central.answer_total(0);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn the_variables_are_not_keys_of_the_configuration_file() {
    let setup = Setup::new().file("config.yaml", "id: 1\nNOMBRE: Ana\n").args(["--check-config"]);
    let ended = setup.finish();
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.starts_with("client: unknown key \"NOMBRE\""), "{}", ended.errors);
}

#[test]
fn an_invalid_bet_is_a_wrong_configuration() {
    let central = FakeCentral::new();
    for (name, value, reason) in [
        ("NACIMIENTO", "1999-02-29", "birthdate \"1999-02-29\" is not a calendar date"),
        ("NUMERO", "-1", "number \"-1\" is not a plain decimal"),
        ("NOMBRE", "San\ntiago", "first name holds the control character U+000A"),
    ] {
        let ended = with_bet("typed", &central, &BET).env(name, value).finish();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let begin = format!("client: the bet from the environment is not accepted: {reason}");
        assert!(ended.errors.starts_with(&begin), "{}", ended.errors);
    }
    let ended = with_bet("typed", &central, &BET)
        .env_bytes("APELLIDO", OsStr::from_bytes(b"\xFF"))
        .finish();
    assert_eq!(ended.code, Some(2));
    assert_eq!(
        ended.errors,
        "client: the bet from the environment is not accepted: APELLIDO is not UTF-8\n"
    );
    central.assert_no_other_connection();
}

#[test]
fn a_dialect_without_bets_cannot_send_the_bet() {
    let ended = with_bet("echo", &FakeCentral::new(), &BET).finish();
    assert_eq!(ended.code, Some(2));
    assert_eq!(
        ended.errors,
        "client: the bet from the environment cannot be sent: echo carries no bets; \
         choose another protocol, or unset the variables of the bet\n"
    );
}

#[test]
fn a_bet_that_the_dialect_cannot_encode_is_not_sent() {
    let central = FakeCentral::new();
    let ended = with_bet("typed", &central, &BET).env("NOMBRE", "San;tiago").finish();
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.line("result: fail"),
        "action: apuesta_enviada | result: fail | client_id: 1 | dni: 30904465 | numero: 7574 | error: first name holds ';', \
         which separates the fields on the wire; it was not sent"
    );
    central.assert_no_other_connection();
}

#[test]
fn a_failure_says_whether_the_bet_is_stored() {
    let begin = "client_id: 1 | dni: 30904465 | numero: 7574 | error: ";
    let central = FakeCentral::new();
    let agency = with_bet("sentinel", &central, &BET).start();
    let mut connection = central.accept();
    connection.receive();
    connection.reply(&vector("sentinel", "err"));
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let expected =
        format!("action: apuesta_enviada | result: fail | {begin}the central refused it");
    assert!(ended.line("result: fail").starts_with(&format!("{expected} | next: see ")));

    let agency = with_bet("sentinel", &central, &BET).start();
    let mut connection = central.accept();
    connection.expect(&[vector("sentinel", "id_1"), vector("sentinel", "batch_L")].concat());
    connection.close();
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(
        line.starts_with(&format!("action: apuesta_enviada | result: fail | {begin}")),
        "{line}"
    );
    assert!(line.contains("; it may or may not be stored | next: see "), "{line}");
    central.assert_no_other_connection();

    let agency = with_bet("sentinel", &central, &BET).args(["--connect-timeout", "0s"]);
    drop(central);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(1));
    let line = ended.line("result: fail");
    assert!(line.starts_with(&format!("action: connect | result: fail | {begin}")), "{line}");
    assert!(line.ends_with("; it is not stored"), "{line}");
}

#[test]
fn after_a_signal_the_bet_may_be_acknowledged_and_is_otherwise_in_doubt() {
    let central = FakeCentral::new();
    let mut agency = with_bet("sentinel", &central, &BET).start();
    let mut connection = central.accept();
    connection.expect(&[vector("sentinel", "id_1"), vector("sentinel", "batch_L")].concat());
    agency.signal(SIGTERM);
    std::thread::sleep(Duration::from_millis(300));
    assert!(agency.is_alive());
    connection.reply(&vector("sentinel", "ack"));
    let ended = agency.finish_within(PROMPT);
    assert_eq!((ended.code, ended.count("apuesta_enviada | result: success")), (Some(0), 1));

    let agency = with_bet("sentinel", &central, &BET).start();
    let mut connection = central.accept();
    connection.expect(&[vector("sentinel", "id_1"), vector("sentinel", "batch_L")].concat());
    agency.signal(SIGTERM);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(143));
    assert!(ended.line("apuesta_enviada | result: fail").contains("it may or may not be stored"));
}
