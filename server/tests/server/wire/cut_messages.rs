//! Incomplete messages in every dialect with a draw: nothing of them is stored, nothing stays in
//! flight, and the log has one line for each.

use crate::harness::{
    AgencyConnection, CentralProcess, Participant, Setup, WINNERS_BY_AGENCY, bets_with, codec,
    draw_dialects, eventually, numbered_bet, packet_in, receipt, refusals,
};

fn setup(dialect: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", dialect)
}

/// Asserts that an honest agency is served on a connection of its own.
fn assert_serves_others(central: &CentralProcess<'_>, dialect: &str) {
    let stored = Participant::connect(central.port, dialect, 200).store(&[numbered_bet(1, false)]);
    assert_eq!(stored, receipt(dialect, 0), "{dialect}");
}

/// Returns the valid beginning of a connection, a greeting and a batch of six bets, and the length
/// of the greeting.
fn greeting_and_batch(dialect: &str) -> (usize, Vec<u8>) {
    let mut codec = codec(dialect, 1);
    let greeting = codec.greeting();
    let batch = packet_in(&mut *codec, &bets_with(WINNERS_BY_AGENCY[0]));
    (greeting.len(), [greeting, batch].concat())
}

#[test]
fn a_message_cut_at_any_byte_by_the_end_of_its_connection_leaves_nothing() {
    for dialect in draw_dialects() {
        let setup = setup(dialect).with("LOGGING_LEVEL", "INFO");
        let central = setup.start();
        let (greeting, bytes) = greeting_and_batch(dialect);
        for cut in 0..bytes.len() {
            let mut agency = central.connect();
            agency.send(&bytes[..cut]);
            if cut % 2 == 0 {
                agency.end_sending();
                assert!(agency.read_to_end().is_empty(), "{dialect}, cut at {cut}");
            }
        }
        // An agency that ends the connection before or right after the greeting has not failed.
        let (failure, expected) =
            ("closed before the end of its request", bytes.len() - 1 - greeting);
        let lines = || central.program.count_lines_with(failure);
        eventually("a line for each", lines, |lines| *lines == expected);
        central.none_in_flight_within_a_second();
        assert_serves_others(&central, dialect);
        assert_eq!(setup.rows().len(), 1, "{dialect}");
        assert_eq!(central.number("worker_deaths"), 0, "{dialect}");
        assert_eq!(central.program.count_lines_with("result: fail"), expected, "{dialect}");
    }
}

#[test]
fn a_message_cut_by_a_reset_or_never_completed_leaves_nothing() {
    for dialect in draw_dialects() {
        let setup = setup(dialect)
            .with("SERVER_REQUEST_TIMEOUT", "300ms")
            .with("SERVER_IDLE_TIMEOUT", "300ms");
        let central = setup.start();
        let (_, bytes) = greeting_and_batch(dialect);
        let begun = || {
            let mut agency = central.connect();
            agency.send(&bytes[..bytes.len() - 1]);
            let processing = central.segment().raw_array::<u16>("in_flight").unwrap();
            eventually("a batch in flight", || processing.iter().sum::<u16>(), |count| *count == 1);
            agency
        };
        let reset = begun();
        let port = reset.port();
        reset.reset();
        central.none_in_flight_within_a_second();
        let mut never_completed = begun();
        // Sends nothing at all, not even a required hello.
        let mut silent = AgencyConnection::open(central.port);
        assert!(
            never_completed.read_to_end().is_empty() && silent.read_to_end().is_empty(),
            "{dialect}"
        );
        central.none_in_flight_within_a_second();
        assert_serves_others(&central, dialect);
        assert_eq!(setup.rows().len(), 1, "{dialect}");
        let (late, quiet) = (never_completed.port(), silent.port());
        drop((never_completed, silent));
        let log = central.stop_and_read_log();
        for (port, reason) in [(port, "reset by peer"), (late, "not done within 300ms")] {
            let lines = refusals(&log, port);
            assert!(matches!(&lines[..], [line] if line.contains(reason)), "{dialect}: {lines:?}");
        }
        assert!(refusals(&log, quiet).is_empty(), "{dialect}: {:?}", refusals(&log, quiet));
    }
}

#[test]
fn a_message_that_arrives_byte_by_byte_is_stored_like_any_other() {
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        // Some letters have two bytes, so the letters are split too.
        let bet = lottery::Bet { last_name: "Álvarez Ñandú", ..numbered_bet(7, false) };
        let mut codec = codec(dialect, 1);
        let (greeting, batch) = (codec.greeting(), packet_in(&mut *codec, &[bet; 20]));
        let mut agency = central.connect();
        for byte in [greeting, batch].concat() {
            agency.send(&[byte]);
        }
        (0..20).for_each(|_| assert_eq!(codec.push(&bet), Ok(lottery::protocol::Push::Added)));
        let stored = agency.read_reply(|reply| codec.receipt(reply));
        assert_eq!(stored, receipt(dialect, 0), "{dialect}");
        assert_eq!(
            setup.rows(),
            ["1,Santiago Lionel,Álvarez Ñandú,7,1999-03-17,1033"; 20],
            "{dialect}"
        );
    }
}
