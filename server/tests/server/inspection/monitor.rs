//! The monitor: what it shows, and that the central does not depend on it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{
    CentralProcess, Program, Setup, StoppedProcess, eventually, eventually_within, is_alive, kill,
    monitor_program, packet_of, reserve_port, value_of,
};

/// How long a restart of the monitor may take: its first pause, and a busy machine.
const RESTART: Duration = Duration::from_secs(15);

/// Returns a free port, and the setting of a monitor on it.
fn monitor_address() -> (u16, String) {
    let port = reserve_port().local_addr().unwrap().port();
    (port, format!("127.0.0.1:{port}"))
}

/// Sends a GET. Returns the status code and the body; `None` if there is no monitor.
fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: monitor\r\nConnection: close\r\n\r\n").ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

fn until_ready(port: u16) {
    let ready = || get(port, "/readyz");
    eventually_within(RESTART, "the monitor says that the central is ready", ready, |answer| {
        matches!(answer, Some((200, _)))
    });
}

/// Returns the process id of the monitor that the central has started last.
fn monitor_pid(central: &CentralProcess) -> u32 {
    let lines = central.program.lines();
    let started = "action: monitor | result: in_progress";
    let line = lines.iter().rev().find(|line| line.contains(started)).unwrap();
    value_of(line, "pid").parse().unwrap()
}

/// Returns the value of a metric, whose name includes its labels.
fn metric(port: u16, name: &str) -> u64 {
    let (_, text) = get(port, "/metrics").unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[test]
fn the_monitor_shows_the_status_of_the_command_and_the_batches_in_its_metrics() {
    let Some(_) = monitor_program() else { return };
    let (port, address) = monitor_address();
    let setup = Setup::new().with("SERVER_MONITOR", &address);
    let central = setup.start();
    until_ready(port);
    assert_eq!(central.request(&packet_of("a", 3, 1))[..2], [0, 1]);
    eventually("no connection", || central.connections(), |count| *count == 0);
    let (code, body) = get(port, "/status.json").unwrap();
    assert_eq!(code, 200);
    let mut shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    let mut printed = central.status();
    assert_eq!(shown["bets"], 3);
    // Ages and times of two moments differ.
    for status in [&mut shown, &mut printed] {
        status["supervisor_heartbeat_age_ms"] = 0.into();
        status["uptime_seconds"] = 0.into();
        for worker in status["workers"].as_array_mut().unwrap() {
            worker["heartbeat_age_ms"] = 0.into();
            worker["uptime_seconds"] = 0.into();
        }
    }
    assert_eq!(shown, printed);
    assert_eq!(metric(port, "lottery_bets_stored_total"), 3);
    assert_eq!(metric(port, "lottery_batches_total"), 1);
    assert_eq!(metric(port, "lottery_winners"), 1);
    assert_eq!(get(port, "/livez").unwrap(), (200, "ok\n".to_owned()));
}

#[test]
fn counters_of_the_metrics_never_decrease_when_workers_are_killed() {
    let Some(_) = monitor_program() else { return };
    let (port, address) = monitor_address();
    let setup = Setup::new().with("SERVER_MONITOR", &address).with("SERVER_WORKERS", "1");
    let central = setup.start();
    until_ready(port);
    let mut before = counters(port);
    for death in 1..=3 {
        assert_eq!(central.request(&packet_of(&death.to_string(), 2, 0)), [0, 0]);
        let pid = central.worker_pids()[0];
        kill(pid, Signal::SIGKILL);
        central.replaced_within_a_second(0, pid);
        let after = counters(port);
        for ((name, earlier), (same, later)) in before.iter().zip(&after) {
            assert!(name == same && later >= earlier, "{name} {earlier}, then {same} {later}");
        }
        assert_eq!(metric(port, "lottery_batches_total"), death);
        before = after;
    }
}

/// Returns every sample of a counter, in order.
fn counters(port: u16) -> Vec<(String, f64)> {
    let (_, text) = get(port, "/metrics").unwrap();
    let is_counter = |line: &&str| {
        let name = line.split(['{', ' ']).next().unwrap();
        ["_total", "_bucket", "_count", "_sum"].iter().any(|suffix| name.ends_with(suffix))
    };
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter(is_counter);
    let samples = samples.map(|line| line.rsplit_once(' ').unwrap());
    let counters: Vec<_> =
        samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect();
    assert!(counters.len() > 5, "{text}");
    counters
}

#[test]
fn the_dashboard_and_the_alert_rules_use_only_metrics_that_the_monitor_shows() {
    let Some(_) = monitor_program() else { return };
    let (port, address) = monitor_address();
    let setup = Setup::new().with("SERVER_MONITOR", &address);
    let _central = setup.start();
    until_ready(port);
    let (_, text) = get(port, "/metrics").unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let shown: BTreeSet<_> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    for name in ["grafana.json", "alerts.yaml"] {
        let path = format!("{}/../docs/monitoring/{name}", env!("CARGO_MANIFEST_DIR"));
        let file = fs::read_to_string(path).unwrap();
        let words = file.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        let used: Vec<_> =
            words.filter(|it| it.starts_with("lottery_") || it.starts_with("prefork_")).collect();
        assert!(used.len() > 5, "{used:?}");
        for metric in used {
            assert!(shown.contains(metric), "{name} uses {metric}, which is not in {text}");
        }
    }
}

#[test]
fn a_death_is_counted_under_its_reason() {
    let Some(_) = monitor_program() else { return };
    let (port, address) = monitor_address();
    let setup = Setup::new().with("SERVER_MONITOR", &address).with("SERVER_WORKERS", "1");
    let central = setup.start();
    until_ready(port);
    for signal in [Signal::SIGKILL, Signal::SIGKILL, Signal::SIGABRT] {
        let pid = central.worker_pids()[0];
        kill(pid, signal);
        central.replaced_within_a_second(0, pid);
    }
    assert_eq!(metric(port, "prefork_worker_deaths_total{reason=\"SIGKILL\"}"), 2);
    assert_eq!(metric(port, "prefork_worker_deaths_total{reason=\"SIGABRT\"}"), 1);
    assert_eq!(metric(port, "prefork_worker_deaths_total{reason=\"exit\"}"), 0);
}

#[test]
fn a_killed_monitor_is_started_again_and_no_worker_notices() {
    let Some(_) = monitor_program() else { return };
    let (port, address) = monitor_address();
    let setup = Setup::new().with("SERVER_MONITOR", &address);
    let central = setup.start();
    until_ready(port);
    let (workers, monitor) = (central.worker_pids(), monitor_pid(&central));
    kill(monitor, Signal::SIGKILL);
    central.program.line_with("error: the monitor has ended: signal: 9 (SIGKILL) | next: start it");
    until_ready(port);
    assert_ne!(monitor_pid(&central), monitor);
    assert_eq!(central.worker_pids(), workers);
    assert_eq!(central.number("worker_deaths"), 0);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_stopped_monitor_delays_neither_a_batch_nor_the_stop_and_ends_with_the_central() {
    let Some(_) = monitor_program() else { return };
    let (port, address) = monitor_address();
    let setup = Setup::new().with("SERVER_MONITOR", &address);
    let central = setup.start();
    until_ready(port);
    let monitor = monitor_pid(&central);
    let _stopped = StoppedProcess::new(monitor);
    assert_eq!(central.request(&packet_of("a", 3, 0)), [0, 0]);
    let (code, took) = central.stop();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(!is_alive(monitor));
}

#[test]
fn a_central_starts_although_the_port_of_its_monitor_is_in_use_and_says_so() {
    let Some(_) = monitor_program() else { return };
    let taken = reserve_port();
    let setup = Setup::new().with("SERVER_MONITOR", &taken.local_addr().unwrap().to_string());
    let central = setup.start();
    central.program.line_with("action: monitor | result: fail | address:");
    central.program.line_with("error: the monitor has ended: exit status: 5 | next: start it");
    assert_eq!(central.request(&packet_of("a", 3, 0)), [0, 0]);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_monitor_ends_with_a_killed_supervisor() {
    let Some(_) = monitor_program() else { return };
    let (port, address) = monitor_address();
    let setup = Setup::new().with("SERVER_MONITOR", &address);
    let mut central = setup.start();
    until_ready(port);
    let monitor = monitor_pid(&central);
    central.program.signal(Signal::SIGKILL);
    assert_eq!(central.program.exit_code(), 128 + 9);
    eventually("the end of the monitor", || is_alive(monitor), |alive| !alive);
}

#[test]
fn a_monitor_started_by_hand_follows_a_central_that_is_killed_and_started_again() {
    let Some(program) = monitor_program() else { return };
    let (port, address) = monitor_address();
    let mut setup = Setup::new();
    let central_port = setup.keep_port();
    let mut central = setup.start();
    let mut command = Command::new(program);
    command.args(["--port", &central_port.to_string(), "--listen", &address]);
    let mut monitor = Program::start(&mut command);
    until_ready(port);
    central.program.signal(Signal::SIGKILL);
    assert_eq!(central.program.exit_code(), 128 + 9);
    eventually("the central is gone", || get(port, "/readyz").unwrap(), |(code, _)| *code == 503);
    assert_eq!(metric(port, "prefork_up"), 0);
    drop(central);
    let central = setup.start();
    until_ready(port);
    assert_eq!(central.request(&packet_of("a", 3, 0)), [0, 0]);
    assert_eq!(metric(port, "lottery_bets_stored_total"), 3);
    assert!(monitor.is_running());
}

#[test]
fn the_monitor_has_the_memory_of_the_central_read_only_and_none_of_its_descriptors() {
    let Some(_) = monitor_program() else { return };
    let (port, address) = monitor_address();
    let setup = Setup::new().with("SERVER_MONITOR", &address);
    let central = setup.start();
    until_ready(port);
    let monitor = monitor_pid(&central);
    let files = open_files(monitor);
    let directory = setup.directory().to_string_lossy().into_owned();
    assert!(!files.iter().any(|file| file.contains(&directory)), "{files:?}");
    let central_files = open_files(central.program.pid());
    let sockets: Vec<_> = central_files.iter().filter(|it| it.starts_with("socket:")).collect();
    assert!(!sockets.is_empty(), "{central_files:?}");
    assert!(!sockets.into_iter().any(|socket| files.contains(socket)), "{files:?}");
    let maps = fs::read_to_string(format!("/proc/{monitor}/maps")).unwrap();
    let writable = |line: &&str| line.contains("/dev/shm/") && line.contains("rw-s");
    assert_eq!(maps.lines().find(writable), None);
    for pid in central.worker_pids().into_iter().chain([central.program.pid()]) {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
        assert_eq!(threads, 1, "process {pid}");
    }
}

/// Returns what the descriptors of a process refer to.
fn open_files(pid: u32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}
