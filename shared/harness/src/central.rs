//! A real central on a free port with a storage of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use lottery::Results;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::agency::Agency;
use crate::deadline::{eventually, eventually_within};
use crate::processes::{Program, is_alive, kill};

/// How a central shall be started.
#[derive(Debug)]
pub struct Setup {
    binary: PathBuf,
    /// Removed with everything in it when the test ends; shared by the centrals of a restart.
    directory: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// A central made of `binary` (`env!("CARGO_BIN_EXE_server")` in the tests of `server`): any free port of 127.0.0.1, two
    /// workers, durability `process`, log level DEBUG, in an empty directory.
    ///
    /// # Panics
    /// When no directory can be made.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let mut setup =
            Self { binary: binary.into(), directory: tempfile::tempdir().unwrap(), environment: Vec::new() };
        let defaults = [
            ("SERVER_PORT", "0"),
            ("SERVER_IP", "127.0.0.1"),
            ("SERVER_WORKERS", "2"),
            ("SERVER_DURABILITY", "process"),
            ("SERVER_GRACE", "2s"),
            ("LOGGING_LEVEL", "DEBUG"),
        ];
        defaults.into_iter().for_each(|(key, value)| setup.set(key, value));
        setup
    }

    /// The same with another value of a setting.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.set(key, value);
        self
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, key: &str, value: &str) {
        self.environment.retain(|(known, _)| known != key);
        self.environment.push((key.to_owned(), value.to_owned()));
    }

    /// Working directory of the central.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file of its storage.
    pub fn stored(&self, name: &str) -> PathBuf {
        self.directory().join("storage").join(name)
    }

    /// The bytes of a file of its storage, none where there is no such file.
    pub fn read_stored(&self, name: &str) -> Vec<u8> {
        fs::read(self.stored(name)).unwrap_or_default()
    }

    /// The lines of `bets.csv`.
    ///
    /// # Panics
    /// When it is not UTF-8.
    pub fn rows(&self) -> Vec<String> {
        String::from_utf8(self.read_stored("bets.csv")).unwrap().lines().map(str::to_owned).collect()
    }

    /// The program with these arguments and this environment, to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.current_dir(self.directory()).args(arguments).envs(self.environment.iter().cloned());
        command
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a central and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; with its output.
    pub fn start(&self) -> Central<'_> {
        let program = Program::start(&mut self.command(&["run"]));
        let ready = program.line_with("action: listen | result: success");
        let port = value_of(&ready, "port").parse().unwrap();
        Central { setup: self, program, port }
    }
}

/// The value of a key in a log line.
fn value_of<'a>(line: &'a str, key: &str) -> &'a str {
    let value = line.split(" | ").find_map(|part| part.strip_prefix(key)?.strip_prefix(": "));
    value.unwrap_or_else(|| panic!("no {key} in {line:?}"))
}

/// A running central. Killed with its workers when dropped.
#[derive(Debug)]
pub struct Central<'a> {
    setup: &'a Setup,
    /// Its supervisor.
    pub program: Program,
    /// Port it listens on.
    pub port: u16,
}

impl Central<'_> {
    /// Connects an agency.
    ///
    /// # Panics
    /// When it cannot connect.
    pub fn connect(&self) -> Agency {
        Agency::connect(self.port)
    }

    /// Sends a query on a connection of its own and returns the answer.
    ///
    /// # Panics
    /// When none comes.
    pub fn results(&self) -> Results {
        self.connect().results()
    }

    /// Sends a batch on a connection of its own and returns the whole reply.
    ///
    /// # Panics
    /// When the connection breaks; an unanswered batch gives an empty reply.
    pub fn request(&self, bytes: &[u8]) -> Vec<u8> {
        let mut agency = self.connect();
        agency.send(bytes);
        agency.read_to_end()
    }

    /// What `server status --json` says.
    ///
    /// # Panics
    /// When it says nothing.
    pub fn status(&self) -> Value {
        let output = self.setup.run(&["status", "--json", "--port", &self.port.to_string()]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}, {output:?}"))
    }

    /// A number of the status.
    ///
    /// # Panics
    /// When there is no such number.
    pub fn number(&self, key: &str) -> u64 {
        self.status()[key].as_u64().unwrap_or_else(|| panic!("no {key} in {}", self.status()))
    }

    /// Process ids of the workers, by slot.
    ///
    /// # Panics
    /// When the status has none.
    pub fn worker_pids(&self) -> Vec<u32> {
        let status = self.status();
        let workers = status["workers"].as_array().unwrap();
        workers.iter().map(|worker| worker["pid"].as_u64().unwrap() as u32).collect()
    }

    /// Waits until nobody is in flight, at most the second that invariant I5 allows.
    ///
    /// # Panics
    /// When somebody still is.
    pub fn nobody_in_flight_within_a_second(&self) {
        let limit = Duration::from_secs(1);
        eventually_within(
            limit,
            "nobody in flight",
            || self.number("agencies_in_flight"),
            |count| *count == 0,
        );
    }

    /// Stops it with SIGTERM and returns its exit code and how long that took.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(mut self) -> (i32, Duration) {
        let start = Instant::now();
        self.program.signal(Signal::SIGTERM);
        let code = self.program.exit_code();
        (code, start.elapsed())
    }

    /// Kills supervisor and workers, all at once as far as possible.
    ///
    /// # Panics
    /// When they do not end.
    pub fn kill_everything(mut self) {
        let workers = self.worker_pids();
        // The supervisor first, stopped, so that it replaces nobody meanwhile.
        self.program.signal(Signal::SIGSTOP);
        for pid in &workers {
            kill(*pid, Signal::SIGKILL);
        }
        self.program.signal(Signal::SIGKILL);
        self.program.exit_code();
        eventually("all workers gone", || workers.iter().any(|pid| is_alive(*pid)), |alive| !alive);
    }
}
