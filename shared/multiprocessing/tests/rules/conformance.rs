//! The list of the assertions of Python's own tests is complete, names tests that exist, and has
//! the right counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::test_names::count_tests;

const PAGE: &str = include_str!("../../CONFORMANCE.md");

/// The number of rows of each primitive.
const PRIMITIVES: [(&str, usize); 23] = [
    ("Process", 30),
    ("Fork", 19),
    ("Lock", 4),
    ("RLock", 4),
    ("Semaphore", 2),
    ("BoundedSemaphore", 1),
    ("Condition", 7),
    ("Event", 2),
    ("Barrier", 11),
    ("Value", 2),
    ("RawValue", 1),
    ("Array", 6),
    ("RawArray", 1),
    ("Heap", 2),
    ("Queue", 11),
    ("SimpleQueue", 4),
    ("Pipe", 28),
    ("Pool", 34),
    ("SharedMemory", 11),
    ("SharedMemoryManager", 3),
    ("ShareableList", 3),
    ("ResourceTracker", 8),
    ("Manager", 7),
];

const MARKS: [&str; 4] = ["ported", "adapted", "not applicable", "not built yet"];

fn tests_of_the_crate() -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for directory in ["src", "tests"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        count_tests(&directory, &[], &mut names);
    }
    names
}

/// Returns the cells of the table lines of a page.
fn table_lines(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let tables = page.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    tables.map(|line| line.split('|').map(str::trim).collect())
}

/// Returns the problems of a page, and how many rows of each primitive have each mark.
fn examine(
    page: &str,
    tests: &BTreeMap<String, usize>,
) -> (Vec<String>, BTreeMap<String, [usize; 4]>) {
    let mut problems = Vec::new();
    let mut rows = BTreeSet::new();
    let mut counts = BTreeMap::<String, [usize; 4]>::new();
    let is_heading = |cells: &Vec<&str>| cells[0] == "row" || cells[0].starts_with("--");
    for cells in table_lines(page).filter(|cells| !is_heading(cells)) {
        let [row, cpython, what, mark, named, why] = cells[..] else {
            problems.push(format!("{cells:?} is no row"));
            continue;
        };
        let (primitive, _) = row.rsplit_once('-').unwrap_or((row, ""));
        if !rows.insert(row.to_owned()) {
            problems.push(format!("{row} is there twice"));
        }
        if cpython.is_empty() || what.is_empty() {
            problems.push(format!("{row} has an empty cell"));
        }
        let Some(number) = MARKS.iter().position(|known| *known == mark) else {
            problems.push(format!("{row} is marked {mark:?}"));
            continue;
        };
        for key in [primitive, "all"] {
            counts.entry(key.to_owned()).or_default()[number] += 1;
        }
        let named: Vec<_> = named.split("<br>").filter(|name| !name.is_empty()).collect();
        if named.is_empty() == (number < 2) {
            problems.push(format!("{row} is {mark} and names {} tests", named.len()));
        }
        if why.is_empty() && number > 0 {
            problems.push(format!("{row} is {mark} and does not say why"));
        }
        for name in named {
            match tests.get(name.trim_matches('`')) {
                None => problems.push(format!("{row} names {name}, which is no test")),
                Some(1) => {}
                Some(_) => {
                    problems.push(format!("{row} names {name}, which is the name of several"))
                }
            }
        }
    }
    let expected = PRIMITIVES
        .iter()
        .flat_map(|(name, rows)| (1..=*rows).map(move |row| format!("{name}-{row}")));
    let expected: BTreeSet<_> = expected.collect();
    problems.extend(expected.difference(&rows).map(|row| format!("{row} is missing")));
    problems.extend(rows.difference(&expected).map(|row| format!("{row} is not in the list")));
    (problems, counts)
}

/// Returns the wrong counts at the top of a page.
fn wrong_counts(page: &str, counts: &BTreeMap<String, [usize; 4]>) -> Vec<String> {
    let top = page.split("\n## ").next().unwrap();
    let listed: BTreeMap<_, Vec<usize>> = table_lines(top)
        .map(|cells| {
            (cells[0].to_owned(), cells[1..].iter().filter_map(|cell| cell.parse().ok()).collect())
        })
        .collect();
    let counted = counts.iter().map(|(primitive, marks)| {
        let right = [&[marks.iter().sum()], &marks[..]].concat();
        (listed.get(primitive) != Some(&right)).then(|| format!("{primitive} has {right:?}"))
    });
    counted.flatten().collect()
}

fn problems(page: &str) -> Vec<String> {
    // The first table has the counts.
    let (top, rows) = page.split_once("\n## ").unwrap();
    let (mut problems, counts) = examine(rows, &tests_of_the_crate());
    problems.extend(wrong_counts(top, &counts));
    problems
}

#[test]
fn every_row_names_tests_that_exist_and_the_counts_are_right() {
    assert_eq!(problems(PAGE), [""; 0]);
    let (_, counts) = examine(PAGE.split_once("\n## ").unwrap().1, &tests_of_the_crate());
    assert_eq!(counts["all"].iter().sum::<usize>(), 201);
    println!("{} of 201 rows are of primitives that are not built yet", counts["all"][3]);
}

#[test]
fn a_page_with_missing_invented_or_miscounted_rows_is_refused() {
    let line = |start: &str| PAGE.lines().find(|line| line.starts_with(start)).unwrap();
    let lock = line("| Lock-1 |");
    let times = line("| Semaphore-2 |");
    let unneeded = line("| Pool-21 |");
    let cases = [
        (lock, String::new(), "Lock-1 is missing"),
        (lock, lock.replace("Lock-1", "Lock-9"), "Lock-9 is not in the list"),
        (lock, lock.replace("Lock-1", "Lock-2"), "Lock-2 is there twice"),
        (lock, lock.replace("locking_twice", "locking_thrice"), "which is no test"),
        (lock, lock.replace("ported", "done"), "Lock-1 is marked \"done\""),
        (
            lock,
            lock.replace("ported", "not applicable"),
            "Lock-1 is not applicable and names 2 tests",
        ),
        (lock, lock.replace("ported", "adapted"), "Lock-1 is adapted and does not say why"),
        (lock, lock.replace("ported", "adapted"), "Lock has "),
        (lock, lock.replace(" taken,", " | taken,"), "is no row"),
        (times, times.replace("semaphore::waits", "waits"), "which is the name of several"),
        (
            unneeded,
            unneeded.replace("not applicable", "ported"),
            "Pool-21 is ported and names 0 tests",
        ),
        (line("| all |"), line("| all |").replace("201", "202"), "all has [201,"),
        (line("| Lock |"), String::new(), "Lock has "),
    ];
    for (old, new, expected) in cases {
        let problems = problems(&PAGE.replacen(old, &new, 1));
        assert!(
            problems.iter().any(|problem| problem.contains(expected)),
            "{expected}: {problems:?}"
        );
    }
}
