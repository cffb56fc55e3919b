//! What the central tells the service manager that has started it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::harness::Setup;
use nix::sys::signal::Signal;

/// Longest wait for a message.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads messages until one has the line.
fn message_with(manager: &UnixDatagram, line: &str) -> String {
    let (deadline, mut buffer) = (Instant::now() + PATIENCE, [0; 4096]);
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    while Instant::now() < deadline {
        let length = manager.recv(&mut buffer).unwrap();
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if message.lines().any(|found| found == line) {
            return message;
        }
    }
    panic!("no message {line}");
}

#[test]
fn the_manager_learns_of_the_start_a_reload_and_the_stop() {
    let setup = Setup::new();
    let path = setup.directory().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let central = setup.start_by(setup.command(&["run"]).env("NOTIFY_SOCKET", &path));
    assert!(message_with(&manager, "READY=1").contains("STATUS="));
    central.program.signal(Signal::SIGHUP);
    assert!(message_with(&manager, "RELOADING=1").contains("MONOTONIC_USEC="));
    message_with(&manager, "READY=1");
    assert_eq!(central.stop().0, 0);
    message_with(&manager, "STOPPING=1");
}

#[test]
fn signs_of_life_come_while_the_supervisor_runs_and_only_then() {
    let name = format!("loteria-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    let setup = Setup::new();
    let mut command = setup.command(&["run"]);
    command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "600000");
    let central = setup.start_by(&mut command);
    message_with(&manager, "READY=1");
    message_with(&manager, "WATCHDOG=1");
    message_with(&manager, "WATCHDOG=1");
    central.program.signal(Signal::SIGSTOP);
    // The signs that were sent before are read until none arrives for several times their pause.
    manager.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let signs = std::iter::from_fn(|| manager.recv(&mut [0; 4096]).ok()).take(100).count();
    assert!(signs < 100, "signs of life of a stopped supervisor");
    central.program.signal(Signal::SIGCONT);
    message_with(&manager, "WATCHDOG=1");
    assert_eq!(central.stop().0, 0);
}
