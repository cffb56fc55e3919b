//! An agency that is killed again and again and resumes: the real client with a file of bets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::random::Random;

/// Bets per batch, fewer than fit: a file has hundreds of batches.
const BATCH: &str = "10";
/// Number of rows of which one wins.
const WINS_EVERY: usize = 7;
/// Longest life of a client that is killed, enough for some dozens of batches.
const LIFE: Duration = Duration::from_millis(40);
/// Pause between two looks at a client.
const LOOK: Duration = Duration::from_millis(1);
/// Time for a client that is not killed to send the rest of its file and to receive its winners.
const REST: Duration = Duration::from_secs(120);

/// The agency and its file.
#[derive(Debug)]
pub struct ResumingClient {
    number: u16,
    program: PathBuf,
    data: PathBuf,
    rows: usize,
}

impl ResumingClient {
    /// Writes a file of bets into a directory.
    pub fn new(program: &Path, directory: &Path, number: u16, rows: usize) -> Self {
        let data = directory.join(format!("agency-{number}.csv"));
        let row = |row| {
            let drawn = if row % WINS_EVERY == 0 { 7574 } else { 1033 };
            format!("Santiago Lionel,Lorca,{},1999-03-17,{drawn}\n", document(number, row))
        };
        fs::write(&data, (0..rows).map(row).collect::<String>()).unwrap();
        Self { number, program: program.to_owned(), data, rows }
    }

    /// Starts the client and kills it after a random time, again and again, until it has nothing
    /// more to do or `stop` is set. Returns the number of kills.
    pub fn run_and_kill(&self, port: u16, stop: &AtomicBool, mut random: Random) -> usize {
        let mut kills = 0;
        while !stop.load(Ordering::SeqCst) {
            let mut client = self.start(port);
            let life = Duration::from_nanos(random.below(LIFE.as_nanos() as u64));
            if !ends_within(&mut client, life) {
                client.kill().unwrap();
                kills += 1;
            }
            if client.wait().unwrap().success() {
                break;
            }
        }
        kills
    }

    /// Runs the client without disturbance until it has received its winners.
    pub fn run_to_the_end(&self, port: u16) {
        let mut client = self.start(port);
        if !ends_within(&mut client, REST) {
            client.kill().unwrap();
            client.wait().unwrap();
            panic!("agency {} does not end: {}", self.number, self.log());
        }
        assert!(client.wait().unwrap().success(), "agency {}: {}", self.number, self.log());
    }

    fn start(&self, port: u16) -> Child {
        let log = fs::File::create(self.log_file()).unwrap();
        let mut command = Command::new(&self.program);
        command.args(["run", "--protocol", "keyed", "--no-progress", "--batch-max-amount", BATCH]);
        command.args(["--id", &self.number.to_string(), "--server", &format!("127.0.0.1:{port}")]);
        command.arg("--data").arg(&self.data).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    fn log_file(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// Returns what the last client has logged.
    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap()
    }

    /// Asserts that the rows of the agency in `bets.csv` are those of its file, each once and in
    /// order.
    pub fn assert_stored_once(&self, rows: &[String]) {
        let agency = self.number.to_string();
        let columns = rows.iter().map(|row| row.split(',').collect::<Vec<_>>());
        let stored = columns.filter(|row| row[0] == agency).map(|row| row[3].to_owned());
        let expected = (0..self.rows).map(|row| document(self.number, row));
        for (row, (stored, expected)) in stored.clone().zip(expected).enumerate() {
            assert_eq!(stored, expected, "agency {agency}, row {}", row + 1);
        }
        assert_eq!(stored.count(), self.rows, "agency {agency}");
    }

    /// Returns the number of winners in the file.
    pub fn winners(&self) -> usize {
        self.rows.div_ceil(WINS_EVERY)
    }

    /// Asserts that the last client has received the winners of its file.
    pub fn assert_has_its_winners(&self) {
        let line = format!(
            "action: consulta_ganadores | result: success | cant_ganadores: {}\n",
            self.winners()
        );
        assert!(self.log().contains(&line), "agency {}: {}", self.number, self.log());
    }
}

fn document(agency: u16, row: usize) -> String {
    (u64::from(agency) * 10_000_000 + row as u64).to_string()
}

fn ends_within(client: &mut Child, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        if client.try_wait().unwrap().is_some() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}
