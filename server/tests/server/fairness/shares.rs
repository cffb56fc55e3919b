//! Kept connections are distributed among the workers.

use crate::harness::{Participant, Setup, eventually};
use lottery::protocol::{ConnectionUse, DIALECTS};

const AGENCIES: u16 = 20;

#[test]
fn no_worker_gets_nearly_all_the_kept_connections() {
    for dialect in DIALECTS.iter().filter(|dialect| dialect.connections[0] == ConnectionUse::Kept) {
        let setup = Setup::new().with("SERVER_PROTOCOL", dialect.name).with("SERVER_WORKERS", "4");
        let central = setup.start();
        let _connected: Vec<_> = (1..=AGENCIES)
            .map(|number| Participant::connect(central.port, dialect.name, number))
            .collect();
        let shares = || central.worker_numbers("connections");
        let all_are_in = |shares: &Vec<u64>| shares.iter().sum::<u64>() == u64::from(AGENCIES);
        let shares = eventually("every connection accepted", shares, all_are_in);
        // Five each, unless a worker is slow to wake up on a busy machine. Without distribution,
        // one worker has nearly all of them.
        assert!(shares.iter().all(|share| *share <= 12), "{}: {shares:?}", dialect.name);
    }
}
