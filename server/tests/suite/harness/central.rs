//! A real central on a free port with a storage of its own.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lottery::Results;
use multiprocessing::{Segment, SegmentName};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::agency::Agency;
use super::deadline::{eventually, eventually_within};
use super::processes::{Program, is_alive, kill, processes_in, shared_memory_entries};
use super::random::Random;

/// How long a central that nobody needs any more may take to end by itself.
const QUICK_STOP: Duration = Duration::from_secs(2);

/// How a central shall be started.
#[derive(Debug)]
pub struct Setup {
    /// Removed with everything in it when the test ends; shared by the centrals of a restart.
    directory: tempfile::TempDir,
    environment: Vec<(String, String)>,
    /// Ports and supervisors of the centrals that became ready.
    started: Mutex<Vec<(u16, u32)>>,
}

impl Drop for Setup {
    /// Removes the shared memory of centrals that were killed with everybody who could have done so.
    fn drop(&mut self) {
        for (port, supervisor) in self.started.get_mut().unwrap().drain(..) {
            let left = Segment::open(&segment_name(port)).is_ok_and(|segment| {
                segment.creator().as_raw().cast_unsigned() == supervisor
                    && !segment.creator_is_alive()
            });
            if left {
                let _ = fs::remove_file(segment_name(port).path());
            }
        }
    }
}

fn segment_name(port: u16) -> SegmentName {
    SegmentName::new(&format!("lottery.{port}")).unwrap()
}

impl Setup {
    /// Returns the default setup: any free port of 127.0.0.1, two workers, durability `process`, log level DEBUG, an empty directory.
    pub fn new() -> Self {
        let mut setup = Self {
            directory: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
            started: Mutex::default(),
        };
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

    /// Chooses a port that is free now and stays the same for every start from here on. It is none that the system gives to
    /// clients or to whoever asks for any, so that nobody takes it between two starts.
    ///
    /// # Panics
    /// When none is found.
    pub fn keep_port(&mut self) -> u16 {
        const FIRST: u64 = 10_000;
        const EPHEMERAL: u64 = 32_000;
        let mut random = Random::seeded();
        let ports = std::iter::repeat_with(|| (FIRST + random.below(EPHEMERAL - FIRST)) as u16);
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = ports.take(100).find(is_free).unwrap();
        self.set("SERVER_PORT", &port.to_string());
        port
    }

    /// Waits until a central that has ended has left nothing: no process, no shared memory, nobody who listens. At most the
    /// second that invariant I9 allows for the worst end.
    ///
    /// # Panics
    /// When something is still there.
    pub fn nothing_left_on(&self, port: u16) {
        let entry = segment_name(port).path();
        let look = || {
            let refusal = TcpStream::connect(("127.0.0.1", port)).err().map(|error| error.kind());
            (processes_in(self.directory()), entry.exists(), refusal)
        };
        let nothing = (vec![], false, Some(ErrorKind::ConnectionRefused));
        let what = "no process, no shared memory, nobody who listens";
        eventually_within(Duration::from_secs(1), what, look, |left| *left == nothing);
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
        String::from_utf8(self.read_stored("bets.csv"))
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The program with these arguments and this environment, to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
        command
            .current_dir(self.directory())
            .args(arguments)
            .envs(self.environment.iter().cloned());
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
        self.start_by(&mut self.command(&["run"]))
    }

    /// As [`start`](Self::start), by another command: the program inside a shell that limits it, say.
    ///
    /// # Panics
    /// As there.
    pub fn start_by(&self, command: &mut Command) -> Central<'_> {
        let program = Program::start(command);
        let ready = program.line_with("action: listen | result: success");
        let port = value_of(&ready, "port").parse().unwrap();
        self.started.lock().unwrap().push((port, program.pid()));
        Central { setup: self, program, port }
    }
}

/// The value of a key in a log line.
fn value_of<'a>(line: &'a str, key: &str) -> &'a str {
    let value = line.split(" | ").find_map(|part| part.strip_prefix(key)?.strip_prefix(": "));
    value.unwrap_or_else(|| panic!("no {key} in {line:?}"))
}

/// Takes a free port of 127.0.0.1, so that no central can have it, and no killed one has left anything under its number.
///
/// # Panics
/// When the system refuses.
pub fn taken_port() -> TcpListener {
    let mut left_over = Vec::new();
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if shared_memory_entries(&format!("lottery.{port}")).is_empty() {
            return listener;
        }
        left_over.push(listener);
    }
}

/// How often a central's log says that the draw was held, with nothing behind it, as the course looks for it.
pub fn draws(log: &[String]) -> usize {
    log.iter().filter(|line| line.ends_with("action: sorteo | result: success")).count()
}

/// The lines of a central's log about the connection from this port having been refused; each ends in the reason.
pub fn refusals(log: &[String], port: u16) -> Vec<&String> {
    let begin = format!(
        "action: receive_message | result: fail | ip: 127.0.0.1 | puerto: {port} | error: "
    );
    log.iter().filter(|line| line.contains(&begin)).collect()
}

/// A running central. Stopped at once when dropped, so that it takes its shared memory with it.
#[derive(Debug)]
pub struct Central<'a> {
    setup: &'a Setup,
    /// Its supervisor.
    pub program: Program,
    /// Port it listens on.
    pub port: u16,
}

impl Central<'_> {
    /// The port on which a dialect is spoken, where it is spoken on one only.
    ///
    /// # Panics
    /// When the central does not speak it.
    pub fn port_of(&self, dialect: &str) -> u16 {
        let line = self.program.line_with(&format!("| protocol: {dialect} |"));
        value_of(&line, "port").parse().unwrap()
    }

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
        // A list of dialects may leave the ports to the system: what was chosen is known here only.
        let (port, any) = (self.port.to_string(), "typed");
        let output = self.setup.run(&["status", "--json", "--port", &port, "--protocol", any]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error} in {text:?}, {output:?}"))
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

    /// Its shared memory.
    ///
    /// # Panics
    /// When there is none.
    pub fn segment(&self) -> Segment {
        Segment::open(&segment_name(self.port)).unwrap()
    }

    /// Waits until a slot has another worker than `pid` and it serves, at most the second that is promised.
    ///
    /// # Panics
    /// When it does not.
    pub fn replaced_within_a_second(&self, slot: usize, pid: u32) -> u32 {
        let look = || {
            let worker = &self.status()["workers"][slot];
            (worker["pid"].as_u64().unwrap() as u32, worker["state"].as_str().unwrap().to_owned())
        };
        let replaced = |(now, state): &(u32, String)| *now != pid && state == "ready";
        eventually_within(Duration::from_secs(1), "another worker in the slot", look, replaced).0
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

    /// Waits until exactly so many connections wait for the draw.
    ///
    /// # Panics
    /// When there are others.
    pub fn agencies_wait(&self, count: u32) {
        let waiting = self.segment().raw_array::<u32>("worker_waiting").unwrap();
        eventually("connections that wait", || waiting.iter().sum::<u32>(), |seen| *seen == count);
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

    /// Stops it with SIGTERM and returns everything it has logged.
    ///
    /// # Panics
    /// When it does not end, or not well.
    pub fn stop_and_read_log(mut self) -> Vec<String> {
        self.program.signal(Signal::SIGTERM);
        assert_eq!(self.program.exit_code(), 0, "exit code after SIGTERM");
        self.program.lines()
    }

    /// Kills supervisor and workers, all at once as far as possible.
    ///
    /// # Panics
    /// When they do not end.
    pub fn kill_everything(self) {
        let workers = self.worker_pids();
        self.kill_with(&workers);
    }

    /// As [`kill_everything`](Self::kill_everything), of a central whose workers were asked for before: at this very moment.
    ///
    /// # Panics
    /// As there.
    pub fn kill_with(mut self, workers: &[u32]) {
        // The supervisor first, stopped, so that it replaces nobody meanwhile.
        self.program.signal(Signal::SIGSTOP);
        for pid in workers {
            kill(*pid, Signal::SIGKILL);
        }
        self.program.signal(Signal::SIGKILL);
        self.program.exit_code();
        eventually("all workers gone", || workers.iter().any(|pid| is_alive(*pid)), |alive| !alive);
    }
}

impl Drop for Central<'_> {
    fn drop(&mut self) {
        // One that the test has ended or killed itself has left behind what the test wants.
        self.program.end_by(Signal::SIGQUIT, QUICK_STOP);
    }
}
