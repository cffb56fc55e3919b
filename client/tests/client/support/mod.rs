//! The program under test, started in an empty directory, and the servers that the tests play.

mod fake_central;
mod fake_server;
mod keyed_central;
mod random;
#[path = "../../../../shared/lottery/tests/lottery/common/sessions.rs"]
mod sessions;
mod vectors;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

pub(crate) use self::fake_central::{ClosedPort, FakeCentral, ServerConnection};
pub(crate) use self::fake_server::{Fault, start_fake_server};
pub(crate) use self::keyed_central::{Cut, KeyedCentral};
pub(crate) use self::random::Random;
pub(crate) use self::vectors::{dialects_that, vector};

/// Time limit for something that must happen. Generous, because a test fails when it passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Time limit for the end of the program after a signal, if nothing is in flight.
pub(crate) const PROMPT: Duration = Duration::from_secs(2);

/// Three valid rows in the course's format, two of them with letters of more than one byte.
pub(crate) const THREE_ROWS: &str = "Santiago Lionel,Lorca,30904465,1999-03-17,7574\r\n\
    Tiago Nicolás,Rivera,34407251,2001-08-29,1033\r\n\
    Santiago,Álvarez,33936970,1986-04-25,7068\r\n";

/// The first of [`THREE_ROWS`], called L in the vectors.
pub(crate) const ROW_L: &str = "Santiago Lionel,Lorca,30904465,1999-03-17,7574\r\n";

/// The first two of [`THREE_ROWS`], called L and T in the vectors.
pub(crate) const ROWS_LT: &str = "Santiago Lionel,Lorca,30904465,1999-03-17,7574\r\nTiago Nicolás,Rivera,34407251,2001-08-29,1033\r\n";

/// The records of [`THREE_ROWS`] in the `typed` dialect.
pub(crate) const THREE_RECORDS: [&str; 3] = [
    "Santiago Lionel;Lorca;30904465;1999-03-17;7574",
    "Tiago Nicolás;Rivera;34407251;2001-08-29;1033",
    "Santiago;Álvarez;33936970;1986-04-25;7068",
];

/// Builder that starts the program in an empty directory with an empty environment.
pub(crate) struct Setup {
    directory: TempDir,
    command: Command,
}

impl Setup {
    /// Prepares the program without arguments.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_loteria-agency"));
        command.current_dir(directory.path()).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { directory, command }
    }

    /// Prepares agency 1 with these rows in its file, this central, and short waits.
    pub(crate) fn agency(central: SocketAddr, rows: impl AsRef<[u8]>) -> Self {
        let setup = Self::new().file("bets.csv", rows);
        let address = central.to_string();
        setup.args(["--id", "1", "--data", "bets.csv", "--loop-period", "10ms"]).args([
            "--server",
            &address,
            "--connect-timeout",
            "300ms",
        ])
    }

    /// Prepares an agency as [`Setup::agency`] does, in this dialect.
    pub(crate) fn speaking(dialect: &str, central: SocketAddr, rows: impl AsRef<[u8]>) -> Self {
        Self::agency(central, rows).args(["--protocol", dialect])
    }

    /// Runs the program in a directory of the test, which other runs use too.
    pub(crate) fn in_directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(self, name: &str, value: &str) -> Self {
        self.env_bytes(name, value.as_ref())
    }

    /// Sets an environment variable to bytes that need not be UTF-8.
    pub(crate) fn env_bytes(mut self, name: &str, value: &OsStr) -> Self {
        self.command.env(name, value);
        self
    }

    /// Writes a file into the directory.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    /// Returns a path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces standard output and standard error.
    pub(crate) fn streams(mut self, output: Stdio, errors: Stdio) -> Self {
        self.command.stdout(output).stderr(errors);
        self
    }

    /// Starts the program.
    pub(crate) fn start(mut self) -> Running {
        let mut child = self.command.spawn().unwrap();
        let (sender, lines) = channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(output).lines() {
                    // Fails if the test has ended.
                    let _ = sender.send(line.unwrap());
                }
            });
        }
        Running { directory: self.directory, child, lines, seen: Vec::new() }
    }

    /// Starts the program and waits for its end.
    pub(crate) fn finish(self) -> Ended {
        self.start().finish()
    }
}

/// The running program. Dropping it kills the program.
pub(crate) struct Running {
    directory: TempDir,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Waits for a line of standard output that contains `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(rest) else {
                panic!("no line with {text:?} in {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Returns true if the program has not ended.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Returns a path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the text of `/proc/PID/status`.
    pub(crate) fn status(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap()
    }

    /// Returns how many bytes of a file in its directory the program has read.
    pub(crate) fn bytes_read(&self, name: &str) -> u64 {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let path = self.path(name).canonicalize().unwrap();
        let mut open = std::fs::read_dir(process.join("fd")).unwrap().flatten();
        let found = open.find(|it| it.path().read_link().is_ok_and(|target| target == path));
        let Some(found) = found else { return 0 };
        let info = process.join("fdinfo").join(found.file_name());
        let info = std::fs::read_to_string(info).unwrap();
        info.lines().next().unwrap().strip_prefix("pos:").unwrap().trim().parse().unwrap()
    }

    /// Waits for the program's end.
    pub(crate) fn finish(self) -> Ended {
        self.finish_within(PATIENCE)
    }

    /// Waits for the program's end, which must come within `limit`.
    pub(crate) fn finish_within(mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    panic!("still running after {limit:?}: {:#?}", self.seen)
                }
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        let mut errors = String::new();
        if let Some(mut stream) = self.child.stderr.take() {
            stream.read_to_string(&mut errors).unwrap();
        }
        let mut lines = std::mem::take(&mut self.seen);
        // Ends when the reading thread reaches the end of the stream.
        lines.extend(self.lines.iter());
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        Ended { code: status.code(), lines, errors, directory }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Results of a program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` when a signal killed it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) lines: Vec<String>,
    /// Its standard error.
    pub(crate) errors: String,
    directory: TempDir,
}

impl Ended {
    /// Returns the first line of standard output that contains `text`, without date, time and
    /// level.
    pub(crate) fn line(&self, text: &str) -> &str {
        let found = self.lines.iter().find(|line| line.contains(text));
        let line = found.unwrap_or_else(|| panic!("no line with {text:?} in {:#?}", self.lines));
        &line[line.find("action:").unwrap()..]
    }

    /// Returns the number of lines of standard output that contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.lines.iter().filter(|line| line.contains(text)).count()
    }

    /// Returns the directory it ran in.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Fails unless the course's parser accepts every line of standard output.
    pub(crate) fn assert_log_parses(&self) {
        for line in &self.lines {
            let parts: Vec<_> = line.split('|').map(|part| part.rsplit_once(':')).collect();
            let parts: Option<Vec<_>> = parts.into_iter().collect();
            let parts = parts.unwrap_or_else(|| panic!("a part without colon in {line:?}"));
            assert!(line.contains("action:") && parts.len() >= 2, "{line:?}");
            assert_eq!(parts[1].0.trim(), "result", "{line:?}");
            assert!(["success", "fail", "in_progress"].contains(&parts[1].1.trim()), "{line:?}");
            let is_exit = parts[0].1.trim() == "exit";
            assert!(!is_exit || parts[1].1.trim() == "success", "{line:?}");
        }
    }
}
