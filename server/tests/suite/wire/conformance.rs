//! Our server against the rules of every dialect, as `client check` holds any server against them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::harness::{Central, Setup};
use lottery::protocol::{DIALECTS, Dialect};
use serde_json::Value;

/// The client, which is built beside the server.
fn client() -> PathBuf {
    let client = Path::new(env!("CARGO_BIN_EXE_server")).with_file_name("client");
    assert!(client.exists(), "{} is missing: build the whole workspace", client.display());
    client
}

fn setup(dialect: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", dialect)
}

/// The exit code of a check, and its report.
fn check(central: &Central<'_>, dialect: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let address = format!("127.0.0.1:{}", central.port);
    let mut command = Command::new(client());
    command.args(["check", "--json", "--protocol", dialect, &address]).args(arguments);
    let output = command.output().unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code(), report)
}

/// Checks that every rule is kept, also those beyond the described systems, and returns how many there are of which kind.
fn keeps_everything(central: &Central<'_>, dialect: &str, arguments: &[&str]) -> [usize; 2] {
    let (code, report) = check(central, dialect, &[arguments, &["--beyond"]].concat());
    let rows = report["rules"].as_array().unwrap();
    let failed: Vec<_> = rows.iter().filter(|row| row["passed"] != true).collect();
    assert!(failed.is_empty(), "{dialect} {arguments:?}: {failed:#?}");
    assert_eq!((code, report["passed"].as_u64()), (Some(0), Some(rows.len() as u64)), "{dialect}");
    [false, true].map(|beyond| rows.iter().filter(|row| row["beyond"] == beyond).count())
}

/// Looks at every dialect of which this holds, at the same time: a check mostly waits.
fn each(holds: impl Fn(&Dialect) -> bool, look: impl Fn(&'static Dialect) + Sync) {
    let look = &look;
    let dialects = DIALECTS.iter().filter(|dialect| holds(dialect));
    thread::scope(|scope| dialects.for_each(|dialect| drop(scope.spawn(move || look(dialect)))));
}

#[test]
fn every_dialect_keeps_all_its_rules_however_connections_are_used() {
    each(
        |_| true,
        |dialect| {
            for connection in dialect.connections {
                let setup = setup(dialect.name);
                let [rules, beyond] = keeps_everything(
                    &setup.start(),
                    dialect.name,
                    &["--connection", connection.name()],
                );
                // Whole and byte by byte, and at least one that takes several connections.
                assert!(rules > 2 * (dialect.rules)().len(), "{}: {rules}", dialect.name);
                // Two about an agency that does not do what is expected of it, two after the draw.
                let expected =
                    if dialect.waits_for_draw { 4 } else { usize::from(dialect.agency.is_some()) };
                assert_eq!(beyond, expected, "{}", dialect.name);
            }
        },
    );
}

#[test]
fn other_numbers_of_agencies_keep_them_too() {
    each(
        |dialect| dialect.waits_for_draw,
        |dialect| {
            for agencies in ["2", "12"] {
                let setup = setup(dialect.name).with("SERVER_AGENCIES", agencies);
                keeps_everything(&setup.start(), dialect.name, &["--agencies", agencies]);
            }
        },
    );
}

#[test]
fn queries_that_are_refused_before_the_draw_are_no_answers() {
    for connection in ["kept", "per-request"] {
        let setup = setup("framed").with("SERVER_EARLY_QUERY", "refuse");
        keeps_everything(&setup.start(), "framed", &["--connection", connection]);
    }
}

#[test]
fn a_check_with_a_draw_needs_a_fresh_server_and_one_without_leaves_it_fresh() {
    each(
        |dialect| dialect.waits_for_draw,
        |dialect| {
            let setup = setup(dialect.name);
            let central = setup.start();
            let code = |arguments: &[&str]| check(&central, dialect.name, arguments).0;
            assert_eq!(code(&["--no-draw"]), Some(0), "{}", dialect.name);
            assert_eq!(code(&[]), Some(0), "{}", dialect.name);
            // Now it refuses every bet.
            assert_eq!(code(&["--timeout", "500ms"]), Some(1), "{}", dialect.name);
        },
    );
}
