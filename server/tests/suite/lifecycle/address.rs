//! Where a central listens and stores, and what keeps two of them apart.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Program, Setup, packet_of, shared_memory_entries, taken_port};
use lottery::Results;

/// A start waits a moment for a predecessor that is just ending, then it refuses.
const REFUSAL: Duration = Duration::from_secs(15);

fn setup() -> Setup {
    Setup::new()
}

/// The exit code and the only line at level ERROR of a start that must fail.
fn refused(setup: &Setup) -> (i32, String) {
    let mut program = Program::start(&mut setup.command(&["run"]));
    let code = program.exit_code_within(REFUSAL);
    let error = program.line_with(" ERROR ");
    assert_eq!(program.count_lines_with(" ERROR "), 1, "{:?}", program.lines());
    assert_eq!(program.count_lines_with("action: listen | result: success"), 0);
    (code, error)
}

fn assert_names(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no {part:?} in {line:?}");
    }
}

#[test]
fn a_port_in_use_is_an_error_of_its_own_that_names_it_and_leaves_nothing_behind() {
    let taken = taken_port();
    let port = taken.local_addr().unwrap().port();
    let (code, line) = refused(&setup().with("SERVER_PORT", &port.to_string()));
    assert_eq!(code, 5);
    assert_names(
        &line,
        &["action: listen | result: fail", &format!("127.0.0.1:{port}"), "SERVER_PORT"],
    );
    assert_eq!(shared_memory_entries(&format!("lottery.{port}")), Vec::<String>::new());
}

#[test]
fn the_port_of_another_central_is_in_use_too_and_that_one_goes_on() {
    let first = setup();
    let central = first.start();
    let (code, line) = refused(&setup().with("SERVER_PORT", &central.port.to_string()));
    assert_eq!(code, 5);
    assert_names(&line, &[&format!("127.0.0.1:{}", central.port)]);
    assert_eq!(central.results(), Results { winners: 0, in_flight: 0 });
    assert_eq!(central.number("port"), u64::from(central.port));
}

#[test]
fn an_address_of_another_machine_cannot_be_listened_on() {
    // Reserved for documentation (RFC 5737): nobody has it.
    let (code, line) = refused(&setup().with("SERVER_IP", "192.0.2.1"));
    assert_eq!(code, 5);
    assert_names(&line, &["192.0.2.1:0", "SERVER_IP"]);
}

#[test]
fn a_host_name_that_is_not_of_this_machine_means_all_addresses() {
    let setup = setup().with("SERVER_IP", "server");
    let central = setup.start();
    let line = central.program.line_with("action: listen | result: success");
    assert_names(&line, &["ip: 0.0.0.0 | ", &format!("port: {} | ", central.port)]);
    assert!(TcpStream::connect(("127.0.0.2", central.port)).is_ok());
}

#[test]
fn port_0_takes_a_free_port_and_the_log_says_which() {
    let setup = setup().with("SERVER_PORT", "0");
    let central = setup.start();
    assert_ne!(central.port, 0);
    assert_eq!(central.results(), Results { winners: 0, in_flight: 0 });
    assert_eq!(shared_memory_entries(&format!("lottery.{}", central.port)).len(), 1);
}

#[test]
fn the_ready_line_tells_what_was_asked_for_and_what_the_machine_gives() {
    let setup = setup().with("SERVER_LISTEN_BACKLOG", "65535").with("SERVER_WORKERS", "3");
    let central = setup.start();
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let effective = limit.trim().parse::<u32>().unwrap().min(65_535);
    let line = central.program.line_with("action: listen | result: success");
    let end = format!(
        "ip: 127.0.0.1 | port: {} | protocol: typed | workers: 3 | backlog: {effective} | backlog_pedido: 65535",
        central.port
    );
    assert!(line.ends_with(&end), "{line}");
}

#[test]
fn two_centrals_side_by_side_have_nothing_to_do_with_each_other() {
    let (one, other) = (setup(), setup());
    let (first, second) = (one.start(), other.start());
    assert_ne!(first.port, second.port);
    first.request(&packet_of("a", 3, 3));
    second.request(&packet_of("b", 2, 1));
    let mut begun = first.connect();
    begun.send(&[0]);
    crate::harness::eventually("the first busy", || first.results().in_flight, |count| *count == 1);
    assert_eq!(second.results(), Results { winners: 1, in_flight: 0 });
    drop(begun);
    assert_eq!(first.stop().0, 0);
    assert_eq!(second.results(), Results { winners: 1, in_flight: 0 });
    second.request(&packet_of("c", 1, 1));
    assert_eq!((one.rows().len(), other.rows().len()), (3, 3));
    assert_eq!(second.stop().0, 0);
}

#[test]
fn a_second_central_on_the_same_storage_refuses_and_names_the_first() {
    let shared = setup();
    let central = shared.start();
    central.request(&packet_of("a", 3, 3));
    let before = fs::read(shared.stored("bets.csv")).unwrap();
    let directory = shared.directory().join("storage");
    let second = setup().with("SERVER_STORAGE_DIR", directory.to_str().unwrap());
    let (code, line) = refused(&second);
    assert_eq!(code, 1);
    let pid = format!("(pid {})", central.program.pid());
    assert_names(&line, &[directory.to_str().unwrap(), &pid, "SERVER_STORAGE_DIR"]);
    assert_eq!(fs::read(shared.stored("bets.csv")).unwrap(), before);
    assert_eq!(central.results(), Results { winners: 3, in_flight: 0 });
}

#[test]
fn a_storage_that_cannot_be_made_is_named() {
    let setup = setup().with("SERVER_STORAGE_DIR", "file/storage");
    fs::write(setup.directory().join("file"), "no directory").unwrap();
    let (code, line) = refused(&setup);
    assert_eq!(code, 1);
    assert_names(&line, &["file/storage", "action: exit | result: fail"]);
}
