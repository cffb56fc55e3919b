//! A stop while agencies wait for the draw closes their connections without a reset, and the next
//! central answers them.

use std::time::Duration;

use crate::harness::{
    Participant, Setup, WINNERS_BY_AGENCY, bets_with, draw_dialects, winners_reply,
};
use nix::sys::signal::Signal;

/// Limit of a stop in which no connection uses the grace period.
const QUICK: Duration = Duration::from_millis(1500);

fn setup(dialect: &str) -> (Setup, u16) {
    let mut setup = Setup::new().with("SERVER_PROTOCOL", dialect);
    let port = setup.keep_port();
    (setup.with("SERVER_AGENCIES", "3").with("SERVER_GRACE", "5s"), port)
}

#[test]
fn waiting_agencies_do_not_delay_a_stop_and_get_their_winners_from_the_next_central() {
    for dialect in draw_dialects() {
        let (setup, port) = setup(dialect);
        let mut central = setup.start();
        let mut waiting: Vec<_> =
            [1, 2].map(|number| Participant::connect(port, dialect, number)).into_iter().collect();
        for (agency, documents) in waiting.iter_mut().zip(WINNERS_BY_AGENCY) {
            agency.store(&bets_with(documents));
            agency.finish();
        }
        central.until_waiting(2);

        central.program.signal(Signal::SIGTERM);

        assert_eq!(central.program.exit_code_within(QUICK), 0, "{dialect}");
        assert_eq!(
            central.program.count_lines_with("result: fail"),
            0,
            "{dialect}: no failure to report"
        );
        for agency in waiting {
            // Panics if the connection was reset.
            assert!(agency.into_connection().read_to_end().is_empty(), "{dialect}");
        }
        setup.assert_nothing_left(port);
        let central = setup.start();
        assert_eq!(central.number("agencies_finished"), 2, "{dialect}");
        let mut agencies: Vec<_> =
            (1..=3).map(|number| Participant::connect(port, dialect, number)).collect();
        // The bets of the first two are stored, so they only ask again.
        agencies[2].store(&bets_with(WINNERS_BY_AGENCY[2]));
        agencies.iter_mut().for_each(Participant::finish);
        for (agency, documents) in agencies.iter_mut().zip(WINNERS_BY_AGENCY) {
            assert_eq!(agency.winners().1, winners_reply(dialect, documents), "{dialect}");
        }
    }
}

#[test]
fn an_agency_that_begins_to_wait_during_a_stop_does_not_delay_it() {
    for dialect in draw_dialects() {
        let (setup, port) = setup(dialect);
        let mut central = setup.start();
        let mut agency = Participant::connect(port, dialect, 1);
        // The connection for the query is open before the stop, however the dialect uses
        // connections.
        if !dialect.starts_with("counted") {
            agency.store(&bets_with(WINNERS_BY_AGENCY[0]));
        }
        let connections = central.segment().raw_array::<u32>("worker_connections").unwrap();
        crate::harness::eventually(
            "accepted",
            || connections.iter().sum::<u32>(),
            |count| *count == 1,
        );

        central.program.signal(Signal::SIGTERM);
        central.program.line_with("action: close_listener");
        // In some dialects the central has already closed the connection, which is allowed.
        let _ = agency.try_finish();

        assert_eq!(central.program.exit_code_within(QUICK), 0, "{dialect}");
        assert_eq!(central.program.count_lines_with("killed_workers"), 0, "{dialect}");
    }
}
