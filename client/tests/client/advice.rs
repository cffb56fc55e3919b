//! The way out that a failed run names: another dialect on the port, a draw that was held, a
//! mistyped setting.

use lottery::protocol::Dialect;

use crate::check::dialect;
use crate::support::{FakeCentral, ROW_L, Setup, THREE_ROWS, start_fake_server};

/// Runs an agency of one dialect against a server of another. Returns its failure.
fn misunderstood(spoken: &str, served: &'static Dialect) -> String {
    let server = start_fake_server(served, &[]);
    let setup = Setup::speaking(spoken, server, ROW_L).args(["--reply-timeout", "1s"]);
    let ended = setup.finish();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.assert_log_parses();
    ended.line("result: fail").to_owned()
}

#[test]
fn a_central_of_another_dialect_is_named_as_the_likely_reason() {
    for (spoken, served) in [
        ("counted", "counted-u8"),
        ("counted-u8", "counted"),
        ("typed", "framed"),
        ("framed", "line"),
        ("sentinel", "typed"),
    ] {
        let line = misunderstood(spoken, dialect(served));
        let advice = format!(
            "| next: see the central's log for the reason; make sure that it speaks {spoken} \
             (SERVER_PROTOCOL there, protocol here); after its draw it accepts bets only in another"
        );
        assert!(line.contains(&advice), "{spoken}, {served}: {line}");
    }
    let line = misunderstood("echo", dialect("framed"));
    assert!(line.ends_with("speaks echo (SERVER_PROTOCOL there, protocol here)"), "{line}");
}

#[test]
fn a_batch_that_is_refused_after_the_draw_names_the_draw() {
    let framed = start_fake_server(dialect("framed"), &[]);
    let address = framed.to_string();
    let check = ["check", "--protocol", "framed", &address];
    assert_eq!(Setup::new().args(check).finish().code, Some(0));
    let ended = Setup::speaking("framed", framed, ROW_L).finish();
    let line = ended.line("apuesta_enviada | result: fail");
    assert!(line.contains("the central refused rows 1-1"), "{line}");
    assert!(line.contains("after its draw it accepts bets only in another storage"), "{line}");
}

#[test]
fn a_batch_that_is_lost_after_acknowledged_ones_gets_no_advice() {
    let central = FakeCentral::new();
    let agency =
        Setup::agency(central.address(), THREE_ROWS).args(["--batch-max-amount", "1"]).start();
    central.accept_batch();
    let mut connection = central.accept();
    connection.read_batch();
    connection.close();
    assert_eq!(agency.finish().count("next: "), 0);
}

#[test]
fn a_mistyped_dialect_or_level_is_named_with_the_right_one() {
    for (flag, value, suggestion) in [
        ("--protocol", "framd", "did you mean framed? expected one of typed, "),
        ("--protocol", "counted_u8", "did you mean counted-u8? "),
        ("--log-level", "DEBUGG", "did you mean DEBUG? expected DEBUG, INFO, "),
        ("--connection", "per_request", "did you mean per-request? "),
    ] {
        let ended = Setup::new().args(["--id", "1", flag, value]).finish();
        assert_eq!((ended.code, ended.lines.len()), (Some(2), 0));
        assert!(ended.errors.contains(&format!("is not accepted: {suggestion}")), "{ended:?}");
    }
    let check = ["check", "--protocol", "framd", "h:1"];
    let errors = Setup::new().args(check).finish().errors;
    assert!(errors.contains("did you mean framed? expected one of typed, "), "{errors}");
}

#[test]
fn a_key_of_another_edition_of_the_file_is_named_with_the_known_ones() {
    for (file, suggestion) in [
        (
            "loop:\n  lapse: 20s\n  period: 5s\n",
            "\"loop.lapse\" = \"20s\" (config.yaml:2): did you mean loop.amount? ",
        ),
        (
            "batch:\n  size: 10\n",
            "\"batch.size\" = \"10\" (config.yaml:2): did you mean batch.maxAmount? ",
        ),
        ("loop:\n  lapse: 20s\n", "did you mean loop.amount or loop.period? "),
    ] {
        let ended = Setup::new().file("config.yaml", file).args(["--id", "1"]).finish();
        assert_eq!(ended.code, Some(2));
        assert!(ended.errors.contains(suggestion), "{ended:?}");
    }
}

#[test]
fn a_mistyped_variable_of_the_environment_is_a_warning() {
    let central = FakeCentral::new();
    let agency = Setup::agency(central.address(), "").env("CLI_PROTOCL", "framed").start();
    central.answer_total(0);
    let ended = agency.finish();
    assert_eq!(ended.code, Some(0));
    assert_eq!(
        ended.line("action: config | result: fail"),
        "action: config | result: fail | error: the environment variable CLI_PROTOCL is not a setting \
         | next: ignore it; did you mean CLI_PROTOCOL?"
    );
}
