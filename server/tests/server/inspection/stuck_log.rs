//! The reader of the log is stuck and the pipe is full: the central continues to serve, drops
//! lines, and stops on request.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{AgencyConnection, Setup, eventually, kill, packet_of, shared_memory_entries};
use nix::sys::signal::Signal;

/// More requests than there are lines in a pipe of 64 KiB.
const REQUESTS: usize = 600;

#[test]
fn a_log_that_is_not_read_does_not_prevent_serving_or_stopping() {
    let mut setup = Setup::new().with("SERVER_GRACE", "1s");
    let port = setup.keep_port();
    let mut central =
        setup.command(&["run"]).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let health = || setup.run(&["health"]);
    eventually("ready", || health().status.success(), |ready| *ready);

    for number in 0..REQUESTS {
        let mut agency = AgencyConnection::open(port);
        agency.send(&packet_of(&number.to_string(), 1, 1));
        assert!(agency.read_to_end().len() > 2, "batch {number}");
    }

    let start = Instant::now();
    assert!(kill(central.id(), Signal::SIGTERM));
    let status = eventually("the end", || central.try_wait().unwrap(), Option::is_some).unwrap();
    assert!(
        status.success() && start.elapsed() < Duration::from_secs(3),
        "{status}, {:?}",
        start.elapsed()
    );
    assert_eq!(setup.rows().len(), REQUESTS);
    assert_eq!(shared_memory_entries(&format!("lottery.{port}")), Vec::<String>::new());
}
