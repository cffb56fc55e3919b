//! `loteria-agency bench`: its figures, its errors, and where its connections come from.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lottery::protocol::{DIALECTS, Dialect};
use nix::sys::signal::Signal::{SIGINT, SIGTERM};
use serde_json::Value;

use crate::check::{dialect, each};
use crate::support::{ClosedPort, Ended, Fault, PATIENCE, Setup, start_fake_server};

fn bench<const N: usize>(dialect: &str, server: SocketAddr, arguments: [&str; N]) -> Setup {
    let address = server.to_string();
    Setup::new()
        .args(["bench", "--protocol", dialect, "--seconds", "0.2", "--batch"])
        .args([if dialect == "echo" { "100B" } else { "10" }, &address])
        .args(arguments)
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.lines.join("\n")).unwrap_or_else(|error| {
        panic!("{error}: {ended:?}");
    })
}

/// Starts a server that answers every batch of `counted` and records where connections come from.
fn start_recorder() -> (SocketAddr, Arc<Mutex<Vec<IpAddr>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peers = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&peers);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            recorded.lock().unwrap().push(stream.peer_addr().unwrap().ip());
            // One byte is enough to know that the batch arrives; the client ends the connection.
            let mut byte = [0];
            if stream.read(&mut byte).is_ok() && stream.write_all(&[0]).is_ok() {
                let _ended = stream.read_to_end(&mut Vec::new());
            }
        }
    });
    (address, peers)
}

#[test]
fn any_server_of_any_dialect_is_measured_with_consistent_figures() {
    each(DIALECTS, |dialect: &'static Dialect| {
        let server = start_fake_server(dialect, &[]);
        let ended = bench(dialect.name, server, ["--json", "--clients", "3"]).finish();
        assert_eq!((ended.code, &*ended.errors), (Some(0), ""), "{}: {ended:?}", dialect.name);
        let report = json(&ended);
        let number = |key: &str| report[key].as_f64().unwrap();
        assert_eq!(report["protocol"], dialect.name);
        assert_eq!(report["connections"], "per batch");
        assert_eq!(number("clients"), 3.0);
        assert_eq!(number("bets"), number("batches") * number("bets_per_batch"));
        let rate = number("batches") / number("seconds");
        assert!((number("batches_per_second") / rate - 1.0).abs() < 1e-9, "{report}");
        let latency = ["p50", "p90", "p99", "p99_9", "max"]
            .map(|name| report["latency_us"][name].as_f64().unwrap());
        assert!(latency.is_sorted() && latency[0] > 0.0, "{report}");
        assert_eq!(report["errors"], serde_json::json!({}));
    });
}

#[test]
fn the_report_for_a_person_names_every_figure() {
    let server = start_fake_server(dialect("framed"), &[]);
    let ended = bench("framed", server, ["--kept", "--clients", "2"]).finish();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let first = format!("framed at {server}: 2 clients, kept connections");
    assert_eq!(ended.lines[0], first);
    for (line, begin) in ended.lines[1..].iter().zip([
        "answered   ",
        "batches/s  ",
        "bets/s     ",
        "latency    p50 ",
        "errors     0",
    ]) {
        assert!(line.starts_with(begin), "{line:?}, expected {begin:?}");
    }
}

#[test]
fn connections_over_the_loopback_interface_come_from_many_addresses() {
    let (server, peers) = start_recorder();
    let ended = bench("counted", server, ["--clients", "1"]).finish();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let peers = peers.lock().unwrap();
    let distinct: HashSet<_> = peers.iter().collect();
    assert!(peers.iter().all(IpAddr::is_loopback));
    assert_eq!(distinct.len(), peers.len().min(240), "of {} connections", peers.len());
    assert!(distinct.len() > 10);
}

#[test]
fn a_source_is_used_for_every_connection() {
    let (server, peers) = start_recorder();
    let ended = bench("counted", server, ["--source", "127.9.8.7"]).finish();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let expected: IpAddr = "127.9.8.7".parse().unwrap();
    assert!(peers.lock().unwrap().iter().all(|peer| *peer == expected));
}

#[test]
fn a_closed_port_ends_the_run_with_the_reason() {
    let port = ClosedPort::new();
    let ended = bench("typed", port.address(), []).finish();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains(&port.address().to_string()), "{}", ended.errors);
    assert!(ended.errors.contains("Connection refused"), "{}", ended.errors);
    assert!(ended.lines.is_empty());
}

#[test]
fn a_name_without_an_address_ends_the_run() {
    let ended = Setup::new().args(["bench", "no-such-host.invalid:1"]).finish();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("no-such-host.invalid:1: "), "{}", ended.errors);
}

#[test]
fn a_server_of_another_dialect_ends_the_run() {
    let ended =
        bench("typed", start_fake_server(dialect("keyed"), &[]), ["--timeout", "1s"]).finish();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.lines.is_empty(), "{ended:?}");
}

#[test]
fn a_server_that_never_answers_ends_the_run_after_the_time_limit() {
    let server = start_fake_server(dialect("line"), &[Fault::NeverAnswers]);
    let ended = bench("line", server, ["--timeout", "300ms"]).finish();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("no reply within 0.3 s"), "{}", ended.errors);
}

#[test]
fn a_server_that_closes_without_a_reply_ends_the_run() {
    let server = start_fake_server(dialect("framed"), &[Fault::ClosesAtOnce]);
    let ended = bench("framed", server, []).finish();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    // The kernel resets a connection that is closed with unread bytes.
    let reasons = ["the connection ended before the reply", "Connection reset", "Broken pipe"];
    assert!(reasons.iter().any(|reason| ended.errors.contains(reason)), "{}", ended.errors);
}

#[test]
fn failed_batches_are_counted_by_their_reason_and_the_exit_code_is_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    thread::spawn(move || {
        // Every third connection ends without a reply.
        for (index, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let _arrived = stream.read(&mut [0; 8192]);
            if index % 3 != 1 {
                let _sent = stream.write_all(&[0]);
            }
        }
    });
    let ended = bench("counted", server, ["--json", "--clients", "1"]).finish();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let report = json(&ended);
    let errors = report["errors"].as_object().unwrap();
    let failed: u64 = errors.values().map(|count| count.as_u64().unwrap()).sum();
    let answered = report["batches"].as_u64().unwrap();
    assert!(failed > 0 && failed <= answered, "{report}");
    assert!(errors.contains_key("the connection ended before the reply"), "{report}");
}

#[test]
fn a_signal_ends_the_run_and_the_figures_are_printed() {
    for signal in [SIGINT, SIGTERM] {
        let (server, peers) = start_recorder();
        let address = server.to_string();
        let arguments = ["bench", "--protocol", "counted", "--seconds", "60", &address];
        let running = Setup::new().args(arguments).start();
        let deadline = Instant::now() + PATIENCE;
        // The second connection of a client follows an answer.
        while peers.lock().unwrap().len() < 20 {
            assert!(Instant::now() < deadline, "no connections");
            thread::sleep(Duration::from_millis(1));
        }
        running.signal(signal);
        let ended = running.finish();
        assert_eq!(ended.code, Some(128 + signal as i32), "{ended:?}");
        ended.lines.iter().find(|line| line.starts_with("batches/s")).unwrap();
    }
}

#[test]
fn nonsense_is_refused_before_anything_is_sent() {
    let closed = ClosedPort::new().address().to_string();
    for (arguments, reason) in [
        (&["--clients", "0"][..], "--clients"),
        (&["--clients", "9999999"], "ulimit -n"),
        (&["--seconds", "0"], "above zero"),
        (&["--seconds=-1"], "above zero"),
        (&["--seconds", "90000"], "at most 86400"),
        (&["--kept"], "a connection of typed carries one batch"),
        (&["--batch", "9kB"], "at most 8192 bytes"),
        (&["--batch", "0"], "a number of bets"),
        (&["--batch", "20B"], "no room for a bet"),
        (&["--protocol", "echo", "--batch", "10"], "has none"),
        (&["--protocol", "line", "--without-number"], "every bet of line has a number"),
        (&["--protocol", "frmed"], "did you mean framed?"),
        (&["--source", "::1"], "other family"),
        (&["--timeout", "0s"], "a duration above zero"),
    ] {
        let mut setup = Setup::new().args(["bench", &closed]);
        for argument in arguments {
            setup = setup.args([argument]);
        }
        let ended = setup.finish();
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.errors.contains(reason), "{arguments:?}: {}", ended.errors);
    }
}

#[test]
fn a_batch_that_does_not_hold_the_bets_asked_for_is_reported() {
    let server = start_fake_server(dialect("typed"), &[]);
    let address = server.to_string();
    let arguments = ["bench", "--json", "--seconds", "0.2", "--batch", "500", &address];
    let ended = Setup::new().args(arguments).finish();
    let report = json(&ended);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("--batch 500: a packet has room for 170"), "{report}");
}
