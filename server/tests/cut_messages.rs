//! Messages that end too early, in every dialect with a draw: nothing of them is stored, nobody stays in flight, and the log says so
//! once.

#![allow(clippy::unwrap_used)]

use harness::{
    Agency, Central, FIVE, Participant, Setup, bets_with, codec, draw_dialects, eventually,
    numbered_bet, packet_in, refusals,
};
use lottery::protocol::Receipt;

fn setup(dialect: &str) -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_server")).with("SERVER_PROTOCOL", dialect)
}

/// An honest agency is served on a connection of its own.
fn serves_others(central: &Central<'_>, dialect: &str) {
    let stored = Participant::connect(central.port, dialect, 200).store(&[numbered_bet(1, false)]);
    assert_eq!(stored, Receipt::Stored { winners: None }, "{dialect}");
}

/// A good beginning of a connection: the greeting and a batch of six bets.
fn greeting_and_batch(dialect: &str) -> (usize, Vec<u8>) {
    let mut codec = codec(dialect, 1);
    let greeting = codec.greeting();
    let batch = packet_in(&mut *codec, &bets_with(FIVE[0]));
    (greeting.len(), [greeting, batch].concat())
}

#[test]
fn a_message_cut_anywhere_by_the_end_of_the_connection_leaves_nothing() {
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
        // Whoever has sent nothing, or no more than the greeting, has said goodbye, not broken off.
        let (told, expected) = ("closed before the end of its request", bytes.len() - 1 - greeting);
        let lines = || central.program.count_lines_with(told);
        eventually("a line for each", lines, |lines| *lines == expected);
        central.nobody_in_flight_within_a_second();
        serves_others(&central, dialect);
        assert_eq!(setup.rows().len(), 1, "{dialect}");
        assert_eq!(central.number("worker_deaths"), 0, "{dialect}");
        assert_eq!(central.program.count_lines_with("result: fail"), expected, "{dialect}");
    }
}

#[test]
fn a_message_cut_by_a_reset_or_never_ended_leaves_nothing() {
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
            eventually("a batch begins", || processing.iter().sum::<u16>(), |count| *count == 1);
            agency
        };
        let reset = begun();
        let port = reset.port();
        reset.reset();
        central.nobody_in_flight_within_a_second();
        let mut never_ended = begun();
        // Says nothing at all: no hello where one is wanted.
        let mut silent = Agency::connect(central.port);
        assert!(
            never_ended.read_to_end().is_empty() && silent.read_to_end().is_empty(),
            "{dialect}"
        );
        central.nobody_in_flight_within_a_second();
        serves_others(&central, dialect);
        assert_eq!(setup.rows().len(), 1, "{dialect}");
        let (late, nobody) = (never_ended.port(), silent.port());
        drop((never_ended, silent));
        let log = central.stop_and_read_log();
        for (port, reason) in [(port, "reset by peer"), (late, "not done within 300ms")] {
            let lines = refusals(&log, port);
            assert!(matches!(&lines[..], [line] if line.contains(reason)), "{dialect}: {lines:?}");
        }
        assert!(refusals(&log, nobody).is_empty(), "{dialect}: {:?}", refusals(&log, nobody));
    }
}

#[test]
fn a_message_that_arrives_byte_by_byte_is_the_same_message() {
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        // Bets with letters of two bytes, which are cut in two as well.
        let bet = lottery::Bet { last_name: "Álvarez Ñandú", ..numbered_bet(7, false) };
        let mut codec = codec(dialect, 1);
        let (greeting, batch) = (codec.greeting(), packet_in(&mut *codec, &[bet; 20]));
        let mut agency = central.connect();
        for byte in [greeting, batch].concat() {
            agency.send(&[byte]);
        }
        (0..20).for_each(|_| assert_eq!(codec.push(&bet), Ok(lottery::protocol::Push::Added)));
        let receipt = agency.read_reply(|reply| codec.receipt(reply));
        assert_eq!(receipt, Receipt::Stored { winners: None }, "{dialect}");
        assert_eq!(
            setup.rows(),
            ["1,Santiago Lionel,Álvarez Ñandú,7,1999-03-17,1033"; 20],
            "{dialect}"
        );
    }
}
