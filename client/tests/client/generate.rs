//! `loteria-agency generate`: the format of the files, the same bytes for the same seed, and no
//! partial file.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGINT, SIGTERM};

use crate::support::{Ended, FakeCentral, PATIENCE, PROMPT, Setup};

fn generate<const N: usize>(arguments: [&str; N]) -> Ended {
    let ended = Setup::new().args(["generate"]).args(arguments).finish();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{ended:?}");
    ended
}

fn bytes(ended: &Ended, name: &str) -> Vec<u8> {
    fs::read(ended.directory().join(name)).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn one_file_per_agency_is_written_and_listed_with_its_bets_and_winners() {
    let ended = generate([
        "--agencies",
        "3",
        "--bets",
        "50",
        "--seed",
        "1",
        "--winners",
        "2",
        "--out",
        "new/set",
    ]);
    let expected =
        [1, 2, 3].map(|agency| format!("new/set/agency-{agency}.csv: 50 bets, 2 winners"));
    assert_eq!(ended.lines, expected);
    assert_eq!(
        names(&ended.directory().join("new/set")),
        ["agency-1.csv", "agency-2.csv", "agency-3.csv"]
    );
}

#[test]
fn by_default_five_files_with_three_winners_each_are_written_to_the_default_data_path() {
    let ended = generate([]);
    assert_eq!(ended.lines.len(), 5);
    assert_eq!(ended.lines[4], ".data/agency-5.csv: 1000 bets, 3 winners");
}

#[test]
fn with_fewer_bets_than_default_winners_all_bets_win() {
    assert_eq!(generate(["--bets", "2"]).lines[0], ".data/agency-1.csv: 2 bets, 2 winners");
    let none = generate(["--bets", "0"]);
    assert_eq!(none.lines[0], ".data/agency-1.csv: 0 bets, 0 winners");
    assert!(bytes(&none, ".data/agency-1.csv").is_empty());
}

#[test]
fn a_file_has_the_format_of_the_course_data() {
    let ended = generate(["--agencies", "1", "--bets", "5000", "--seed", "7", "--winners", "4"]);
    let text = String::from_utf8(bytes(&ended, ".data/agency-1.csv")).unwrap();
    assert_eq!(text.matches("\r\n").count(), 5000);
    assert_eq!(text.matches('\n').count(), 5000);
    assert!(!text.contains([';', '|']) && !text.contains(", "));
    assert!(text.contains('ñ') && text.contains("\"\"") && text.contains(" (hij"), "no odd names");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 5000);
    for row in &rows {
        assert_eq!(row.len(), 5);
        assert!((20_000_000..=40_000_000).contains(&row[2].parse::<u32>().unwrap()), "{row:?}");
        assert!(lottery::Birthdate::from_iso(&row[3]).is_some(), "{row:?}");
        assert!(row[4].parse::<u32>().unwrap() <= 9999, "{row:?}");
    }
    assert_eq!(rows.iter().filter(|row| &row[4] == "7574").count(), 4);
}

#[test]
fn only_fields_that_need_quotes_are_quoted() {
    let ended = generate(["--agencies", "1", "--bets", "5000"]);
    let text = String::from_utf8(bytes(&ended, ".data/agency-1.csv")).unwrap();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    for (row, line) in reader.records().zip(text.lines()) {
        let needs = row.unwrap().iter().any(|field| field.contains([',', '"']));
        assert_eq!(line.contains('"'), needs, "{line}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_gives_different_bytes() {
    let of_seed = |seed| {
        bytes(&generate(["--agencies", "1", "--bets", "200", "--seed", seed]), ".data/agency-1.csv")
    };
    assert_eq!(of_seed("1"), of_seed("1"));
    assert_ne!(of_seed("1"), of_seed("2"));
}

#[test]
fn the_bets_of_an_agency_do_not_depend_on_the_number_of_agencies() {
    let few = generate(["--agencies", "2", "--bets", "100"]);
    let many = generate(["--agencies", "4", "--bets", "100"]);
    for name in [".data/agency-1.csv", ".data/agency-2.csv"] {
        assert_eq!(bytes(&few, name), bytes(&many, name));
    }
    assert_ne!(bytes(&few, ".data/agency-1.csv"), bytes(&few, ".data/agency-2.csv"));
}

#[test]
fn the_bytes_of_a_seed_do_not_change_between_versions() {
    let ended = generate(["--agencies", "1", "--bets", "3", "--seed", "1", "--winners", "1"]);
    let text = String::from_utf8(bytes(&ended, ".data/agency-1.csv")).unwrap();
    assert_eq!(text, PINNED);
}

/// Output of seed 1. It must not change, because users have files that were generated from seeds.
const PINNED: &str = "Thiago Tomás,Domínguez,36978500,2003-11-11,8904\r\n\
    Benjamín,González,24079987,2004-02-17,9380\r\n\
    Thiago,Rodríguez,23805662,1956-10-12,7574\r\n";

#[test]
fn an_agency_can_send_a_generated_file() {
    let ended = generate(["--agencies", "1", "--bets", "500"]);
    let central = FakeCentral::new();
    let rows = bytes(&ended, ".data/agency-1.csv");
    let agency = Setup::agency(central.address(), rows).start();
    let sent: usize = (0..5).map(|_| central.accept_batch().len()).sum();
    assert_eq!(sent, 500);
    central.answer_total(3);
    assert_eq!(agency.finish().code, Some(0));
}

#[test]
fn invalid_arguments_are_wrong_usage_and_write_nothing() {
    for (arguments, reason) in [
        (["--agencies", "0"], "0 is not in 1..=65535"),
        (["--agencies", "65536"], "65536 is not in 1..=65535"),
        (["--bets", "many"], "invalid value 'many'"),
        (["--winners", "1001"], "client: --winners 1001 exceeds --bets 1000"),
    ] {
        let ended = Setup::new().args(["generate"]).args(arguments).finish();
        assert_eq!(ended.code, Some(2));
        assert!(ended.errors.contains(reason), "{}", ended.errors);
        assert_eq!(names(ended.directory()), Vec::<String>::new());
    }
}

#[test]
fn an_unwritable_directory_is_a_failure_that_names_it() {
    let ended = Setup::new().file("taken", "a file").args(["generate", "--out", "taken"]).finish();
    assert_eq!(ended.code, Some(1));
    assert!(ended.errors.starts_with("client: cannot write taken: "), "{}", ended.errors);
}

#[test]
fn an_interrupted_run_leaves_no_partial_file_and_keeps_an_older_one() {
    for (signal, code) in [(SIGTERM, 143), (SIGINT, 130)] {
        let setup = Setup::new().args([
            "generate",
            "--agencies",
            "1",
            "--bets",
            "4000000000",
            "--out",
            "out",
        ]);
        fs::create_dir(setup.path("out")).unwrap();
        let generator = setup.file("out/agency-1.csv", "older\n").start();
        let deadline = Instant::now() + PATIENCE;
        // Writing has begun when there is a second file beside the older one.
        while names(&generator.path("out")).len() < 2 {
            assert!(Instant::now() < deadline, "writing has not begun");
            std::thread::sleep(Duration::from_millis(5));
        }
        generator.signal(signal);
        let ended = generator.finish_within(PROMPT);
        assert_eq!((ended.code, ended.lines.len()), (Some(code), 0));
        assert_eq!(names(&ended.directory().join("out")), ["agency-1.csv"]);
        assert_eq!(bytes(&ended, "out/agency-1.csv"), b"older\n");
    }
}
