//! The commands `status`, `health` and `ipcs`, with and without a running central.

use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::harness::{
    AgencyConnection, CentralProcess, Program, Setup, eventually, eventually_within, kill,
    packet_of, reserve_port,
};
use nix::sys::signal::Signal;
use nix::unistd::{User, getuid};
use serde_json::Value;

fn setup() -> Setup {
    Setup::new()
}

fn ask(setup: &Setup, what: &str, port: u16) -> Output {
    setup.run(&[what, "--port", &port.to_string()])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Returns the exit code of `loteria-central health` and its output.
fn health(setup: &Setup, port: u16) -> (i32, String) {
    let output = ask(setup, "health", port);
    (output.status.code().unwrap(), text(&output.stderr))
}

/// Sends one request of each kind, and begins a batch that stays in flight until the returned
/// connection closes.
fn busy(central: &CentralProcess<'_>) -> AgencyConnection {
    central.request(&packet_of("a", 3, 2));
    central.request(&packet_of("b", 4, 0));
    central.request(&[9]);
    let mut agency = central.connect();
    agency.send(&[0]);
    eventually("in flight", || central.number("agencies_in_flight"), |count| *count == 1);
    central.results();
    agency
}

#[test]
fn without_a_central_status_and_health_fail_with_one_line_and_ipcs_lists_nothing() {
    let setup = setup();
    let taken = reserve_port();
    let port = taken.local_addr().unwrap().port();
    for what in ["status", "health"] {
        let output = ask(&setup, what, port);
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(1), String::new()),
            "{what}"
        );
        let said = text(&output.stderr);
        let expected =
            format!("action: {what} | result: fail | error: no central runs on port {port}");
        assert!(said.lines().count() == 1 && said.contains(&expected), "{said}");
    }
    let table = text(&ask(&setup, "ipcs", port).stdout);
    assert!(
        table.contains("POSIX Shared Memory Segments")
            && !table.contains(&format!("lottery.{port} "))
    );
}

#[test]
fn the_status_has_the_times_of_commits_per_phase() {
    let setup = setup();
    let central = setup.start();
    let _agency = busy(&central);
    let status = central.status();
    let latency = status["latency"].as_array().unwrap();
    let phases: Vec<_> = latency.iter().map(|it| it["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["commit", "sync", "publish"]);
    // Each batch was in a round of its own, because its reply was awaited.
    assert_eq!((&latency[0]["count"], &latency[2]["count"]), (&2.into(), &2.into()));
    for phase in [&latency[0], &latency[2]] {
        assert!(phase["p50_us"].as_u64().unwrap() <= phase["p99_us"].as_u64().unwrap());
    }
}

#[test]
fn the_status_has_every_field_with_its_value() {
    let setup = setup();
    let central = setup.start();
    let _agency = busy(&central);
    let status = central.status();
    let pids = central.worker_pids();
    let expected = [
        ("port", Value::from(central.port)),
        ("phase", "serving".into()),
        ("generation", 1.into()),
        ("supervisor_pid", central.program.pid().into()),
        ("winners", 2.into()),
        ("bets", 7.into()),
        ("agencies_in_flight", 1.into()),
        ("agencies_finished", 0.into()),
        ("agencies_expected", 5.into()),
        ("awaits_confirmation", false.into()),
        ("drawn", false.into()),
        ("waiting", 0.into()),
        ("worker_deaths", 0.into()),
        ("lock_recoveries", 0.into()),
        ("storage_failed", false.into()),
        ("unhealthy", Value::Array(vec![])),
    ];
    for (field, value) in &expected {
        assert_eq!(&status[field], value, "{field}");
    }
    assert!(status["uptime_seconds"].as_u64().unwrap() < 60);
    assert_eq!(status.as_object().unwrap().len(), expected.len() + 4, "{status}");
    assert!(status["supervisor_heartbeat_age_ms"].as_u64().unwrap() < 10_000, "{status}");
    let workers = status["workers"].as_array().unwrap();
    let sum =
        |field: &str| workers.iter().map(|worker| worker[field].as_u64().unwrap()).sum::<u64>();
    for (field, total) in [
        ("restarts", 0),
        ("connections", 1),
        ("waiting", 0),
        ("in_flight", 1),
        ("batches", 2),
        ("bets", 7),
        ("queries", 1),
        ("refused", 1),
    ] {
        assert_eq!(sum(field), total, "{field} of {status}");
    }
    for (slot, worker) in workers.iter().enumerate() {
        assert_eq!((&worker["slot"], &worker["state"]), (&slot.into(), &"ready".into()));
        assert_eq!((&worker["pid"], &worker["generation"]), (&pids[slot].into(), &1.into()));
        assert!(worker["uptime_seconds"].as_u64().unwrap() < 60);
        assert!(worker["heartbeat_age_ms"].as_u64().unwrap() < 10_000, "{worker}");
        assert_eq!(worker.as_object().unwrap().len(), 14, "{worker}");
    }
    let table = text(&ask(&setup, "status", central.port).stdout);
    for part in ["serving", "winners 2, bets 7, agencies in flight 1", "ready", "refused"] {
        assert!(table.contains(part), "no {part:?} in {table}");
    }
}

#[test]
fn status_with_watch_prints_each_change_and_ends_with_the_central() {
    let setup = setup();
    let central = setup.start();
    let port = central.port.to_string();
    let mut watching =
        Program::start(&mut setup.command(&["status", "--json", "--watch", "--port", &port]));
    watching.line_with("\"winners\":0,");
    central.request(&packet_of("a", 1, 1));
    watching.line_with("\"winners\":1,");
    assert_eq!(central.stop().0, 0);
    assert_eq!(watching.exit_code(), 1);
    watching.line_with("error: no central runs on port");
}

/// Returns the words of the lines about one segment: its own line, and one per object.
fn segment(table: &str, port: u16) -> Vec<Vec<&str>> {
    let mut lines =
        table.lines().skip_while(|line| !line.starts_with(&format!("/lottery.{port} ")));
    let own = lines.next().unwrap_or_else(|| panic!("no segment of {port} in {table}"));
    let objects = lines.take_while(|line| line.starts_with("    "));
    std::iter::once(own).chain(objects).map(|line| line.split_whitespace().collect()).collect()
}

/// What `ipcs` prints for an array with these values for two workers. They have ten slots, of which
/// reloads use the others.
const NONE: &str = "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]";
const ONES: &str = "[1, 1, 0, 0, 0, 0, 0, 0, 0, 0]";
const TWOS: &str = "[2, 2, 0, 0, 0, 0, 0, 0, 0, 0]";

/// Returns what `ipcs` prints for an array with these values for two workers.
fn used(first: u32, second: u32) -> String {
    format!("[{first}, {second}{}]", ", 0".repeat(8))
}

/// An object of the segment: name, kind, type of its elements, length, and its value if that is
/// known.
type Object<'a> = (&'a str, &'a str, &'a str, &'a str, Option<&'a str>);

/// Returns the objects of the segment of a [`busy`] central with two workers.
fn objects<'a>(port: &'a str, pids: &'a str) -> Vec<Object<'a>> {
    vec![
        ("ledger", "Value", "u64", "11", None),
        ("sync", "Lock", "u8", "0", Some("free")),
        ("durable", "RawValue", "u64", "1", Some("0")),
        ("storage_failed", "RawValue", "u8", "1", Some("0")),
        ("disk_refused", "RawValue", "u32", "1", Some("0")),
        ("winners", "Value", "u64", "1", Some("2")),
        ("bets", "RawValue", "u64", "1", Some("7")),
        ("finished", "RawValue", "u32", "1", Some("0")),
        ("expected", "RawValue", "u32", "1", Some("5")),
        ("finished_agencies", "RawArray", "u64", "1024", None),
        ("roster_agencies", "RawArray", "u64", "1024", None),
        ("draw_owner", "RawValue", "u32", "1", Some("0")),
        ("needs_confirmation", "RawValue", "u8", "1", Some("0")),
        ("confirmed", "RawValue", "u8", "1", Some("0")),
        ("reopened", "RawValue", "u32", "1", Some("0")),
        ("operator", "Lock", "u8", "0", Some("free")),
        ("command", "RawValue", "u64", "1", Some("0")),
        ("answer", "RawValue", "u64", "1", Some("0")),
        ("drawn", "RawValue", "u8", "1", Some("0")),
        ("draw_failures", "RawValue", "u32", "1", Some("0")),
        ("processing", "RawArray", "u8", "10", None),
        ("in_flight", "RawArray", "u16", "10", None),
        ("workers", "RawValue", "u32", "1", Some("2")),
        ("generation", "RawValue", "u32", "1", Some("1")),
        ("port", "RawValue", "u16", "1", Some(port)),
        ("listen_ports", "RawArray", "u16", "1", Some(port)),
        ("listen_ips", "RawArray", "u64", "2", Some("[0, 281472812449793]")),
        ("phase", "RawValue", "u8", "1", Some("1")),
        ("supervisor_heartbeat_ms", "RawValue", "u64", "1", None),
        ("deaths", "RawValue", "u64", "1", Some("0")),
        ("last_death_ms", "RawValue", "u64", "1", Some("0")),
        ("worker_generation", "RawArray", "u32", "10", Some(ONES)),
        ("worker_pid", "RawArray", "u32", "10", Some(pids)),
        ("worker_state", "RawArray", "u8", "10", Some(TWOS)),
        ("worker_started_ms", "RawArray", "u64", "10", None),
        ("worker_restarts", "RawArray", "u32", "10", Some(NONE)),
        ("worker_heartbeat_ms", "RawArray", "u64", "10", None),
        ("worker_on_disk", "RawArray", "u8", "10", Some(NONE)),
        ("worker_awaits_sync", "RawArray", "u8", "10", Some(NONE)),
        ("worker_full", "RawArray", "u8", "10", Some(NONE)),
        ("worker_connections", "RawArray", "u32", "10", None),
        ("worker_waiting", "RawArray", "u32", "10", Some(NONE)),
        ("worker_batches", "RawArray", "u64", "10", None),
        ("worker_bets", "RawArray", "u64", "10", None),
        ("worker_large", "RawArray", "u64", "10", Some(NONE)),
        ("row_bets", "RawArray", "u64", "11", None),
        ("row_winners", "RawArray", "u64", "11", None),
        ("worker_without_engine", "RawArray", "u8", "10", Some(NONE)),
        ("worker_queries", "RawArray", "u64", "10", None),
        ("worker_refused", "RawArray", "u64", "10", None),
        ("worker_latency", "RawArray", "u64", "1350", None),
        ("death_reasons", "RawArray", "u64", "7", None),
    ]
}

#[test]
fn ipcs_with_a_port_lists_only_the_segment_of_that_central() {
    let (setup, other) = (setup(), setup());
    let (central, second) = (setup.start(), other.start());
    let segments = |arguments: &[&str]| -> Vec<String> {
        let table = text(&setup.run(arguments).stdout);
        let names = table.lines().filter_map(|line| line.split(' ').next());
        names.filter(|name| name.starts_with("/lottery.")).map(str::to_owned).collect()
    };
    let [name, other_name] =
        [&central, &second].map(|central| format!("/lottery.{}", central.port));
    assert_eq!(segments(&["ipcs", "--port", &central.port.to_string()]), [name.as_str()]);
    let all = segments(&["ipcs"]);
    assert!(all.contains(&name) && all.contains(&other_name), "without a port: {all:?}");
}

#[test]
fn ipcs_lists_the_segment_and_every_object_in_it_with_its_value() {
    let setup = setup();
    let central = setup.start();
    let _agency = busy(&central);
    let name = format!("/lottery.{}", central.port);
    let user = User::from_uid(getuid()).unwrap().map_or(getuid().to_string(), |user| user.name);
    let bytes = fs::metadata(format!("/dev/shm{name}")).unwrap().len().to_string();
    let creator = format!("{})", central.program.pid());
    // The supervisor and two workers are attached. A parallel test that lists the segments of this
    // machine is attached too for a moment.
    let expected = [&name, &user, "600", &bytes, "3", "alive", "(creator", &creator];
    let listed = || text(&ask(&setup, "ipcs", central.port).stdout);
    let table = eventually("the segment's line", listed, |table| {
        segment(table, central.port)[0] == expected
    });
    let lines = segment(&table, central.port);
    assert_eq!(lines[1], ["object", "kind", "type", "length", "value"]);
    let pids = central.worker_pids();
    let pids = used(pids[0], pids[1]);
    let port = central.port.to_string();
    let objects = objects(&port, &pids);
    assert_eq!(lines.len() - 2, objects.len(), "{table}");
    for ((object, kind, element, length, value), line) in objects.into_iter().zip(&lines[2..]) {
        assert_eq!(line[..4], [object, kind, element, length], "{table}");
        assert!(
            value.is_none_or(|value| line[4..].join(" ") == value),
            "{object} is not {value:?} in {table}"
        );
    }
    let array = |name| lines.iter().find(|line| line[0] == name).unwrap()[4..].join(" ");
    let (processing, in_flight) = (array("processing"), array("in_flight"));
    assert!([used(0, 1), used(1, 0)].contains(&processing), "{processing}");
    assert_eq!(in_flight, processing, "one batch is in flight");
}

#[test]
fn the_central_is_healthy_only_once_every_worker_accepts() {
    const WORKERS: u64 = 64;
    let mut setup = setup().with("SERVER_WORKERS", &WORKERS.to_string());
    let port = setup.keep_port();
    let mut program = Program::start(&mut setup.command(&["run"]));
    let patience = Duration::from_secs(20);
    let (_, said) =
        eventually_within(patience, "health", || health(&setup, port), |(code, _)| *code == 0);
    assert!(
        said.contains(&format!("action: health | result: success | workers: {WORKERS}")),
        "{said}"
    );
    let status: Value = serde_json::from_slice(
        &setup.run(&["status", "--json", "--port", &port.to_string()]).stdout,
    )
    .unwrap();
    let workers = status["workers"].as_array().unwrap();
    assert_eq!(workers.len() as u64, WORKERS);
    assert!(workers.iter().all(|worker| worker["state"] == "ready"), "{status}");
    program.line_with("action: listen | result: success");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.exit_code(), 0);
    assert_eq!(health(&setup, port).0, 1);
}

#[test]
fn the_central_is_not_healthy_while_a_worker_is_missing() {
    // After this many crashes in a row the next worker starts a third of a second later. One more
    // crash would stop the central.
    const CRASHES: usize = 7;
    let setup = setup();
    let central = setup.start();
    let healthy = |central: &CentralProcess<'_>| health(&setup, central.port).0 == 0;
    assert!(healthy(&central));
    let mut last = 0;
    for _ in 0..CRASHES {
        eventually("all workers again", || healthy(&central), |healthy| *healthy);
        let pid = eventually("another worker", || central.worker_pids()[0], |pid| *pid != last);
        assert!(kill(pid, Signal::SIGALRM));
        last = pid;
    }
    let killed = Instant::now();
    let (_, said) =
        eventually("not healthy", || health(&setup, central.port), |(code, _)| *code == 1);
    assert!(
        said.contains("error: 1 of 2 workers accept"),
        "{said}, {:?} after the last",
        killed.elapsed()
    );
    eventually("healthy again", || healthy(&central), |healthy| *healthy);
    assert_eq!(central.number("worker_deaths"), CRASHES as u64);
}

#[test]
fn a_central_that_is_stopping_is_no_longer_healthy() {
    let setup = setup().with("SERVER_GRACE", "5s");
    let mut central = setup.start();
    let mut agency = central.connect();
    let batch = packet_of("last", 10, 1);
    agency.send(&batch[..20]);
    eventually("in flight", || central.results().in_flight, |count| *count == 1);
    central.program.signal(Signal::SIGTERM);
    eventually("draining", || central.status()["phase"].clone(), |phase| phase == "draining");
    let (code, said) = health(&setup, central.port);
    assert!(code == 1 && said.contains("error: the central is stopping"), "{code}, {said}");
    agency.send(&batch[20..]);
    assert_eq!(agency.read_to_end()[..2], [0, 1]);
    assert_eq!(central.program.exit_code(), 0);
}
