//! The central is asked to stop while agencies wait for the draw: they are let go in order, and may come back to the next.

use std::time::Duration;

use crate::harness::{FIVE, Participant, Setup, bets_with, draw_dialects, winners_reply};
use nix::sys::signal::Signal;

/// Nobody here needs any of the grace.
const QUICK: Duration = Duration::from_millis(1500);

fn setup(dialect: &str) -> (Setup, u16) {
    let mut setup = Setup::new().with("SERVER_PROTOCOL", dialect);
    let port = setup.keep_port();
    (setup.with("SERVER_AGENCIES", "3").with("SERVER_GRACE", "5s"), port)
}

#[test]
fn agencies_that_wait_do_not_hold_up_a_stop_and_get_their_winners_from_the_next_central() {
    for dialect in draw_dialects() {
        let (setup, port) = setup(dialect);
        let mut central = setup.start();
        let mut waiting: Vec<_> =
            [1, 2].map(|number| Participant::connect(port, dialect, number)).into_iter().collect();
        for (agency, documents) in waiting.iter_mut().zip(FIVE) {
            agency.store(&bets_with(documents));
            agency.finish();
        }
        central.agencies_wait(2);

        central.program.signal(Signal::SIGTERM);

        assert_eq!(central.program.exit_code_within(QUICK), 0, "{dialect}");
        assert_eq!(
            central.program.count_lines_with("result: fail"),
            0,
            "{dialect}: nobody did wrong"
        );
        for agency in waiting {
            // Panics when the connection was reset.
            assert!(agency.into_connection().read_to_end().is_empty(), "{dialect}");
        }
        setup.nothing_left_on(port);
        let central = setup.start();
        assert_eq!(central.number("agencies_finished"), 2, "{dialect}");
        let mut agencies: Vec<_> =
            (1..=3).map(|number| Participant::connect(port, dialect, number)).collect();
        // The first two only ask again; their bets are stored.
        agencies[2].store(&bets_with(FIVE[2]));
        agencies.iter_mut().for_each(Participant::finish);
        for (agency, documents) in agencies.iter_mut().zip(FIVE) {
            assert_eq!(agency.winners().1, winners_reply(dialect, documents), "{dialect}");
        }
    }
}

#[test]
fn an_agency_that_begins_to_wait_while_the_central_stops_does_not_hold_it_up() {
    for dialect in draw_dialects() {
        let (setup, port) = setup(dialect);
        let mut central = setup.start();
        let mut agency = Participant::connect(port, dialect, 1);
        // The connection on which it will ask, whichever way the dialect uses connections, is open before the stop.
        if !dialect.starts_with("counted") {
            agency.store(&bets_with(FIVE[0]));
        }
        let connections = central.segment().raw_array::<u32>("worker_connections").unwrap();
        crate::harness::eventually(
            "accepted",
            || connections.iter().sum::<u32>(),
            |count| *count == 1,
        );

        central.program.signal(Signal::SIGTERM);
        central.program.line_with("action: cerrar_socket_escucha");
        // Too late for some of them, who find the connection closed: that is no harm.
        let _ = agency.try_finish();

        assert_eq!(central.program.exit_code_within(QUICK), 0, "{dialect}");
        assert_eq!(central.program.count_lines_with("workers_matados"), 0, "{dialect}");
    }
}
