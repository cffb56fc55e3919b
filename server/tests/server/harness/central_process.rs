//! A running central: its supervisor, its workers, and what its status says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lottery::Results;
use multiprocessing::Segment;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::agency_connection::AgencyConnection;
use super::deadline::{eventually, eventually_within};
use super::log_lines::value_of;
use super::proc_files::is_alive;
use super::program::{Program, kill};
use super::setup::{Setup, segment_name};

/// How long a central that is no longer needed may take to exit by itself.
const QUICK_STOP: Duration = Duration::from_secs(2);

/// A running central. Dropping it stops the central at once, so that it removes its shared memory.
#[derive(Debug)]
pub struct CentralProcess<'a> {
    setup: &'a Setup,
    /// The supervisor.
    pub program: Program,
    /// The port of the first listening socket.
    pub port: u16,
}

impl<'a> CentralProcess<'a> {
    pub(super) fn new(setup: &'a Setup, program: Program, port: u16) -> Self {
        Self { setup, program, port }
    }

    /// Returns the setup that started it.
    pub fn setup(&self) -> &'a Setup {
        self.setup
    }

    /// Returns the port of a dialect that has exactly one.
    pub fn port_of(&self, dialect: &str) -> u16 {
        let line = self.program.line_with(&format!("| protocol: {dialect} |"));
        value_of(&line, "port").parse().unwrap()
    }

    /// Opens a connection to the first port.
    pub fn connect(&self) -> AgencyConnection {
        AgencyConnection::open(self.port)
    }

    /// Sends a query on a new connection and returns the answer.
    pub fn results(&self) -> Results {
        self.connect().results()
    }

    /// Sends a request on a new connection and returns the whole reply; a refused request has an
    /// empty reply.
    pub fn request(&self, bytes: &[u8]) -> Vec<u8> {
        let mut agency = self.connect();
        agency.send(bytes);
        agency.read_to_end()
    }

    /// Returns what `loteria-central status --json` prints.
    pub fn status(&self) -> Value {
        // A list of dialects may leave the ports to the system. Only the harness knows which it
        // chose.
        let (port, any) = (self.port.to_string(), "typed");
        let output = self.setup.run(&["status", "--json", "--port", &port, "--protocol", any]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error} in {text:?}, {output:?}"))
    }

    /// Returns a number of the status.
    pub fn number(&self, key: &str) -> u64 {
        self.status()[key].as_u64().unwrap_or_else(|| panic!("no {key} in {}", self.status()))
    }

    /// Returns a number of each worker from the status, by slot.
    pub fn worker_numbers(&self, key: &str) -> Vec<u64> {
        let status = self.status();
        let workers = status["workers"].as_array().unwrap();
        workers.iter().map(|worker| worker[key].as_u64().unwrap()).collect()
    }

    /// Returns the process ids of the workers, by slot.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.worker_numbers("pid").into_iter().map(|pid| pid as u32).collect()
    }

    /// Returns how many connections the workers have accepted and not closed.
    pub fn connections(&self) -> u64 {
        self.worker_numbers("connections").into_iter().sum()
    }

    /// Returns a path under which this test reaches a file that the central sees at `path`, among
    /// its own mounts.
    pub fn inside(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.program.pid(), path.display()))
    }

    /// Opens the shared memory.
    pub fn segment(&self) -> Segment {
        Segment::open(&segment_name(self.port)).unwrap()
    }

    /// Waits until a slot has a ready worker other than `pid`, at most the second that the central
    /// promises.
    pub fn replaced_within_a_second(&self, slot: usize, pid: u32) -> u32 {
        let look = || {
            let worker = &self.status()["workers"][slot];
            (worker["pid"].as_u64().unwrap() as u32, worker["state"].as_str().unwrap().to_owned())
        };
        let replaced = |(now, state): &(u32, String)| *now != pid && state == "ready";
        eventually_within(Duration::from_secs(1), "another worker in the slot", look, replaced).0
    }

    /// Waits until no batch is in flight, at most one second.
    pub fn none_in_flight_within_a_second(&self) {
        let in_flight = || self.number("agencies_in_flight");
        let limit = Duration::from_secs(1);
        eventually_within(limit, "no batch in flight", in_flight, |count| *count == 0);
    }

    /// Waits until exactly this many connections wait for the draw.
    pub fn until_waiting(&self, count: u32) {
        let waiting = self.segment().raw_array::<u32>("worker_waiting").unwrap();
        let sum = || waiting.iter().sum::<u32>();
        eventually("connections that wait for the draw", sum, |seen| *seen == count);
    }

    /// Waits until the draw has been held.
    pub fn until_drawn(&self) {
        eventually("the draw", || self.status()["drawn"].clone(), |drawn| *drawn == true);
    }

    /// Limits the size of the files that these processes may write: a number of bytes, or
    /// `unlimited`. A process that is gone is left out.
    pub fn limit_files(&self, workers: &[u32], limit: &str) {
        // The supervisor first: a worker that it forks in the meantime has the new limit.
        for pid in [self.program.pid()].iter().chain(workers) {
            let mut command = Command::new("prlimit");
            command.args(["--pid", &pid.to_string(), &format!("--fsize={limit}:")]);
            let _gone = command.output();
        }
    }

    /// Stops the central with SIGTERM. Returns its exit code and how long the stop took.
    pub fn stop(mut self) -> (i32, Duration) {
        let start = Instant::now();
        self.program.signal(Signal::SIGTERM);
        let code = self.program.exit_code();
        (code, start.elapsed())
    }

    /// Stops the central with SIGTERM, asserts that it exits with 0, and returns everything it has
    /// logged.
    pub fn stop_and_read_log(mut self) -> Vec<String> {
        self.program.signal(Signal::SIGTERM);
        assert_eq!(self.program.exit_code(), 0, "exit code after SIGTERM");
        self.program.lines()
    }

    /// Kills the supervisor and all workers, as simultaneously as possible.
    pub fn kill_all(self) {
        // A slot without a worker has process id 0.
        let workers: Vec<_> = self.worker_pids().into_iter().filter(|pid| *pid != 0).collect();
        self.kill_all_with(&workers);
    }

    /// Kills the supervisor and these workers at once, without the time that it takes to query the
    /// workers.
    pub fn kill_all_with(mut self, workers: &[u32]) {
        // The supervisor is stopped first, so that it does not replace a worker in the meantime.
        self.program.signal(Signal::SIGSTOP);
        for pid in workers {
            kill(*pid, Signal::SIGKILL);
        }
        self.program.signal(Signal::SIGKILL);
        self.program.exit_code();
        let any_alive = || workers.iter().any(|pid| is_alive(*pid));
        eventually("the end of all workers", any_alive, |alive| !alive);
    }
}

impl Drop for CentralProcess<'_> {
    fn drop(&mut self) {
        // The test has already stopped or killed the central and examines what it left.
        self.program.try_end_by(Signal::SIGQUIT, QUICK_STOP);
    }
}
