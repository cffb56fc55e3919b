//! The course's parser reads every line that a central logs, whatever its clients send.

use crate::harness::{
    AgencyConnection, Participant, Setup, bet, eventually, kill, packet_of, packet_of_records,
};
use lottery::protocol::{DIALECTS, Step};
use nix::sys::signal::Signal;

/// A line as the parser understands it.
#[derive(Debug, PartialEq)]
struct Parsed {
    action: String,
    result: String,
    details: Vec<(String, String)>,
}

/// Parses a line as the course's tests do. They split the output of `docker compose logs` at `|`:
/// the first part is the source, the second ends with the action, the third with the result. Each
/// further part has a name and, after its last colon, a value.
fn parse(line: &str) -> Result<Parsed, String> {
    let shown = format!("server  | {line}");
    let parts: Vec<_> = shown.split('|').map(str::trim).collect();
    let pair = |part: &str| {
        let (name, value) =
            part.rsplit_once(':').ok_or_else(|| format!("no colon in {part:?} of {line:?}"))?;
        Ok::<_, String>((name.trim().to_owned(), value.trim().to_owned()))
    };
    let [_, action, result, details @ ..] = parts.as_slice() else {
        return Err(format!("fewer than three parts: {line:?}"));
    };
    let (result, action) = (pair(result)?.1, pair(action)?.1);
    if !["success", "fail", "in_progress"].contains(&result.as_str()) {
        return Err(format!("result {result:?} in {line:?}"));
    }
    let details = details.iter().map(|part| pair(part)).collect::<Result<Vec<_>, _>>()?;
    if details.iter().any(|(name, _)| ["source", "action", "result"].contains(&name.as_str())) {
        return Err(format!("a forbidden name in {line:?}"));
    }
    Ok(Parsed { action, result, details })
}

/// Returns true if a line begins with date, time and a level padded to eight, as the course's
/// programs write them.
fn has_envelope(line: &str) -> bool {
    let shape: String =
        line.chars().take(20).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let level = line.get(20..29).unwrap_or_default();
    shape == "0000-00-00 00:00:00 "
        && ["DEBUG    ", "INFO     ", "WARNING  ", "ERROR    "].contains(&level)
        && line[29..].starts_with("action: ")
}

/// Returns bad requests whose text appears in the log.
fn hostile() -> Vec<Vec<u8>> {
    let record = |text: &str| packet_of_records(&[text]);
    vec![
        record("A|B;C;1;1999|action: x | result: success"),
        record("A;B;1;1999-03-17;7|5"),
        record("A;B;1;source: x"),
        record("A;B;1;\u{1b}[31m\r\n2026-01-01 00:00:00 INFO     action: config | result: success"),
        record("A;B;1;\u{2028}\u{85}|"),
        record("A;B;1;1999-03-17;\u{1f3b2}:|:"),
        record("|;|"),
        record("A\nB;B;1;1999-03-17"),
        vec![0, 0, 0],
        vec![7],
        vec![0, 0],
    ]
}

#[test]
fn the_parser_of_the_course_reads_everything_that_a_busy_central_logs() {
    // The log contains the name of the directory too.
    let setup = Setup::new().with("SERVER_STORAGE_DIR", "./a|b: c\u{1b}");
    let central = setup.start();
    for (number, bytes) in hostile().into_iter().enumerate() {
        let mut agency = central.connect();
        agency.send(&bytes);
        agency.end_sending();
        assert!(agency.read_until_gone().is_empty(), "a reply to {bytes:?}");
        central.request(&packet_of(&number.to_string(), 2, 1));
        central.results();
    }
    let mut begun = central.connect();
    begun.send(&[0]);
    eventually("in flight", || central.results().in_flight, |count| *count == 1);
    AgencyConnection::reset(begun);
    central.none_in_flight_within_a_second();
    central.program.signal(Signal::SIGUSR2);
    central.program.line_with("action: signal");
    let killed = central.worker_pids()[0];
    kill(killed, Signal::SIGKILL);
    eventually("another worker", || central.worker_pids()[0], |pid| *pid != killed);
    central.program.signal(Signal::SIGHUP);
    central.program.line_with("action: reload | result: success");
    let log = central.stop_and_read_log();

    for line in &log {
        assert!(has_envelope(line), "{line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    let parsed: Vec<_> = log.iter().map(|line| parse(line).unwrap()).collect();
    let count = |action: &str, result: &str| {
        parsed.iter().filter(|line| line.action == action && line.result == result).count()
    };
    let hostile = hostile().len();
    assert_eq!(count("config", "success"), 1);
    assert_eq!(count("listen", "success"), 1);
    // One more for the reset.
    assert_eq!(count("receive_message", "fail"), hostile + 1);
    assert_eq!(count("apuesta_recibida", "success"), hostile);
    assert!(count("consulta_ganadores", "success") >= hostile);
    assert!(count("accept_connections", "success") > 3 * hostile);
    assert_eq!(count("worker", "fail"), 1);
    assert_eq!(count("signal", "fail"), 1);
    assert_eq!((count("shutdown", "in_progress"), count("exit", "success")), (1, 1));
    // The course's tests fail at the first line of this action that is not a success.
    assert_eq!(parsed.iter().filter(|line| line.action == "exit").count(), 1);
    assert_eq!(parsed.last().unwrap().action, "exit");
    let stored = parsed.iter().filter(|line| line.action == "apuesta_recibida");
    assert!(
        stored.into_iter().all(|line| line.details == [("cantidad".to_owned(), "2".to_owned())])
    );
}

#[test]
fn the_parser_of_the_course_reads_the_log_of_every_dialect_and_of_the_draw() {
    let list: Vec<_> = DIALECTS.iter().map(|dialect| format!("{}:0", dialect.name)).collect();
    let setup = Setup::new().with("SERVER_PROTOCOL", &list.join(",")).with("SERVER_AGENCIES", "1");
    let central = setup.start();
    for dialect in DIALECTS {
        let port = central.port_of(dialect.name);
        for rule in (dialect.rules)() {
            let mut agency = AgencyConnection::open(port);
            for step in rule.steps {
                if let Step::Send(bytes) = step {
                    agency.try_send(&bytes);
                }
            }
            agency.end_sending();
            agency.read_until_gone();
        }
        let mut hostile = AgencyConnection::open(port);
        hostile.try_send("\u{3}\u{9d}a|b: c\u{1b}[31m | result: x\n".as_bytes());
        hostile.end_sending();
        hostile.read_until_gone();
    }
    let mut single = Participant::connect(central.port_of("framed"), "framed", 1);
    single.store(&[bet("30904465", true)]);
    single.finish();
    assert_eq!(single.winners().0, 1);
    let mut late = Participant::connect(central.port_of("sentinel"), "sentinel", 2);
    late.store(&[bet("30904466", true)]);
    let log = central.stop_and_read_log();

    let parsed: Vec<_> = log.iter().map(|line| parse(line).unwrap()).collect();
    let details = |action: &str, result: &str| -> Vec<_> {
        let lines = parsed.iter().filter(|line| line.action == action && line.result == result);
        lines.map(|line| line.details.clone()).collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(details("listen", "success").len(), DIALECTS.len());
    assert_eq!(details("sorteo", "success"), [vec![]]);
    let single = [pair("dni", "30904465"), pair("numero", "7574")];
    assert!(details("apuesta_almacenada", "success").contains(&single.to_vec()));
    assert_eq!(details("apuesta_recibida", "fail").last(), Some(&vec![pair("cantidad", "1")]));
    assert!(log.iter().all(|line| has_envelope(line)), "{log:#?}");
}

#[test]
fn a_query_while_a_batch_is_in_flight_is_logged_as_in_progress() {
    let setup = Setup::new();
    let central = setup.start();
    central.request(&packet_of("a", 3, 2));
    central.results();
    let total = central.program.line_with("action: consulta_ganadores | result: success");
    assert_eq!(
        parse(&total).unwrap().details.last(),
        Some(&("cant_ganadores".to_owned(), "2".to_owned()))
    );
    let mut begun = central.connect();
    begun.send(&[0]);
    eventually("in flight", || central.results().in_flight, |count| *count == 1);
    let partial = central.program.line_with("action: consulta_ganadores | result: in_progress");
    let expected = [("agencias_en_proceso", "1"), ("cant_ganadores", "2")];
    assert_eq!(
        parse(&partial).unwrap().details,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}
