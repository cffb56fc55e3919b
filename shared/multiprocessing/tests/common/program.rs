//! A process that a test starts: it has a segment name of its own and a deadline, and leaves
//! nothing behind.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use multiprocessing::SegmentName;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::harness::words_of_program;
use super::names::{NAME, unique_name};

/// A program that runs longer than this hangs: it is killed and its test fails.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A line that a program wrote to standard output or to standard error.
enum Line {
    Output(String),
    Error(String),
}

/// A running program. What is left of it and of its children is killed when this is dropped.
pub struct Program {
    /// The segment name that the program finds in its environment.
    pub name: SegmentName,
    child: Child,
    lines: Receiver<Line>,
    /// The lines of its standard output that were read so far.
    pub seen: Vec<String>,
    /// What was read of its standard error so far.
    pub errors: String,
    deadline: Instant,
    status: Option<ExitStatus>,
}

impl Program {
    /// Starts a function of this test binary that is marked with `#[apply(program)]`.
    pub fn start<F: Fn(&[&str])>(function: F, arguments: &[&str]) -> Self {
        Self::start_through(&[], function, arguments)
    }

    /// Starts such a function through another program, such as `unshare`, which executes the words
    /// behind its own.
    pub fn start_through<F: Fn(&[&str])>(
        wrapper: &[&str],
        function: F,
        arguments: &[&str],
    ) -> Self {
        let mut words: Vec<_> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        words.extend(words_of_program(&function, arguments));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        Self::of(command)
    }

    /// Starts any program.
    pub fn of(mut command: Command) -> Self {
        let name = unique_name();
        command.env(NAME, name.as_str());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        forward(child.stdout.take().unwrap(), sender.clone(), Line::Output);
        forward(child.stderr.take().unwrap(), sender, Line::Error);
        let deadline = Instant::now() + DEADLINE;
        let (seen, errors) = (Vec::new(), String::new());
        Self { name, child, lines, seen, errors, deadline, status: None }
    }

    /// Moves the deadline to this long from now.
    pub fn within(mut self, limit: Duration) -> Self {
        self.deadline = Instant::now() + limit;
        self
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Sends a signal to the program and all its children, as a terminal does.
    pub fn signal_group(&self, signal: Signal) {
        killpg(self.pid(), signal).unwrap();
    }

    /// Reads up to the next line of output that starts with `start`, and returns the rest of that
    /// line.
    pub fn line(&mut self, start: &str) -> String {
        loop {
            let known = self.seen.len();
            if self.read().is_err() {
                self.fail(&format!("no line {start:?}"));
            }
            let new = self.seen.get(known).and_then(|line| line.strip_prefix(start));
            if let Some(rest) = new {
                return rest.trim().to_owned();
            }
        }
    }

    /// Counts the lines read so far that start with `start`.
    pub fn count(&self, start: &str) -> usize {
        self.seen.iter().filter(|line| line.starts_with(start)).count()
    }

    /// Returns the value of a line `key=value`.
    pub fn fact(&self, key: &str) -> &str {
        let value = self.seen.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no fact {key} in {:?}", self.seen))
    }

    /// Reads until the program and all processes that share its output have ended. An error says
    /// that it hangs.
    pub fn end(&mut self) -> Result<ExitStatus, String> {
        loop {
            match self.read() {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return self.reap(),
                Err(RecvTimeoutError::Timeout) => {
                    self.kill_all();
                    return Err(String::from("it hangs and was killed"));
                }
            }
        }
    }

    /// Waits until the program and its children have ended. All lines are in `seen` then.
    pub fn join(&mut self) -> ExitStatus {
        self.end().unwrap_or_else(|problem| self.fail(&problem))
    }

    /// Waits until the program itself has ended; its children may live on.
    pub fn wait(&mut self) -> ExitStatus {
        self.reap().unwrap_or_else(|problem| self.fail(&problem))
    }

    /// Waits until the program has ended, which must be with exit code 0 and leave nothing in
    /// `/dev/shm`.
    pub fn succeed(&mut self) {
        let status = self.join();
        if !status.success() {
            self.fail(&format!("it ended with {status}"));
        }
        assert_eq!(self.entries(), [] as [PathBuf; 0], "left in /dev/shm");
    }

    /// Returns the entries of `/dev/shm` with its name, or with its name, a dot and more.
    pub fn entries(&self) -> Vec<PathBuf> {
        let shown = std::fs::read_dir(self.name.path().parent().unwrap()).unwrap();
        let paths = shown.flatten().map(|entry| entry.path());
        let rest = |path: &Path| {
            path.to_str()?.strip_prefix(self.name.path().to_str()?).map(str::to_owned)
        };
        paths
            .filter(|path| rest(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
            .collect()
    }

    /// Reads the next line of output or error.
    fn read(&mut self) -> Result<(), RecvTimeoutError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left)? {
            Line::Output(line) => self.seen.push(line),
            Line::Error(line) => self.errors.extend([line.as_str(), "\n"]),
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<ExitStatus, String> {
        loop {
            if let Some(status) = self.status.or_else(|| self.child.try_wait().unwrap()) {
                self.status = Some(status);
                return Ok(status);
            }
            if Instant::now() > self.deadline {
                self.kill_all();
                return Err(String::from("it hangs and was killed"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn fail(&mut self, problem: &str) -> ! {
        self.kill_all();
        panic!("{problem}\n{}\n{}", self.seen.join("\n"), self.errors);
    }

    /// Kills the program and its children, and reads what they wrote before.
    fn kill_all(&mut self) {
        // It leads a group of its own, which may be empty already.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.deadline = Instant::now() + Duration::from_secs(1);
        while self.read().is_ok() {}
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A leader that was reaped and left no children has no group, and its number may be that of
        // another process.
        if self.status.is_none_or(|status| status.signal().is_some()) {
            self.kill_all();
        }
        self.entries().iter().for_each(|entry| _ = std::fs::remove_file(entry));
    }
}

/// Sends every line of a stream on, from a thread of its own.
fn forward(
    stream: impl Read + Send + 'static,
    lines: Sender<Line>,
    kind: impl Fn(String) -> Line + Send + 'static,
) {
    let mut stream = BufReader::new(stream);
    std::thread::spawn(move || {
        let mut line = Vec::new();
        // An error of the stream is its end.
        while stream.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(&line);
            if lines.send(kind(text.trim_end_matches('\n').to_owned())).is_err() {
                return;
            }
            line.clear();
        }
    });
}
