//! Clients that take every place cannot shut out the agencies on which the draw depends.

use std::thread::sleep;
use std::time::Duration;

use crate::harness::{
    AgencyConnection, CentralProcess, Participant, Setup, WINNERS_BY_AGENCY, bets_with,
    count_draws, eventually, vector, winners_reply,
};

/// Places per worker.
const PLACES: usize = 40;
/// More strangers than places.
const STRANGERS: usize = 3 * PLACES;
/// More than the 5 s of silence after which a connection may lose its place.
const SILENCE: Duration = Duration::from_millis(5500);

/// Returns the setup of a central with one worker, whose draw needs agencies 1 and 2.
fn setup() -> Setup {
    Setup::new()
        .with("SERVER_PROTOCOL", "framed:0,line:0,typed:0")
        .with("SERVER_AGENCIES", "2")
        .with("SERVER_WORKERS", "1")
        .with("SERVER_CONNECTIONS", &PLACES.to_string())
}

/// Connects strangers that each send `message` and keep their connections.
fn strangers(central: &CentralProcess<'_>, message: &[u8]) -> Vec<AgencyConnection> {
    let connect = |_| {
        let mut stranger = central.connect();
        stranger.send(message);
        stranger
    };
    (0..STRANGERS).map(connect).collect()
}

/// Asserts that agencies 1 and 2 finish, the draw is held, and both get their winners.
fn finish_all(central: &CentralProcess<'_>, agencies: [Participant; 2]) {
    for (index, mut agency) in agencies.into_iter().enumerate() {
        let winners = winners_reply("framed", WINNERS_BY_AGENCY[index]);
        assert_eq!(agency.winners().1, winners, "agency {}", index + 1);
    }
    assert_eq!(central.number("worker_deaths"), 0);
}

fn finishing(central: &CentralProcess<'_>, number: u16) -> Participant {
    let mut agency = Participant::connect(central.port, "framed", number);
    agency.store(&bets_with(WINNERS_BY_AGENCY[usize::from(number) - 1]));
    agency.finish();
    agency
}

#[test]
fn strangers_that_wait_for_the_draw_give_up_their_places_to_agencies_that_finish() {
    let setup = setup();
    let central = setup.start();
    let first = finishing(&central, 1);
    central.until_waiting(1);
    let mut strangers = strangers(&central, b"\0\x10QUERY_WINNERS|2\n");
    let second = finishing(&central, 2);
    finish_all(&central, [first, second]);
    // Those that kept their places are answered, too; the oldest of the others went first.
    assert!(strangers[0].read_until_gone().is_empty(), "the oldest stranger");
    let answered = strangers.iter_mut().filter_map(|stranger| {
        let first = stranger.try_read_reply(|reply| Ok(Some(reply[0])));
        first.is_ok().then_some(())
    });
    let answered = answered.count();
    assert!((1..PLACES).contains(&answered), "{answered} answered");
    drop(strangers);
    let log = central.stop_and_read_log();
    assert_eq!(count_draws(&log), 1);
    assert!(log.iter().any(|line| line.contains("its agency has not finished")), "logged");
}

#[test]
fn strangers_that_wait_as_an_agency_that_has_finished_give_up_their_places_too() {
    let setup = setup();
    let central = setup.start();
    Participant::connect(central.port, "framed", 1).finish();
    let _strangers = strangers(&central, &vector("framed", "query_1"));
    let first = finishing(&central, 1);
    let second = finishing(&central, 2);
    finish_all(&central, [first, second]);
}

#[test]
fn silent_connections_give_up_their_places_after_a_while_in_any_dialect() {
    for (dialect, bytes) in
        [("framed", &b""[..]), ("framed", b"\0"), ("typed", b""), ("line", b"[")]
    {
        let setup = setup();
        let central = setup.start();
        let port = central.port_of(dialect);
        let mut silent: Vec<_> = (0..PLACES).map(|_| AgencyConnection::open(port)).collect();
        silent.iter_mut().for_each(|silent| silent.send(bytes));
        eventually("all places taken", || central.connections(), |count| *count == PLACES as u64);
        sleep(SILENCE);
        finish_all(&central, [finishing(&central, 1), finishing(&central, 2)]);
    }
}

#[test]
fn as_long_as_there_are_places_every_connection_waits() {
    let setup = setup();
    let central = setup.start();
    let query = vector("framed", "query_1");
    let mut waiting: Vec<_> = (0..PLACES - 2).map(|_| central.connect()).collect();
    waiting.iter_mut().for_each(|agency| agency.send(&query));
    central.until_waiting(PLACES as u32 - 2);
    finish_all(&central, [finishing(&central, 1), finishing(&central, 2)]);
    let winners = winners_reply("framed", WINNERS_BY_AGENCY[0]);
    waiting.iter_mut().for_each(|agency| assert_eq!(agency.read_bytes(winners.len()), winners));
}
