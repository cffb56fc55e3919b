//! Programs under test: started, observed through their output, ended by process id.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::deadline::{eventually, eventually_within};
use super::left_out::left_out;

/// How long the last lines of a program that has exited may take to arrive.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Sends a signal to a process that this test started. Returns false if the process is gone.
pub fn kill(pid: u32, signal: Signal) -> bool {
    assert_ne!(pid, 0, "0 means every process of this group");
    match nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), signal) {
        Ok(()) => true,
        Err(Errno::ESRCH) => false,
        Err(errno) => panic!("kill {pid} {signal}: {errno}"),
    }
}

/// Returns the path of the client; if it is missing, reports the test as left out.
pub fn client_program() -> Option<PathBuf> {
    beside_server("loteria-agency")
}

/// Returns the path of the monitor; if it is missing, reports the test as left out.
pub fn monitor_program() -> Option<PathBuf> {
    beside_server("loteria-monitor")
}

/// Returns the path of another program. Cargo builds it beside the server when it builds the whole
/// workspace.
fn beside_server(name: &str) -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_loteria-central")).with_file_name(name);
    if !program.exists() {
        left_out(&format!("{name} is not built; `cargo build --workspace` builds it"));
        return None;
    }
    Some(program)
}

/// A running program whose output lines are collected. Dropping it kills the program.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

impl Program {
    /// Starts a program and collects what it writes to standard output and standard error.
    pub fn start(command: &mut Command) -> Self {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let readers = [
            collect(child.stdout.take().unwrap(), Arc::clone(&lines)),
            collect(child.stderr.take().unwrap(), Arc::clone(&lines)),
        ];
        Self { child, lines, readers: readers.into(), status: None }
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line that contains `part` and returns it.
    pub fn line_with(&self, part: &str) -> String {
        let find = || {
            self.lines().into_iter().find(|line| line.contains(part)).ok_or_else(|| self.lines())
        };
        eventually(&format!("a line with {part:?}"), find, Result::is_ok).unwrap()
    }

    /// Counts the lines so far that contain `part`.
    pub fn count_lines_with(&self, part: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(part)).count()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Waits for the end and returns the exit code, or 128 plus the signal, as a shell does.
    pub fn exit_code_within(&mut self, limit: Duration) -> i32 {
        let end = || self.try_end();
        let status = eventually_within(limit, "the end of the program", end, Option::is_some);
        let status = status.unwrap();
        self.wait_for_last_lines();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// Waits for the end as [`exit_code_within`](Self::exit_code_within) does, with a limit that no
    /// test should come near.
    pub fn exit_code(&mut self) -> i32 {
        self.exit_code_within(Duration::from_secs(60))
    }

    /// Returns true if the program is still running.
    pub fn is_running(&mut self) -> bool {
        self.try_end().is_none()
    }

    /// Sends a signal and waits for the end, but never panics: for use in `drop`, which kills what
    /// still runs.
    pub(super) fn try_end_by(&mut self, signal: Signal, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut sent = false;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            if !sent {
                let pid = Pid::from_raw(self.pid().cast_signed());
                sent = nix::sys::signal::kill(pid, signal).is_ok();
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Waits until everything the program has written is among the lines. A process that inherited
    /// the pipe and outlives the program keeps it open, so the wait is bounded.
    fn wait_for_last_lines(&self) {
        let deadline = Instant::now() + LAST_LINES;
        while self.readers.iter().any(|reader| !reader.is_finished()) && Instant::now() < deadline {
            sleep(Duration::from_millis(1));
        }
    }

    fn try_end(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            println!("--- output of {} ---\n{}", self.pid(), self.lines().join("\n"));
        }
    }
}

fn collect(output: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            lines.lock().unwrap().push(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    })
}
