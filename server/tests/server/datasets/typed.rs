//! The main job: five clients send their datasets to one central and ask for the winners.
//!
//! Runs on the committed dataset, and on the course's own if `LOTTERY_COURSE_DATA` names the
//! directory of its files.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{
    Program, Setup, client_program, course_data, is_alive, shared_memory_entries, value_of,
};

/// Returns the rows of the five agencies, without their line ends.
fn dataset(directory: &Path) -> Vec<Vec<String>> {
    let rows = |agency: u32| {
        let text = fs::read_to_string(directory.join(format!("agency-{agency}.csv"))).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    (1..=5).map(rows).collect()
}

/// The result of a run of the main job.
struct Outcome {
    /// Rows of `bets.csv`, sorted.
    rows: Vec<String>,
    /// Lines of `winners.log`.
    winner_lines: usize,
    /// The total that each agency received.
    totals: Vec<u64>,
    /// The winners that each agency counted among its own bets.
    own_winners: Vec<u64>,
}

/// Runs the main job on the files of a directory, from start to stop, and asserts that nothing is
/// left.
fn run(client: &Path, data: &Path) -> Outcome {
    let mut setup = Setup::new().with("SERVER_DURABILITY", "disk");
    setup.set("LOGGING_LEVEL", "INFO");
    let central = setup.start();
    let workers = central.worker_pids();
    let port = central.port;
    let agency = |id: u32| {
        let mut command = Command::new(client);
        command.current_dir(setup.directory()).args(["run", "--loop-period", "50ms"]);
        command
            .env("CLI_ID", id.to_string())
            .env("CLI_SERVER_ADDRESS", format!("127.0.0.1:{port}"));
        command.env("CLI_DATA", data.join(format!("agency-{id}.csv")));
        Program::start(&mut command)
    };
    let mut agencies: Vec<_> = (1..=5).map(agency).collect();
    for agency in &mut agencies {
        assert_eq!(agency.exit_code(), 0, "{:?}", agency.lines());
    }
    let last_number = |agency: &Program, action: &str, key: &str| -> u64 {
        let lines = agency.lines();
        let line =
            lines.iter().rfind(|line| line.contains(action)).unwrap_or_else(|| panic!("{lines:?}"));
        value_of(line, key).parse().unwrap()
    };
    let totals = agencies.iter().map(|agency| {
        last_number(agency, "consulta_ganadores | result: success", "cant_ganadores")
    });
    let own =
        agencies.iter().map(|agency| last_number(agency, "summary | result: success", "winners"));
    let (totals, own_winners): (Vec<_>, Vec<_>) = (totals.collect(), own.collect());
    assert_eq!(
        central.results().winners,
        *totals.iter().max().unwrap(),
        "the last query received the complete total"
    );

    let (code, _) = central.stop();
    assert_eq!(code, 0);
    assert_eq!(shared_memory_entries(&format!("lottery.{port}")), Vec::<String>::new());
    assert!(!workers.into_iter().any(is_alive), "a worker is left");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is still open");
    let mut rows = setup.rows();
    rows.sort();
    let winner_lines = setup.read_stored("winners.log").split(|byte| *byte == b'\n').count() - 1;
    Outcome { rows, winner_lines, totals, own_winners }
}

/// Returns the rows of `bets.csv` for a dataset with numbers, sorted. `typed` carries no agency, so
/// it is 0.
fn stored_rows(agencies: &[Vec<String>]) -> Vec<String> {
    let mut rows: Vec<_> = agencies.iter().flatten().map(|row| format!("0,{row}")).collect();
    rows.sort();
    rows
}

fn check_with_numbers(client: &Path, directory: &Path) -> Outcome {
    let agencies = dataset(directory);
    let outcome = run(client, directory);
    assert_eq!(outcome.rows, stored_rows(&agencies));
    let winners: Vec<_> = agencies
        .iter()
        .map(|rows| rows.iter().filter(|row| row.ends_with(",7574")).count() as u64)
        .collect();
    assert_eq!(outcome.own_winners, winners);
    assert_eq!(outcome.totals.iter().max(), Some(&winners.iter().sum()));
    assert_eq!(outcome.winner_lines as u64, winners.iter().sum::<u64>());
    outcome
}

/// Writes the first four columns of a dataset into another directory. Returns the winners of each
/// agency by the hash rule, computed here from the description of the rule.
fn without_numbers(directory: &Path, target: &Path) -> Vec<u64> {
    let mut winners = Vec::new();
    for agency in 1..=5 {
        let name = format!("agency-{agency}.csv");
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).from_path(directory.join(&name)).unwrap();
        let mut writer = csv::WriterBuilder::new()
            .terminator(csv::Terminator::CRLF)
            .from_path(target.join(&name))
            .unwrap();
        let mut wins = 0;
        for row in reader.records().map(Result::unwrap) {
            let columns: Vec<_> = row.iter().take(4).collect();
            let hash = columns.join(";").bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            wins += u64::from(hash % 17 == 0);
            writer.write_record(columns).unwrap();
        }
        winners.push(wins);
    }
    winners
}

fn check_without_numbers(client: &Path, directory: &Path) -> Vec<u64> {
    let four_columns = tempfile::tempdir().unwrap();
    let winners = without_numbers(directory, four_columns.path());
    let outcome = run(client, four_columns.path());
    assert_eq!(outcome.own_winners, winners);
    assert_eq!(outcome.winner_lines as u64, winners.iter().sum::<u64>());
    assert!(outcome.rows.iter().all(|row| row.ends_with(",0")));
    winners
}

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.data").canonicalize().unwrap()
}

#[test]
fn five_agencies_on_the_committed_dataset_store_every_bet_and_agree_on_the_winners() {
    let Some(client) = client_program() else { return };
    let outcome = check_with_numbers(&client, &committed());
    assert_eq!((outcome.rows.len(), outcome.winner_lines), (5000, 15));
}

#[test]
fn the_same_dataset_without_numbers_has_the_winners_of_the_hash_rule() {
    let Some(client) = client_program() else { return };
    check_without_numbers(&client, &committed());
}

#[test]
fn the_courses_dataset_gives_its_known_winners() {
    let Some(directory) = course_data() else { return };
    let Some(client) = client_program() else { return };
    let outcome = check_with_numbers(&client, &directory);
    assert_eq!(outcome.rows.len(), 78_697);
    assert_eq!(outcome.own_winners, [2, 3, 3, 2, 0]);
    assert_eq!(check_without_numbers(&client, &directory), [1569, 1522, 942, 534, 65]);
}
