//! What `loteria-central health` answers: 0 if a batch would be served now, and otherwise the
//! reason.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{
    AgencyConnection, CentralProcess, Participant, Setup, StoppedProcess, can_mount, draw_dialects,
    eventually, eventually_within, large_packet, packet_of,
};
use lottery::Results;
use lottery::protocol::Dialect;
use nix::sys::signal::Signal;
use nix::unistd::gettid;

/// How long the command may take at most: its own two seconds, on a busy machine.
const QUICK: Duration = Duration::from_secs(5);

/// Runs `loteria-central health` with these arguments. Returns the exit code and the reason.
fn ask(setup: &Setup, port: u16, arguments: &[&str]) -> (i32, String) {
    let start = Instant::now();
    let port = port.to_string();
    let output = setup.run(&[&["health", "--port", &port], arguments].concat());
    assert!(start.elapsed() < QUICK, "health took {:?}", start.elapsed());
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn is_healthy(setup: &Setup, central: &CentralProcess<'_>) -> bool {
    ask(setup, central.port, &[]).0 == 0
}

/// Waits until the central is not healthy for this reason, which its status shows as well.
fn unhealthy_because(setup: &Setup, central: &CentralProcess<'_>, reason: &str) {
    let said = |(code, said): &(i32, String)| *code == 1 && said.contains(reason);
    eventually("not healthy", || ask(setup, central.port, &[]), said);
    let status = central.status();
    let reasons = status["unhealthy"].as_array().unwrap();
    let named = |text: &serde_json::Value| text.as_str().unwrap().contains(reason);
    assert!(reasons.iter().any(named), "{status}");
    let port = central.port.to_string();
    let table = String::from_utf8(setup.run(&["status", "--port", &port]).stdout).unwrap();
    assert!(table.contains("NOT HEALTHY: ") && table.contains(reason), "{table}");
}

#[test]
fn the_round_trip_works_in_every_dialect_and_leaves_no_trace() {
    let list: Vec<_> = Dialect::NAMES.iter().map(|name| format!("{name}:0")).collect();
    let setup = Setup::new().with("SERVER_PROTOCOL", &list.join(",")).with("LOGGING_LEVEL", "INFO");
    let central = setup.start();
    let (status, lines) = (central.status(), central.program.lines().len());
    for _ in 0..20 {
        let (code, said) = ask(&setup, central.port, &["--protocol", "typed"]);
        assert_eq!((code, said.lines().count()), (0, 1), "{said}");
        assert!(said.contains("action: health | result: success | workers: 2"), "{said}");
    }
    let counters = ["batches", "bets", "queries", "refused", "in_flight", "waiting"];
    let now = central.status();
    for (before, now) in
        status["workers"].as_array().unwrap().iter().zip(now["workers"].as_array().unwrap())
    {
        counters.iter().for_each(|counter| assert_eq!(before[counter], now[counter], "{counter}"));
    }
    eventually("no connection left", || central.connections(), |count| *count == 0);
    assert_eq!(central.program.lines().len(), lines, "{:?}", central.program.lines());
    assert_eq!(setup.rows().len(), 0);
}

#[test]
fn a_central_whose_workers_do_not_answer_is_not_healthy() {
    let setup = Setup::new();
    let central = setup.start();
    let stopped: Vec<_> = central.worker_pids().into_iter().map(StoppedProcess::new).collect();
    let (code, said) = ask(&setup, central.port, &[]);
    assert_eq!(code, 1);
    let reason = format!("no worker answers on 127.0.0.1:{} within 2s", central.port);
    assert!(said.contains(&reason), "{said}");
    drop(stopped);
    eventually("healthy again", || is_healthy(&setup, &central), |healthy| *healthy);
}

#[test]
fn a_central_that_is_stopped_as_a_whole_is_neither_healthy_nor_live_and_health_does_not_hang() {
    let setup = Setup::new();
    let central = setup.start();
    assert_eq!(ask(&setup, central.port, &["--live"]).0, 0);
    let supervisor = StoppedProcess::new(central.program.pid());
    let workers: Vec<_> = central.worker_pids().into_iter().map(StoppedProcess::new).collect();
    assert_eq!(ask(&setup, central.port, &[]).0, 1);
    // Live at first: it may be continued in a moment.
    assert_eq!(ask(&setup, central.port, &["--live"]).0, 0);
    let start = Instant::now();
    let (_, said) = loop {
        let answer = ask(&setup, central.port, &["--live"]);
        if answer.0 == 1 {
            break answer;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "live for {:?}", start.elapsed());
        sleep(Duration::from_millis(200));
    };
    assert!(said.contains("has shown no heartbeat for "), "{said}");
    drop((supervisor, workers));
    eventually("live again", || ask(&setup, central.port, &["--live"]).0, |code| *code == 0);
    eventually("healthy again", || is_healthy(&setup, &central), |healthy| *healthy);
}

#[test]
fn a_stopped_supervisor_is_named() {
    let setup = Setup::new();
    let central = setup.start();
    let stopped = StoppedProcess::new(central.program.pid());
    unhealthy_because(&setup, &central, "the supervisor (pid ");
    // The workers serve on.
    assert!(central.request(&packet_of("a", 1, 1)).len() > 2);
    drop(stopped);
    eventually("healthy again", || is_healthy(&setup, &central), |healthy| *healthy);
}

#[test]
fn a_central_without_place_for_another_connection_is_not_healthy() {
    let setup = Setup::new().with("SERVER_REQUEST_TIMEOUT", "60s");
    let script = "ulimit -n 40 && exec \"$0\" run";
    let central = setup.start_by(&mut setup.shell(&[], script));
    assert!(is_healthy(&setup, &central));
    let crowd: Vec<_> = (0..120).map(|_| central.connect()).collect();
    unhealthy_because(&setup, &central, "no place left: ");
    // A restart would not help.
    assert_eq!(ask(&setup, central.port, &["--live"]).0, 0);
    drop(crowd);
    eventually("healthy again", || is_healthy(&setup, &central), |healthy| *healthy);
}

#[test]
fn a_central_whose_disk_refuses_batches_is_healthy_again_once_there_is_room_without_a_batch() {
    if !can_mount() {
        return;
    }
    let setup = Setup::new();
    let central = setup.start_on_small_disk("head -c 2097152 /dev/zero > storage/filler &&");
    assert!(is_healthy(&setup, &central));
    let stores =
        |number: &usize| central.request(&large_packet(&number.to_string(), 20_000, 1)).len() > 2;
    let stored = (0..100).take_while(stores).count();
    let small = (0..2000).take_while(|number| {
        central.request(&packet_of(&format!("small{number}"), 100, 0)).len() > 1
    });
    println!("{stored} large and {} small batches stored", small.count());
    unhealthy_because(&setup, &central, "the disk refuses batches: No space left on device");
    assert_eq!(ask(&setup, central.port, &["--live"]).0, 0);
    let rows = fs::read(central.inside(&setup.stored("bets.csv"))).unwrap();

    fs::remove_file(central.inside(&setup.stored("filler"))).unwrap();
    eventually("healthy again", || is_healthy(&setup, &central), |healthy| *healthy);
    assert!(
        fs::read(central.inside(&setup.stored("bets.csv"))).unwrap() == rows,
        "finding that out stored something"
    );
    assert!(stores(&1000));
    assert_eq!(central.number("worker_deaths"), 0);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_central_whose_draw_keeps_failing_is_not_healthy() {
    for dialect in draw_dialects() {
        let setup = Setup::new().with("SERVER_PROTOCOL", dialect).with("SERVER_AGENCIES", "1");
        let central = setup.start();
        // A directory with this name cannot be replaced by the file.
        fs::create_dir(setup.stored("draw.csv.new")).unwrap();
        let mut agency = Participant::connect(central.port, dialect, 1);
        agency.finish();
        let reason = "the draw has failed ";
        let said = |(code, said): &(i32, String)| *code == 1 && said.contains(reason);
        let ask = || ask(&setup, central.port, &["--protocol", dialect]);
        eventually("not healthy", ask, said);
        fs::remove_dir(setup.stored("draw.csv.new")).unwrap();
        eventually("healthy again", ask, |(code, _)| *code == 0);
        assert_eq!(central.stop().0, 0);
    }
}

/// The time after which a request no longer waits for a lock, and what a busy machine adds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);
const LATE: Duration = Duration::from_secs(10);

#[test]
fn a_batch_that_waits_too_long_for_the_storage_lock_is_refused_and_nothing_of_it_is_stored() {
    let setup = Setup::new().with("SERVER_WORKERS", "1");
    let central = setup.start();
    let ledger = central.segment().value::<[u64; 11]>("ledger").unwrap();
    // This test holds the lock, as a stopped supervisor would.
    let guard = ledger.lock().unwrap();
    let start = Instant::now();
    let mut agency = central.connect();
    agency.send(&packet_of("refused", 2, 1));
    assert!(agency.read_until_gone().is_empty(), "refused");
    assert!(
        (LOCK_TIMEOUT..LOCK_TIMEOUT + LATE).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );
    // A test is a thread.
    let holder = format!("process {} holds it", gettid());
    let line = central.program.line_with("action: receive_message | result: fail");
    assert!(line.contains("the lock of ledger has not been free for 15") && line.contains(&holder));
    // From now on the others are refused soon, and queries are answered.
    let start = Instant::now();
    assert!(central.request(&packet_of("refused", 2, 1)).is_empty());
    assert_eq!(central.results(), Results { winners: 0, in_flight: 0 });
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());

    drop(guard);
    assert!(central.request(&packet_of("stored", 2, 1)).len() > 2);
    assert_eq!((setup.rows().len(), central.number("worker_deaths")), (2, 0));
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_stored_batch_that_cannot_be_counted_is_answered_later_and_new_ones_are_refused_meanwhile() {
    let setup = Setup::new().with("SERVER_WORKERS", "1").with("SERVER_REQUEST_TIMEOUT", "60s");
    let central = setup.start();
    let winners = central.segment().value::<u64>("winners").unwrap();
    let guard = winners.lock().unwrap();
    let mut agency = AgencyConnection::open(central.port);
    agency.send(&packet_of("stored", 2, 1));
    let given_up = || central.program.count_lines_with("action: publish | result: fail");
    eventually_within(LOCK_TIMEOUT + LATE, "the wait given up", given_up, |lines| *lines == 1);
    assert!(agency.is_quiet(), "answered before it was counted");
    assert!(central.request(&packet_of("refused", 2, 1)).is_empty());
    assert!(agency.is_quiet());
    assert_eq!(central.number("agencies_in_flight"), 1);

    drop(guard);
    assert!(agency.read_to_end().len() > 2);
    assert_eq!(central.results(), Results { winners: 1, in_flight: 0 });
    assert_eq!((setup.rows().len(), central.number("worker_deaths")), (2, 0));
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_stopping_central_is_live_and_not_healthy() {
    let setup = Setup::new().with("SERVER_GRACE", "5s");
    let mut central = setup.start();
    let mut agency = central.connect();
    agency.send(&[0]);
    eventually("in flight", || central.number("agencies_in_flight"), |count| *count == 1);
    central.program.signal(Signal::SIGTERM);
    central.program.line_with("action: shutdown | result: in_progress");
    assert_eq!(ask(&setup, central.port, &["--live"]).0, 0);
    let (code, said) = ask(&setup, central.port, &[]);
    assert!(code == 1 && said.contains("the central is stopping"), "{said}");
    drop(agency);
    assert_eq!(central.program.exit_code(), 0);
}
