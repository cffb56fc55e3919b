//! Every soak is run in its short form by a test, and in its long form by `make soak`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What stands before `end` in the sources, behind the last quotation mark before it.
fn before<'a>(sources: &'a [String], end: &str) -> BTreeSet<&'a str> {
    let parts =
        sources.iter().flat_map(|source| source.match_indices(end).map(|(at, _)| &source[..at]));
    parts.map(|part| part.rsplit('"').next().unwrap()).collect()
}

#[test]
fn every_soak_has_a_short_form_among_the_tests_and_a_long_one_in_make_soak() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let read = |file: &str| fs::read_to_string(tests.join(file)).unwrap();
    let scenarios = [read("probe/probe.rs")];
    let scenarios = before(&scenarios, "-soak\"] =>");
    let files = fs::read_dir(&tests).unwrap().map(|entry| entry.unwrap().path());
    let short: Vec<_> =
        files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(before(&short, "-soak\")"), scenarios);
    let long = read("soak/soak.rs");
    let (_, long) = long.split_once("const PRIMITIVES").unwrap();
    let (table, _) = long.split_once("];\n").unwrap();
    assert_eq!(before(&[table.to_owned()], "\",\n"), scenarios);
    assert!(scenarios.len() >= 18, "{scenarios:?}");
}
