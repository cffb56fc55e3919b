//! What an operator sees of the death of a worker, and of workers that do not respond.

use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;

use crate::harness::{Setup, StoppedProcess, eventually, kill, packet_of, value_of};

#[test]
fn the_death_of_a_worker_is_one_log_line_and_counters_never_go_back() {
    let setup = Setup::new().with("SERVER_WORKERS", "1");
    let central = setup.start();
    let mut seen = Vec::new();
    for death in 1..=3 {
        for batch in 0..5 {
            assert_eq!(central.request(&packet_of(&format!("{death}-{batch}"), 2, 0)), [0, 0]);
        }
        central.results();
        let pid = central.worker_pids()[0];
        kill(pid, Signal::SIGKILL);
        let line = central.program.line_with(&format!("| pid: {pid} | error: SIGKILL"));
        assert!(line.contains("action: worker | result: fail | worker: 0"), "{line}");
        assert!(line.contains("out of memory") && !value_of(&line, "uptime").is_empty(), "{line}");
        central.replaced_within_a_second(0, pid);
        assert_eq!(central.program.count_lines_with(&format!("| pid: {pid} | error:")), 1);

        let last_death = central.segment().raw_value::<u64>("last_death_ms").unwrap().load();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        assert!((now as u64).abs_diff(last_death) < 60_000, "{last_death} at {now}");
        let worker = central.status()["workers"][0].clone();
        let count = |key: &str| worker[key].as_u64().unwrap();
        let counters = ["batches", "bets", "queries", "restarts"].map(count);
        assert_eq!(counters, [5 * death, 10 * death, death, death]);
        assert_eq!(central.number("worker_deaths"), death);
        seen.push(counters);
    }
    assert!(seen.is_sorted(), "{seen:?}");
}

#[test]
fn status_and_draw_are_printed_while_every_worker_is_stopped() {
    let setup = Setup::new();
    let central = setup.start();
    let port = central.port.to_string();
    let workers = central.worker_pids();
    let stopped: Vec<_> = workers.into_iter().map(StoppedProcess::new).collect();
    let quickest = |command: &str| {
        let time = |_| {
            let start = Instant::now();
            let output = setup.run(&[command, "--port", &port]);
            assert!(output.status.success(), "{output:?}");
            start.elapsed()
        };
        (0..5).map(time).min().unwrap()
    };
    // The promise is 100 ms. A busy machine may be slower, and a command that waited for a worker
    // would take seconds.
    for command in ["status", "draw"] {
        let took = quickest(command);
        assert!(took < Duration::from_secs(1), "{command} took {took:?}");
    }
    drop(stopped);
    eventually("a served query", || central.results().in_flight, |in_flight| *in_flight == 0);
}
