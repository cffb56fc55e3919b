//! No more sessions begin than the file of the sessions has room for.

use lottery::protocol::Advice;

use crate::harness::{AgencyConnection, KeyedAgency, Setup};

/// Most sessions of a storage.
const MAX_SESSIONS: u64 = 16_384;

/// Sends a request as the only one of its connection, and returns the reply.
fn ask(port: u16, request: &[u8]) -> Vec<u8> {
    let mut connection = AgencyConnection::open(port);
    connection.send(request);
    connection.end_sending();
    connection.read_to_end()
}

#[test]
fn a_new_session_is_refused_when_there_is_no_room_and_the_others_go_on() {
    let setup = Setup::new().with("SERVER_PROTOCOL", "keyed").with("LOGGING_LEVEL", "INFO");
    let central = setup.start();
    let mut connection = central.connect();
    let mut first =
        KeyedAgency::with_session(1, MAX_SESSIONS.to_be_bytes().repeat(2).try_into().unwrap());
    let stored = ask(central.port, &first.batch(1, "a"));
    first.assert_stored(&stored, "a");
    for session in 1..MAX_SESSIONS {
        let mut agency = KeyedAgency::with_session(1, u128::from(session).to_le_bytes());
        connection.send(&agency.batch(1, "a"));
        assert_eq!(connection.read_bytes(stored.len()), stored, "session {session}");
    }
    let mut late = KeyedAgency::new(2);
    let refused = ask(central.port, &late.batch(1, "a"));
    assert_eq!(late.advice(&refused), Advice::Stop);
    assert_eq!(ask(central.port, &first.batch(2, "a")), stored);
    assert_eq!(setup.rows().len() as u64, 3 * (MAX_SESSIONS + 1));
}
