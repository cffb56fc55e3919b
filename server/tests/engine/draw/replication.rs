//! A draw that no standby has yet could be lost with the primary, so no agency learns of it.

use std::time::Duration;

use super::operator::both_finish;
use crate::harness::{eventually, winners_reply};
use crate::outages::Server;

#[test]
fn a_draw_that_is_visible_is_reported_only_once_a_standby_has_it() {
    let Some(server) = Server::start() else { return };
    let dialect = "framed";
    let setup = server
        .setup()
        .with("SERVER_PROTOCOL", dialect)
        .with("SERVER_AGENCIES", "2")
        .with("SERVER_DRAW", "confirm");
    let central = setup.start();
    let mut agencies = both_finish(&central, dialect);

    server.require_standby(&setup, true);
    // A primary that restarts shows commits that no standby has, as this one.
    setup.database.as_ref().unwrap().query(
        "SELECT set_config('synchronous_commit', 'local', true), \
         lottery.operate($1, 'confirm'), lottery.hold_draw($1)",
    );
    eventually("the draw", || central.status(), |status| status["drawn"] == true);
    // Longer than the time between two looks for the draw.
    std::thread::sleep(Duration::from_millis(500));
    assert!(agencies.iter_mut().all(|agency| agency.connection().is_quiet()));

    server.require_standby(&setup, false);
    for (number, mut agency) in (1..).zip(agencies) {
        assert_eq!(agency.winners().1, winners_reply(dialect, &[number]));
    }
}
