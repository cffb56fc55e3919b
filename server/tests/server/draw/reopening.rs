//! Bets that are reopened while an agency's report is stored and not answered.

use std::thread::{scope, sleep};
use std::time::Duration;

use crate::harness::{Participant, Setup, eventually_within};

/// The time after which a worker no longer waits for a lock, and what a busy machine adds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(25);

#[test]
fn a_report_that_is_answered_only_after_bets_were_reopened_is_not_acknowledged() {
    let setup = Setup::new()
        .with("SERVER_PROTOCOL", "framed")
        .with("SERVER_AGENCIES", "2")
        .with("SERVER_WORKERS", "1")
        .with("SERVER_REQUEST_TIMEOUT", "60s");
    let central = setup.start();
    let winners = central.segment().value::<u64>("winners").unwrap();
    // This test holds the lock, as a stopped process would. So the report is stored, and cannot be
    // published.
    let guard = winners.lock().unwrap();
    let mut agency = Participant::connect(central.port, "framed", 1);
    scope(|scope| {
        let reported = scope.spawn(|| agency.try_notify());
        let given_up = || central.program.count_lines_with("action: publish | result: fail");
        eventually_within(LOCK_TIMEOUT, "the wait given up", given_up, |lines| *lines == 1);
        assert_eq!(central.number("agencies_finished"), 1);
        let port = central.port.to_string();
        let reopened = setup.run(&["draw", "--port", &port, "--reopen"]);
        assert!(reopened.status.success(), "{reopened:?}");
        // The worker notices within 250 ms.
        sleep(Duration::from_secs(1));
        drop(guard);
        reported.join().unwrap().expect_err("a report that does not count was acknowledged");
    });
    assert_eq!(central.number("agencies_finished"), 0);
    Participant::connect(central.port, "framed", 1).try_notify().unwrap();
    assert_eq!(central.number("agencies_finished"), 1);
    assert_eq!(central.stop().0, 0);
}
