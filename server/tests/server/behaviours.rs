//! The page of behaviours has a row for each of them. It and the threat model name only tests that
//! exist.

#[path = "../../../shared/multiprocessing/tests/rules/test_names.rs"]
mod test_names;

use std::collections::BTreeMap;
use std::path::Path;

use self::test_names::count_tests;

const PAGE: &str = include_str!("../../../docs/behaviours.md");
const THREATS: &str = include_str!("../../../docs/security.md");
/// Number of behaviours.
const ROWS: usize = 50;

/// The packages, as the page names them, and their directories.
const PACKAGES: [(&str, &str); 5] = [
    ("server", "server/tests"),
    ("client", "client/tests"),
    ("compose", "compose/tests"),
    ("library", "shared/multiprocessing/tests"),
    ("lottery", "shared/lottery/tests"),
];

fn tests() -> BTreeMap<String, usize> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = BTreeMap::new();
    for (package, directory) in PACKAGES {
        let mut names = BTreeMap::new();
        count_tests(&root.join(directory), &[], &mut names);
        all.extend(names.into_iter().map(|(name, count)| (format!("{package}::{name}"), count)));
    }
    all
}

/// Returns the problems of the names of tests in a text.
fn wrong_names(text: &str, tests: &BTreeMap<String, usize>) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2).filter(|span| span.contains("::"));
    let problem = |name: &str| match tests.get(name) {
        Some(1) => None,
        Some(_) => Some(format!("{name} names several tests")),
        None => Some(format!("{name} is no test")),
    };
    spans.filter_map(problem).collect()
}

/// Returns the problems of a page of behaviours.
fn problems(page: &str) -> Vec<String> {
    let tests = tests();
    let mut problems = Vec::new();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.filter(|row| row.starts_with(|first: char| first.is_ascii_digit()));
    let mut count = 0;
    for row in rows {
        count += 1;
        let cells: Vec<_> = row.split(" | ").collect();
        let [number, behaviour, shown] = cells[..] else {
            problems.push(format!("{row:?} is no row"));
            continue;
        };
        if number != count.to_string() || behaviour.is_empty() || shown.is_empty() {
            problems.push(format!("row {number} comes in place {count}, or has an empty cell"));
        }
        problems.extend(wrong_names(shown, &tests));
    }
    if count != ROWS {
        problems.push(format!("{count} rows instead of {ROWS}"));
    }
    problems
}

#[test]
fn every_behaviour_has_a_row_that_names_tests_that_exist() {
    assert_eq!(problems(PAGE), [""; 0]);
}

#[test]
fn the_threat_model_names_only_tests_that_exist() {
    assert_eq!(wrong_names(THREATS, &tests()), [""; 0]);
    let names = THREATS.matches("`server::").count();
    assert!(names > 20, "{names}");
}

#[test]
fn a_page_with_a_missing_row_or_a_test_that_does_not_exist_is_refused() {
    let cases = [
        ("| 4 |", "| 5 |", "row 5 comes in place 4"),
        ("lock_holder::the_next", "lock_holder::no_next", "is no test"),
        ("library::segment::wrong", "client::segment::wrong", "is no test"),
        ("\n| 50 |", "\n| | 50", "49 rows instead of 50"),
    ];
    for (old, new, expected) in cases {
        let problems = problems(&PAGE.replacen(old, new, 1));
        assert!(
            problems.iter().any(|problem| problem.contains(expected)),
            "{expected}: {problems:?}"
        );
    }
}
