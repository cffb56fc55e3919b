//! A worker that dies in the commit of a keyed batch. The agency was not answered and sends the
//! batch again: it is stored once, and the session goes on. A preloaded library ends the worker at
//! an operation, so the test needs a C compiler.

use crate::harness::{AgencyConnection, FileShim, KeyedAgency, Setup, eventually};

/// Operations at which the worker dies before or after they are done, and the number of the next
/// batch after its death.
const DEATHS: [(&str, u64); 4] = [
    ("write bets.csv killed", 2),
    ("write winners.log killed", 2),
    ("write journal killed", 2),
    // The record is written.
    ("sync journal killed", 3),
];

/// Sends a request and ends the sending side. Returns what the central answers until the connection
/// ends in any way.
fn ask(port: u16, request: &[u8]) -> Vec<u8> {
    let mut connection = AgencyConnection::open(port);
    connection.try_send(request);
    let _gone = connection.stream().shutdown(std::net::Shutdown::Write);
    connection.read_until_gone()
}

#[test]
fn a_batch_whose_worker_dies_at_any_operation_of_its_commit_is_stored_once() {
    for (death, next) in DEATHS {
        for is_last in [false, true] {
            let setup = Setup::new()
                .with("SERVER_PROTOCOL", "keyed")
                .with("SERVER_DURABILITY", "disk")
                .with("SERVER_WORKERS", "2");
            let Some(shim) = FileShim::compile(&setup) else { return };
            let mut command = setup.command(&["run"]);
            shim.preload(&mut command);
            let central = setup.start_by(&mut command);
            let mut agency = KeyedAgency::new(1);
            let batch = |agency: &mut KeyedAgency, sequence: u64| {
                let mut packet = agency.batch(sequence, &sequence.to_string());
                packet[1] |= if is_last { 0x40 } else { 0 };
                packet
            };
            let first = batch(&mut agency, 1);
            agency.assert_stored(&ask(central.port, &first), "1");

            let second = batch(&mut agency, 2);
            shim.fail_next(death);
            assert!(ask(central.port, &second).is_empty() && !shim.is_pending(), "{death}");
            let question = agency.codec.session_question().unwrap();
            let answer = ask(central.port, &question);
            assert_eq!(agency.codec.next_sequence(&answer), Ok(Some(next)), "{death}");
            agency.assert_stored(&ask(central.port, &second), "2");
            let third = batch(&mut agency, 3);
            agency.assert_stored(&ask(central.port, &third), "3");
            assert_eq!(setup.rows().len(), 9, "{death}");
            let deaths = || central.number("worker_deaths");
            eventually("the death of the worker", deaths, |deaths| *deaths == 1);
            central.none_in_flight_within_a_second();
        }
    }
}
