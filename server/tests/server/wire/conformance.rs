//! `loteria-agency check`, which checks any server against the rules of its dialect, passes this
//! one.

use std::path::Path;
use std::process::Command;
use std::thread;

use crate::harness::{CentralProcess, Setup, client_program};
use lottery::protocol::{DIALECTS, Dialect, Scope};
use serde_json::Value;

fn setup(dialect: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", dialect)
}

/// Runs a check. Returns its exit code and its report.
fn check(
    client: &Path,
    central: &CentralProcess<'_>,
    dialect: &str,
    arguments: &[&str],
) -> (Option<i32>, Value) {
    let address = format!("127.0.0.1:{}", central.port);
    let mut command = Command::new(client);
    command.args(["check", "--json", "--protocol", dialect, &address]).args(arguments);
    let output = command.output().unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code(), report)
}

/// Asserts that the central keeps every rule. Returns the number of rules of the described systems
/// and of rules beyond them.
fn assert_keeps_rules(
    client: &Path,
    central: &CentralProcess<'_>,
    dialect: &str,
    arguments: &[&str],
) -> [usize; 2] {
    let (code, report) = check(client, central, dialect, &[arguments, &["--beyond"]].concat());
    let rows = report["rules"].as_array().unwrap();
    let failed: Vec<_> = rows.iter().filter(|row| row["passed"] != true).collect();
    assert!(failed.is_empty(), "{dialect} {arguments:?}: {failed:#?}");
    assert_eq!((code, report["passed"].as_u64()), (Some(0), Some(rows.len() as u64)), "{dialect}");
    [false, true].map(|beyond| rows.iter().filter(|row| row["beyond"] == beyond).count())
}

/// Runs a test for every dialect that `selects` accepts, all at once, because a check mostly waits.
fn for_each(selects: impl Fn(&Dialect) -> bool, test: impl Fn(&Path, &'static Dialect) + Sync) {
    let Some(client) = client_program() else { return };
    let (client, test) = (&*client, &test);
    let dialects = DIALECTS.iter().filter(|dialect| selects(dialect));
    thread::scope(|scope| {
        dialects.for_each(|dialect| drop(scope.spawn(move || test(client, dialect))));
    });
}

#[test]
fn every_dialect_keeps_its_rules_however_connections_are_used() {
    for_each(
        |_| true,
        |client, dialect| {
            for connection in dialect.connections {
                let setup = setup(dialect.name);
                let [rules, beyond] = assert_keeps_rules(
                    client,
                    &setup.start(),
                    dialect.name,
                    &["--connection", connection.name()],
                );
                // Each rule counts twice, whole and byte by byte, and at least one needs several
                // connections.
                let all = (dialect.rules)();
                assert!(rules + beyond > 2 * all.len(), "{}: {rules}, {beyond}", dialect.name);
                let marked = all.iter().map(|rule| match rule.scope {
                    Scope::Kept => usize::from(!dialect.originals_join_reads),
                    Scope::Broken | Scope::Fatal => 2,
                });
                // Three rules about an agency that misbehaves, and two after the draw. Without a
                // draw, one about numbers, three about totals and one about an invalid bet.
                let with_agencies = if dialect.agency.is_some() { 5 } else { 0 };
                assert_eq!(beyond, marked.sum::<usize>() + with_agencies, "{}", dialect.name);
            }
        },
    );
}

#[test]
fn the_rules_hold_with_other_numbers_of_agencies() {
    for_each(
        |dialect| dialect.waits_for_draw,
        |client, dialect| {
            for agencies in ["2", "12"] {
                let setup = setup(dialect.name).with("SERVER_AGENCIES", agencies);
                let arguments = ["--agencies", agencies];
                assert_keeps_rules(client, &setup.start(), dialect.name, &arguments);
            }
        },
    );
}

#[test]
fn the_rules_hold_with_early_queries_refused() {
    for_each(
        |dialect| ["framed", "keyed"].contains(&dialect.name),
        |client, dialect| {
            for connection in dialect.connections {
                let setup = setup(dialect.name).with("SERVER_EARLY_QUERY", "refuse");
                let arguments = ["--connection", connection.name()];
                assert_keeps_rules(client, &setup.start(), dialect.name, &arguments);
            }
        },
    );
}

#[test]
fn a_check_with_a_draw_needs_a_fresh_server_and_a_check_without_leaves_it_fresh() {
    for_each(
        |dialect| dialect.waits_for_draw,
        |client, dialect| {
            let setup = setup(dialect.name);
            let central = setup.start();
            let code = |arguments: &[&str]| check(client, &central, dialect.name, arguments).0;
            // Long enough for a reply on a loaded machine.
            let patient = ["--timeout", "6s"];
            assert_eq!(code(&["--no-draw", "--timeout", "6s"]), Some(0), "{}", dialect.name);
            assert_eq!(code(&patient), Some(0), "{}", dialect.name);
            // After the draw the central refuses every bet.
            assert_eq!(code(&["--timeout", "500ms"]), Some(1), "{}", dialect.name);
        },
    );
}
