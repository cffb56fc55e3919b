//! Every program in `examples/` ends well, prints its point, and leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The beginnings of lines by which each program shows its point, worked out by hand.
const SAID: [(&str, &[&str]); 25] = [
    // One child adds 1, 2 and 3, the other one 100, 200 and 300.
    ("array", &["in the end: [0, 101, 202, 303], the largest is Some(303)"]),
    (
        "barrier",
        &[
            "survivor: the barrier is broken: a party was killed (",
            "the survivor ended with exit code 0",
        ],
    ),
    ("bounded_semaphore", &["releasing 1 units too many: the semaphore has no more than 2"]),
    ("condition", &["consumed 7574", "producer: exit code 0", "consumer: exit code 0"]),
    ("event", &["two runners wait", "one ran: exit code 0"]),
    (
        "joinable_queue",
        &["did 3 ms of work", "did 4 ms of work", "lost: 1", "0 of 8 messages, closed (1 lost)"],
    ),
    // "be" is twice in the first text and once in the last one; "rose" is in the second one only.
    (
        "message_queue",
        &[
            "refused: a message of 202 bytes is too long for a queue with a capacity of 100",
            "{\"a\": 3, \"be\": 3, \"is\": 2, \"not\": 1, \"or\": 1, \"rose\": 3, \"to\": 2}",
        ],
    ),
    // Of 100, 30 have left the first account and not reached the second.
    ("lock", &["it left [70, 0] in the accounts", "repaired: [100, 0]"]),
    // 0 + 1 + ... + 7, by the worker of the odd jobs.
    (
        "pipe",
        &[
            "worker 1, job 7: 28",
            "worker 1 is gone: SIGKILL",
            "worker 0, which saw the end of its pipe: exit code 0",
        ],
    ),
    (
        "pool",
        &["worker 0 was ended by SIGKILL", "SIGTERM stops the pool", "the pool ended: Stopped"],
    ),
    (
        "process",
        &["one returned: exit code 42", "one panicked: exit code 101", "it was ended: SIGTERM"],
    ),
    // 1 + 4 + 9 + 16.
    ("producer_consumer", &["30"]),
    // 1 + 2 + ... + n is n (n + 1) / 2, here for 1000 and 10000.
    ("queue", &["job 1: 500500", "job 10: 50005000", "sums: 0 of 16 messages"]),
    // Three workers, 1000 steps each; the last step of the third one is 999 times 3.
    ("raw", &["served: 3000", "by each: [1000, 1000, 1000]", "slowest: 2997 ms"]),
    ("reload", &["generation 2 has 2 workers", "the pool ended: Stopped"]),
    ("rlock", &["held by ", "free (recovered 1 times)"]),
    (
        "segment",
        &["its creator lives: true", "Value \"winners\": 41", "Lock \"lock\": free", "winners: 42"],
    ),
    ("semaphore", &["recovered from dead processes: 1"]),
    ("shareable", &["agency 1 in Rosario: 10 bets of 2.5", "agency 2 in Ushuaia: 20 bets of 2.5"]),
    ("shared_counter", &["4000"]),
    // 1 + 2 + ... + 6.
    ("shared_state", &["3 workers served 21", "3 objects in example-shared-state."]),
    (
        "spawn",
        &[
            "counted: 1",
            "counted: 2",
            "a number: 42",
            "no number: the child failed: invalid digit found in string",
            "it was ended by SIGKILL, and its pipe says: Err(Closed)",
        ],
    ),
    // There are 168 primes below 1000. 100 is divided by 5, 0 and 4.
    (
        "task_pool",
        &[
            "primes: [false, true, true, false, true, false, true]",
            "by thousands: [168, ",
            "a worker ended by SIGKILL",
            "and the other task gave 42",
            "quotient 20",
            "panicked: attempt to divide by zero",
            "quotient 25",
        ],
    ),
    // Twice 1 + 2 + ... + 1000.
    ("value", &["after one that was killed: [2000, 1001000]", "and one more: [2001, 1001000]"]),
    // Three modules are imported, and no other word is there three times.
    ("word_count", &["3 import"]),
];

/// Returns the names of the programs.
fn programs() -> BTreeSet<String> {
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// Returns the path of a program. Cargo builds it in a directory beside that of this test.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples").join(name)
}

/// Runs a program to its end within a limit, and returns its output and its pid.
fn run(name: &str) -> (Output, u32) {
    let program = program(name);
    let mut command = Command::new(&program);
    if name == "word_count" {
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/in_python/word_count.py"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap_or_else(|error| {
        // `cargo test --test rules` does not build them; `cargo test` does.
        panic!("{}: {error}; build it with cargo build --examples", program.display())
    });
    let pid = running.id();
    let begun = Instant::now();
    // The program prints less than a pipe holds.
    while running.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(30) {
            // Its children end with it.
            running.kill().unwrap();
            let output = running.wait_with_output().unwrap();
            panic!("{name} hangs, after {}", String::from_utf8_lossy(&output.stdout));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    (running.wait_with_output().unwrap(), pid)
}

#[test]
fn this_test_knows_what_every_example_prints() {
    let expected: BTreeSet<_> = SAID.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(programs(), expected, "the programs in examples/ and those that this test knows");
    assert!(SAID.iter().all(|(_, lines)| !lines.is_empty()));
}

#[test]
fn every_example_prints_its_point_ends_well_and_leaves_no_segment() {
    for (name, lines) in SAID {
        let (output, pid) = run(name);
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}: {}\n{said}\n{errors}", output.status);
        for line in lines {
            let is_there = said.lines().any(|other| other.starts_with(line));
            assert!(is_there, "{name} does not say {line:?}:\n{said}\n{errors}");
        }
        let left = fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.file_name());
        let of_it =
            |entry: &std::ffi::OsString| entry.to_string_lossy().ends_with(&format!(".{pid}"));
        let left: Vec<_> = left.filter(of_it).collect();
        assert!(left.is_empty(), "{name} leaves {left:?}");
    }
}

/// Returns the lines of a program that are neither empty nor comments.
fn code_lines(path: &str) -> usize {
    let source = fs::read_to_string(path).unwrap();
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    source.lines().filter(is_code).count()
}

#[test]
fn the_same_program_in_python_prints_the_same_and_is_not_much_shorter() {
    let examples = format!("{}/examples", env!("CARGO_MANIFEST_DIR"));
    let file = format!("{examples}/word_count.rs");
    for (name, arguments) in
        [("word_count", &[file.as_str()][..]), ("shared_counter", &[]), ("producer_consumer", &[])]
    {
        let python = format!("{examples}/in_python/{name}.py");
        let (here, there) = (code_lines(&format!("{examples}/{name}.rs")), code_lines(&python));
        assert!(2 * here <= 3 * there, "{name}: {here} lines, {there} in Python");
        let Ok(theirs) = Command::new("python3").arg(&python).args(arguments).output() else {
            continue;
        };
        let ours = Command::new(program(name)).args(arguments).output().unwrap();
        let ours = String::from_utf8_lossy(&ours.stdout).into_owned();
        assert!(
            !ours.is_empty() && ours == String::from_utf8_lossy(&theirs.stdout),
            "{name}: {ours}"
        );
    }
}

#[test]
fn every_example_fits_on_a_page() {
    for name in programs() {
        let source = format!("{}/examples/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = fs::read_to_string(source).unwrap();
        assert!(source.lines().count() <= 50, "{name} has {} lines", source.lines().count());
        assert!(source.starts_with("//! "), "{name} does not say what it shows");
        assert!(
            source.contains(&format!("--example {name}`")),
            "{name} does not say how to run it"
        );
        assert!(
            !source.contains("unwrap") && !source.contains("unsafe"),
            "{name} is no example to follow"
        );
    }
}
