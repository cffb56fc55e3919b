//! `loteria-agency bench` against a central of every dialect: what it reports as answered is
//! stored.

use std::process::Command;
use std::thread;

use lottery::protocol::DIALECTS;
use serde_json::Value;

use crate::harness::{Setup, client_program};

/// Number of clients of each run.
const CLIENTS: u64 = 5;

#[test]
fn the_bets_that_a_bench_reports_are_stored_in_every_dialect_and_use_of_connections() {
    let Some(client) = client_program() else { return };
    let client = &*client;
    let run = |name: &'static str, kept: bool, batch: &str| {
        let setup = Setup::new().with("SERVER_PROTOCOL", name);
        let central = setup.start();
        let mut command = Command::new(client);
        command.args(["bench", "--json", "--seconds", "0.3", "--protocol", name]);
        command.args(["--clients", &CLIENTS.to_string(), "--batch", batch]);
        command.args(kept.then_some("--kept")).arg(format!("127.0.0.1:{}", central.port));
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}, kept {kept}: {errors}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let number = |key: &str| report[key].as_u64().unwrap();
        assert!(number("batches") >= CLIENTS, "{name}, kept {kept}: {report}");
        assert_eq!(report["errors"], serde_json::json!({}), "{name}, kept {kept}");
        assert_eq!(number("bets"), number("batches") * number("bets_per_batch"));
        assert_eq!(setup.rows().len() as u64, number("bets"), "{name}, kept {kept}: {report}");
        central.none_in_flight_within_a_second();
    };
    thread::scope(|scope| {
        for dialect in DIALECTS {
            let batch = if dialect.agency.is_some() { "10" } else { "1kB" };
            scope.spawn(move || run(dialect.name, false, batch));
            if dialect.keeps_connections() {
                scope.spawn(move || run(dialect.name, true, "8kB"));
            }
        }
    });
}
