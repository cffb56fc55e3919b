//! The instructions that a worker executes in its own code to check a full batch and to write its
//! rows, per dialect. They are counted with callgrind, so other programs do not change them.
//!
//! `cargo test --release -p lottery-bench --test instructions` compares them with
//! `instructions.csv`. If a change is worth more instructions, or saves some, replace the contents
//! of the file with what the test prints.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::{Command, Stdio};

use lottery::protocol::DIALECTS;

/// Instructions that a batch may cost in percent of those in the file.
const LIMIT_PERCENT: u64 = 105;

/// Batches of the two runs that are compared. The difference leaves out the start of the program.
const RUNS: [u64; 2] = [10, 60];

const BEFORE: &str = include_str!("../instructions.csv");
const HEADING: &str = "dialect,path,instructions";

/// Returns the instructions of a run, which callgrind prints as `Collected : N`.
fn count(dialect: &str, path: &str, times: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env!("CARGO_BIN_EXE_lottery-bench"))
        .args(["codec", "--protocol", dialect, "--path", path, "--times", &times.to_string()])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    let counted = printed.split("Collected : ").nth(1).and_then(|rest| rest.lines().next());
    counted.and_then(|digits| digits.trim().parse().ok()).unwrap_or_else(|| panic!("{printed}"))
}

/// Returns why the instructions cannot be compared here.
fn obstacle() -> Option<&'static str> {
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    if cfg!(debug_assertions) {
        Some("this is not a release build")
    } else if cfg!(not(target_arch = "x86_64")) {
        Some("the file has the instructions of x86-64")
    } else if !valgrind.status().is_ok_and(|status| status.success()) {
        Some("valgrind is not installed")
    } else {
        None
    }
}

#[test]
fn no_batch_costs_five_percent_more_instructions_than_before() {
    if let Some(obstacle) = obstacle() {
        println!("left out: {obstacle}");
        return;
    }
    let lines = BEFORE.lines().skip(1).map(|line| line.rsplit_once(',').unwrap());
    let before: BTreeMap<_, u64> =
        lines.map(|(key, count)| (key, count.parse().unwrap())).collect();
    let (mut now, mut grown) = (format!("{HEADING}\n"), Vec::new());
    for dialect in DIALECTS.iter().filter(|dialect| dialect.agency.is_some()) {
        for path in ["prepare", "decode"] {
            let [few, many] = RUNS.map(|times| count(dialect.name, path, times));
            let key = format!("{},{path}", dialect.name);
            let batch = (many - few) / (RUNS[1] - RUNS[0]);
            writeln!(now, "{key},{batch}").unwrap();
            let limit = before.get(&*key).map_or(0, |before| before * LIMIT_PERCENT / 100);
            if batch > limit {
                grown.push(key);
            }
        }
    }
    println!("{now}");
    assert!(
        grown.is_empty(),
        "more instructions than in benches/instructions.csv: {grown:?}\n{now}"
    );
}
