//! The address and the storage of a central, and what keeps two centrals apart.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::harness::{
    AgencyConnection, Program, Setup, eventually, left_out, packet_of, reserve_port,
    shared_memory_entries,
};
use lottery::Results;

/// Limit of a start that is refused. The start first waits briefly, in case another central is
/// just exiting.
const REFUSAL: Duration = Duration::from_secs(15);

fn setup() -> Setup {
    Setup::new()
}

/// Runs a start that must fail. Returns its exit code and its only line with level ERROR.
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
fn a_port_in_use_has_its_own_exit_code_is_named_and_leaves_nothing_behind() {
    let taken = reserve_port();
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
fn the_port_of_another_central_counts_as_in_use_and_that_central_goes_on() {
    let first = setup();
    let central = first.start();
    let (code, line) = refused(&setup().with("SERVER_PORT", &central.port.to_string()));
    assert_eq!(code, 5);
    assert_names(&line, &[&format!("127.0.0.1:{}", central.port)]);
    assert_eq!(central.results(), Results { winners: 0, in_flight: 0 });
    assert_eq!(central.number("port"), u64::from(central.port));
}

#[test]
fn an_address_of_another_machine_is_refused() {
    // Reserved for documentation by RFC 5737, so no machine has it.
    let (code, line) = refused(&setup().with("SERVER_IP", "192.0.2.1"));
    assert_eq!(code, 5);
    assert_names(&line, &["192.0.2.1:0", "SERVER_IP"]);
}

#[test]
fn the_host_name_of_another_machine_means_all_addresses_with_a_warning() {
    let setup = setup().with("SERVER_IP", "no-such-host.invalid");
    let central = setup.start();
    let line = central.program.line_with("action: listen | result: success");
    assert_names(&line, &["ip: 0.0.0.0 | ", &format!("port: {} | ", central.port)]);
    let warning = central.program.line_with(" WARNING ");
    assert_names(&warning, &["SERVER_IP = no-such-host.invalid", "listen on all addresses"]);
    assert!(TcpStream::connect(("127.0.0.2", central.port)).is_ok());
}

#[test]
fn a_mistyped_address_is_refused_instead_of_opening_the_port_to_every_network() {
    for ip in ["127.0.0.256", "127.0.0.1/8", "l27.0.0.1", "127.1", "127.0.0.1,", "[::", "::1,::1"] {
        let (code, line) = refused(&setup().with("SERVER_IP", ip));
        assert_eq!(code, 2, "{ip}");
        assert_names(&line, &[&format!("SERVER_IP = {ip:?}"), "expected an IP address, several"]);
    }
}

/// Returns true if this machine has IPv6; if not, reports the test as left out.
fn has_ipv6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        left_out("this machine has no IPv6");
    }
    has
}

/// Returns the addresses on which a central with this SERVER_IP answers a query.
fn answering(ip: &str) -> Vec<&'static str> {
    let setup = setup().with("SERVER_IP", ip);
    let central = setup.start();
    let answers = |address: &&str| {
        AgencyConnection::try_open_at(address, central.port)
            .is_ok_and(|agency| agency.results() == Results { winners: 0, in_flight: 0 })
    };
    let answering = ["127.0.0.1", "127.0.0.2", "::1"].into_iter().filter(answers).collect();
    assert_eq!(central.stop().0, 0);
    answering
}

#[test]
fn every_literal_address_and_list_of_addresses_means_exactly_these() {
    assert_eq!(answering("127.0.0.1"), ["127.0.0.1"]);
    assert_eq!(answering("127.0.0.1,127.0.0.2"), ["127.0.0.1", "127.0.0.2"]);
    assert_eq!(answering("0.0.0.0"), ["127.0.0.1", "127.0.0.2"]);
    if has_ipv6() {
        assert_eq!(answering("[::1]"), ["::1"]);
        assert_eq!(answering("127.0.0.1,::1"), ["127.0.0.1", "::1"]);
        assert_eq!(answering("::"), ["127.0.0.1", "127.0.0.2", "::1"]);
        assert_eq!(answering("127.0.0.2,::"), ["127.0.0.2", "::1"]);
    }
}

#[test]
fn an_ipv4_client_of_a_socket_for_both_families_is_logged_with_its_ipv4_address() {
    if has_ipv6() {
        let setup = setup().with("SERVER_IP", "::");
        let central = setup.start();
        assert!(central.request(&packet_of("a", 3, 3)).len() > 2);
        let line = central.program.line_with("action: accept_connections | result: success");
        assert_names(&line, &["ip: 127.0.0.1 | "]);
    }
}

#[test]
fn port_0_means_any_free_port_and_the_log_names_it() {
    let setup = setup().with("SERVER_PORT", "0");
    let central = setup.start();
    assert_ne!(central.port, 0);
    assert_eq!(central.results(), Results { winners: 0, in_flight: 0 });
    assert_eq!(shared_memory_entries(&format!("lottery.{}", central.port)).len(), 1);
}

#[test]
fn the_ready_line_names_the_requested_backlog_and_the_one_that_the_machine_allows() {
    let setup = setup().with("SERVER_LISTEN_BACKLOG", "65535").with("SERVER_WORKERS", "3");
    let central = setup.start();
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let effective = limit.trim().parse::<u32>().unwrap().min(65_535);
    let line = central.program.line_with("action: listen | result: success");
    let end = format!(
        "ip: 127.0.0.1 | port: {} | protocol: typed | workers: 3 | backlog: {effective} | requested_backlog: 65535",
        central.port
    );
    assert!(line.ends_with(&end), "{line}");
}

#[test]
fn two_centrals_side_by_side_do_not_affect_each_other() {
    let (one, other) = (setup(), setup());
    let (first, second) = (one.start(), other.start());
    assert_ne!(first.port, second.port);
    first.request(&packet_of("a", 3, 3));
    second.request(&packet_of("b", 2, 1));
    let mut begun = first.connect();
    begun.send(&[0]);
    eventually("the first central busy", || first.results().in_flight, |count| *count == 1);
    assert_eq!(second.results(), Results { winners: 1, in_flight: 0 });
    drop(begun);
    assert_eq!(first.stop().0, 0);
    assert_eq!(second.results(), Results { winners: 1, in_flight: 0 });
    second.request(&packet_of("c", 1, 1));
    assert_eq!((one.rows().len(), other.rows().len()), (3, 3));
    assert_eq!(second.stop().0, 0);
}

#[test]
fn a_second_central_on_the_same_storage_is_refused_and_names_the_first() {
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
fn a_storage_that_cannot_be_created_is_named() {
    let setup = setup().with("SERVER_STORAGE_DIR", "file/storage");
    fs::write(setup.directory().join("file"), "no directory").unwrap();
    let (code, line) = refused(&setup);
    assert_eq!(code, 1);
    assert_names(&line, &["file/storage", "action: shutdown | result: fail"]);
}
