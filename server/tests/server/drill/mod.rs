//! The reference deployment under failures: three nodes of PostgreSQL under Patroni, three
//! centrals, and agencies that keep a history of what was acknowledged. `make drill` prepares the
//! namespaces in which it runs, and takes minutes.
//!
//! Every failure has a lottery of its own. At its end everything acknowledged is stored once, the
//! draw was held once, and all totals that agencies have seen are explained.

mod agency;
mod failure;
mod history;
mod nodes;
mod outcome;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use agency::Agency;
use failure::{FAILURES, Failure};
use nodes::Nodes;
use outcome::Outcome;

/// Agencies of each lottery.
const AGENCIES: u16 = 24;
/// The centrals and their addresses.
const CENTRALS: [&str; 3] = ["central1", "central2", "central3"];
const ADDRESSES: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 75, 74, 21), Ipv4Addr::new(10, 75, 74, 22), Ipv4Addr::new(10, 75, 74, 23)];
const PORT: u16 = 12345;
/// What the centrals connect to.
const STORAGE: &str = "postgres://lottery:lottery@10.75.74.11,10.75.74.12,10.75.74.13/lottery";
/// Load before and after a failure.
const UNDISTURBED: Duration = Duration::from_secs(5);
/// Batches whose acknowledgements and totals the whole drill checks at least. Without the failures
/// that the environment leaves out, fewer are enough.
const BATCHES: usize = 100_000;

#[test]
#[ignore = "make drill starts it, in namespaces of its own"]
fn whichever_machine_fails_nothing_acknowledged_is_lost_or_stored_twice() {
    let wanted = std::env::var("DRILL").unwrap_or_default();
    let words: Vec<_> = wanted.split_whitespace().collect();
    let is_wanted =
        |it: &&Failure| words.is_empty() || words.iter().any(|word| it.name.contains(word));
    let mut nodes = Nodes::start();
    println!("{}", Outcome::HEADING);
    let (mut batches, mut queries, mut is_correct) = (0, 0, true);
    for failure in FAILURES.iter().filter(is_wanted) {
        let outcome = drill(&mut nodes, failure);
        println!("{outcome}");
        is_correct &= outcome.is_correct();
        batches += outcome.batches;
        queries += outcome.queries;
    }
    println!("history: {batches} batches and {queries} totals");
    assert!(is_correct, "the table shows what was lost, stored twice or wrong");
    assert!(batches >= BATCHES || !words.is_empty(), "only {batches} batches");
}

/// Sets a flag when it is dropped.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs a lottery during which a failure occurs.
fn drill(nodes: &mut Nodes, failure: &Failure) -> Outcome {
    nodes.set_settings(vec![
        ("SERVER_STORAGE", STORAGE.to_owned()),
        ("SERVER_LOTTERY", failure.name.to_owned()),
        ("SERVER_PROTOCOL", "keyed".to_owned()),
        ("SERVER_IP", "0.0.0.0".to_owned()),
        ("SERVER_PORT", PORT.to_string()),
        ("SERVER_WORKERS", "2".to_owned()),
        ("SERVER_AGENCIES", AGENCIES.to_string()),
        // Longer than a failover.
        ("SERVER_REQUEST_TIMEOUT", "60s".to_owned()),
        ("LOGGING_LEVEL", "INFO".to_owned()),
    ]);
    for central in CENTRALS {
        nodes.start_central(central);
    }
    let nodes = &*nodes;
    nodes.record_draws();
    let stop = AtomicBool::new(false);
    let (agencies, draw) = scope(|scope| {
        let agency = |number| {
            let stop = &stop;
            let agency = Agency::new(number, &ADDRESSES, PORT, number.into());
            scope.spawn(move || agency.work(stop))
        };
        let agencies: Vec<_> = (1..=AGENCIES).map(agency).collect();
        // Also after a panic, or the scope would wait for the agencies for ever.
        let stopping = SetOnDrop(&stop);
        sleep(UNDISTURBED);
        failure.perform(nodes, CENTRALS[0], || stop.store(true, Ordering::SeqCst));
        nodes.wait_until_healthy();
        sleep(UNDISTURBED);
        drop(stopping);
        let finished = Instant::now();
        let agencies: Vec<_> = agencies.into_iter().map(|agency| agency.join().unwrap()).collect();
        (agencies, finished.elapsed())
    });
    let outcome = Outcome::of(failure.name, nodes, &agencies, draw);
    for central in CENTRALS {
        nodes.run(&["kill", central]);
    }
    outcome
}
