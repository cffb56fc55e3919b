//! A query before the draw, where it is a message of its own: it waits, or is refused and may be repeated.

#![allow(clippy::unwrap_used)]

use harness::{Participant, Setup, bet};
use lottery::protocol::Answer;

#[test]
fn where_early_queries_are_refused_one_connection_asks_until_the_draw_was_held() {
    let setup = Setup::new(env!("CARGO_BIN_EXE_server"))
        .with("SERVER_PROTOCOL", "framed")
        .with("SERVER_AGENCIES", "2")
        .with("SERVER_EARLY_QUERY", "refuse");
    let central = setup.start();
    let mut first = Participant::connect(central.port, "framed", 1);
    first.store(&[bet("30904465", true)]);
    first.finish();
    for _ in 0..3 {
        assert_eq!(first.answer(), Answer::NotYet);
        first.ask();
    }
    assert_eq!(first.answer(), Answer::NotYet);
    let mut second = Participant::connect(central.port, "framed", 2);
    second.finish();
    central.program.line_with("action: sorteo | result: success");
    first.ask();
    assert_eq!(first.winners(), (1, b"WINNERS|30904465\n".to_vec()));
}
