//! Runs the probe: with a segment name of its own, a deadline, and nothing left behind.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use multiprocessing::SegmentName;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::{DEADLINE, unique_name};

/// The probe, built by cargo beside this very test.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/probe");
    assert!(
        program.exists(),
        "{} is missing: `cargo test` and `cargo nextest run` build it, `--test` alone does not",
        program.display()
    );
    program
}

/// A command that runs the probe through `wrapper`, such as `unshare`, or directly when that is empty.
fn command(wrapper: &[&str], arguments: &[&str]) -> Command {
    let mut words: Vec<_> = wrapper.iter().map(|word| (*word).to_owned()).collect();
    words.push(program().to_str().unwrap().to_owned());
    words.extend(arguments.iter().map(|word| (*word).to_owned()));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// A running probe. Whatever is left of it and its children is killed when this is dropped.
pub struct Probe {
    pub name: SegmentName,
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
    /// Every line so far.
    pub seen: Vec<String>,
    deadline: Instant,
    status: Option<ExitStatus>,
}

impl Probe {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_through(&[], arguments)
    }

    pub fn start_through(wrapper: &[&str], arguments: &[&str]) -> Self {
        let name = unique_name();
        let mut command = command(wrapper, arguments);
        command.env("PROBE_NAME", name.as_str());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut errors = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            // An error here is an end as well.
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let deadline = Instant::now() + DEADLINE;
        Self { name, child, lines, errors: Some(errors), seen: Vec::new(), deadline, status: None }
    }

    /// The same probe with this long from now.
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

    /// To the probe and all its children, as a terminal does.
    pub fn signal_group(&self, signal: Signal) {
        killpg(self.pid(), signal).unwrap();
    }

    /// The rest of the first line from now on that starts so.
    pub fn line(&mut self, start: &str) -> String {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if let Some(rest) = line.strip_prefix(start) {
                        return rest.trim().to_owned();
                    }
                }
                Err(_) => self.fail(&format!("no line {start:?}")),
            }
        }
    }

    /// Lines so far that start so.
    pub fn count(&self, start: &str) -> usize {
        self.seen.iter().filter(|line| line.starts_with(start)).count()
    }

    /// Waits for the end; all lines are in `seen` then.
    pub fn join(&mut self) -> ExitStatus {
        loop {
            match self.lines.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.fail("it hangs"),
            }
        }
        self.wait()
    }

    /// Waits for the end of the probe itself, not of its children.
    pub fn wait(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.status.or_else(|| self.child.try_wait().unwrap()) {
                self.status = Some(status);
                return status;
            }
            if Instant::now() > self.deadline {
                self.fail("it hangs");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for the end, which must be exit code 0 and leave nothing in `/dev/shm`.
    pub fn succeed(&mut self) {
        let status = self.join();
        if !status.success() {
            self.fail(&format!("it ended with {status}"));
        }
        assert_eq!(self.entries(), [] as [PathBuf; 0], "left in /dev/shm");
    }

    /// What there is in `/dev/shm` of its name, or of its name with a dot and more.
    fn entries(&self) -> Vec<PathBuf> {
        let shown = std::fs::read_dir(self.name.path().parent().unwrap()).unwrap();
        let paths = shown.flatten().map(|entry| entry.path());
        let rest = |path: &Path| {
            path.to_str()?.strip_prefix(self.name.path().to_str()?).map(str::to_owned)
        };
        paths
            .filter(|path| rest(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
            .collect()
    }

    /// What it wrote to standard error. Only once everybody who could write there is gone.
    pub fn errors(&mut self) -> String {
        self.errors.take().map_or_else(String::new, |errors| errors.join().unwrap())
    }

    fn fail(&mut self, what: &str) -> ! {
        self.kill_all();
        panic!("{what}\n{}\n{}", self.seen.join("\n"), self.errors());
    }

    fn kill_all(&mut self) {
        // The probe leads a group of its own. It may be empty already.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // A leader that was reaped and left no children has no group any more, and its number may be somebody else's.
        if self.status.is_none_or(|status| status.signal().is_some()) {
            self.kill_all();
        }
        self.entries().iter().for_each(|entry| _ = std::fs::remove_file(entry));
    }
}

/// Runs a scenario to its end, which must be a good one. Returns the probe for its facts.
pub fn run(scenario: &str) -> Probe {
    let mut probe = Probe::start(&[scenario]);
    probe.succeed();
    probe
}

impl Probe {
    /// The value of a fact printed as `key=value`.
    pub fn fact(&self, key: &str) -> &str {
        let value = self.seen.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no fact {key} in {:?}", self.seen))
    }
}
