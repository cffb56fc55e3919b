//! Limits of the worker pool: very many workers, workers that cannot start, a log that is closed,
//! and a log that all workers write at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::{
    AgencyConnection, BatchRecord, Load, Program, Random, Setup, eventually, packet_of,
};
use nix::sys::signal::Signal;

fn setup() -> (Setup, u16) {
    let mut setup = Setup::new();
    let port = setup.keep_port();
    (setup, port)
}

#[test]
fn two_hundred_workers_start_serve_and_stop_cleanly() {
    let (setup, port) = setup();
    let setup = setup.with("SERVER_WORKERS", "200").with("SERVER_GRACE", "8s");
    let start = Instant::now();
    let central = setup.start();
    let started = start.elapsed();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(8, port, &record, &mut random);
    eventually("acknowledged batches", || record.acknowledged(), |now| *now >= 100);
    load.stop();
    record.check(&setup, &central);
    let asked = Instant::now();
    let mut workers = central.worker_pids();
    assert!(asked.elapsed() < Duration::from_millis(500), "the status took {:?}", asked.elapsed());
    workers.sort_unstable();
    workers.dedup();
    assert_eq!(workers.len(), 200);
    assert_eq!(central.number("worker_deaths"), 0);
    let (code, stopped) = central.stop();
    println!("started in {started:?}, stopped in {stopped:?}");
    assert_eq!(code, 0);
    assert!(
        started + stopped < Duration::from_secs(10),
        "started in {started:?}, stopped in {stopped:?}"
    );
    setup.assert_nothing_left(port);
}

#[test]
fn workers_that_cannot_start_end_the_central_with_a_separate_exit_code() {
    // One descriptor too few for a worker, but enough for the supervisor. Only trying shows how
    // many that is.
    let outcome = (8..40).find_map(|descriptors| {
        let (setup, port) = setup();
        let setup = setup.with("SERVER_WORKERS", "1");
        let script = format!("ulimit -n {descriptors} && exec \"$0\" run");
        let mut central = Program::start(&mut setup.shell(&[], &script));
        let undecided = || {
            central.is_running()
                && central.count_lines_with("action: listen | result: success") == 0
        };
        eventually("a ready line or the end", undecided, |undecided| !undecided);
        if central.is_running() {
            return Some(Err(descriptors));
        }
        let code = central.exit_code();
        setup.assert_nothing_left(port);
        (code == 4).then(|| {
            central.line_with("ERROR    action: shutdown | result: fail | worker: 0 | error: ");
            Ok((central.lines(), descriptors))
        })
    });
    let (lines, descriptors) = outcome
        .unwrap()
        .unwrap_or_else(|enough| panic!("{enough} descriptors are enough for both"));
    println!("{descriptors} descriptors");
    let deaths =
        lines.iter().filter(|line| line.contains("WARNING  action: worker | result: fail")).count();
    assert_eq!(deaths, 8, "{lines:#?}");
    let last = lines.last().unwrap();
    assert!(last.contains("ERROR") && last.contains("keep dying"), "{last}");
}

#[test]
fn a_closed_standard_error_does_not_stop_the_central() {
    for closed in ["2>&-", "2>&- >&- <&-"] {
        let (setup, port) = setup();
        let mut central =
            Program::start(&mut setup.shell(&[], &format!("exec \"$0\" run {closed}")));
        eventually(
            "a listening socket",
            || AgencyConnection::try_open(port).is_ok(),
            |listens| *listens,
        );
        for number in 0..10 {
            let mut agency = AgencyConnection::open(port);
            agency.send(&packet_of(&number.to_string(), 10, 4));
            assert!(agency.read_to_end().len() > 2);
        }
        assert_eq!(AgencyConnection::open(port).results().winners, 40);
        central.signal(Signal::SIGTERM);
        assert_eq!(central.exit_code(), 0);
        assert_eq!(central.lines(), Vec::<String>::new());
        assert_eq!(setup.rows().len(), 100);
        setup.assert_nothing_left(port);
    }
}

#[test]
fn a_reader_of_the_log_that_exits_does_not_stop_the_central() {
    let (setup, port) = setup();
    // The reader takes one line and ends, so the central writes every later line into a broken
    // pipe.
    let script = "mkfifo log && (head -n 1 log >&2 &) && exec \"$0\" run 2> log";
    let mut central = Program::start(&mut setup.shell(&[], script));
    central.line_with("action: ");
    eventually(
        "a listening socket",
        || AgencyConnection::try_open(port).is_ok(),
        |listens| *listens,
    );
    for number in 0..20 {
        let mut agency = AgencyConnection::open(port);
        agency.send(&packet_of(&number.to_string(), 10, 4));
        assert!(agency.read_to_end().len() > 2);
    }
    assert_eq!(AgencyConnection::open(port).results().winners, 80);
    let status = setup.run(&["status", "--json"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("\"worker_deaths\":0,"), "{status:?}");
    central.signal(Signal::SIGTERM);
    assert_eq!(central.exit_code(), 0);
    setup.assert_nothing_left(port);
}

/// Returns what is wrong with a log line, if anything. A line has a time, a level and one message
/// of `key: value` parts.
fn flaw(line: &str) -> Option<&'static str> {
    let (time, rest) = line.split_at_checked(20)?;
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let message = ["DEBUG    ", "INFO     ", "WARNING  ", "ERROR    "]
        .iter()
        .find_map(|level| rest.strip_prefix(level));
    let Some(message) = message else { return Some("no level") };
    let mut keys = message.split(" | ").map(|part| part.split_once(": ").map(|(key, _)| key));
    match (shape.as_str(), keys.next(), keys.next()) {
        ("9999-99-99 99:99:99 ", Some(Some("action")), Some(Some("result"))) => {}
        _ => return Some("no time, action or result"),
    }
    let known = |key: Option<&str>| {
        key.is_some_and(|key| !["action", "result"].contains(&key) && !key.contains(' '))
    };
    (!keys.all(known)).then_some("a part that is no detail")
}

#[test]
fn log_lines_of_eight_workers_never_interleave() {
    let (setup, port) = setup();
    let setup = setup.with("SERVER_WORKERS", "8");
    let central = setup.start();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(8, port, &record, &mut random);
    eventually("acknowledged batches", || record.acknowledged(), |now| *now >= 400);
    load.stop();
    eventually(
        "every batch is logged",
        || central.program.count_lines_with("cantidad: "),
        |count| *count >= record.acknowledged(),
    );
    let lines = central.program.lines();
    assert!(lines.len() > 800, "{} lines", lines.len());
    for line in &lines {
        assert_eq!(flaw(line), None, "{line:?}");
        assert!(line.len() >= 20, "{line:?}");
    }
    assert_eq!(central.stop().0, 0);
}
