//! Programs under test: started, watched through their output, ended by pid.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::deadline::{eventually, eventually_within};

/// Sends a signal to a process this test started. Whether there was one.
///
/// # Panics
/// When the system refuses for another reason.
pub fn kill(pid: u32, signal: Signal) -> bool {
    match nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), signal) {
        Ok(()) => true,
        Err(Errno::ESRCH) => false,
        Err(errno) => panic!("kill {pid} {signal}: {errno}"),
    }
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// Processor time a process has used since it started, to the hundredth of a second.
///
/// # Panics
/// When there is no such process.
pub fn cpu_time(pid: u32) -> Duration {
    let ticks = |field| -> u64 { stat_field(pid, field).unwrap().parse().unwrap() };
    // USER_HZ, in which Linux tells it on every machine.
    Duration::from_millis(10) * u32::try_from(ticks(USER_TICKS) + ticks(SYSTEM_TICKS)).unwrap()
}

/// Memory that is a process's own, shared with nobody.
///
/// # Panics
/// When there is no such process.
pub fn private_bytes(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let private = rollup.lines().filter_map(|line| line.strip_prefix("Private_")?.split_once(':'));
    let kilobytes = private.filter(|(kind, _)| matches!(*kind, "Clean" | "Dirty"));
    kilobytes
        .map(|(_, size)| size.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
        .sum()
}

/// Bytes a process has read from files since it started. What came through sockets is not counted: it is received, not read.
///
/// # Panics
/// When there is no such process.
pub fn bytes_read(pid: u32) -> u64 {
    let counts = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Raises this process's limit of open descriptors as far as the system allows. Whether it may have `wanted`.
///
/// # Panics
/// When the system refuses.
pub fn allow_descriptors(wanted: u64) -> bool {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    most >= wanted
}

/// The state of a process as one letter, `T` for stopped; `None` when there is no such process.
pub(crate) fn state(pid: u32) -> Option<char> {
    stat_field(pid, STATE)?.chars().next()
}

/// Fields of `/proc/PID/stat`, counted from the state, the first after the command.
const STATE: usize = 0;
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;

fn stat_field(pid: u32, field: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(field).map(str::to_owned)
}

/// Living processes whose working directory is this one: everybody a central in it has left.
///
/// # Panics
/// When `/proc` cannot be listed.
pub(crate) fn processes_in(directory: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_here = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == directory)
    };
    pids.filter(is_here).filter(|pid| is_alive(*pid)).collect()
}

/// Names in `/dev/shm` that contain `part`.
///
/// # Panics
/// When `/dev/shm` cannot be listed.
pub fn shared_memory_entries(part: &str) -> Vec<String> {
    let names = std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.contains(part)).collect()
}

/// A running program whose output lines are collected. Killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

impl Program {
    /// Starts it, collecting what it writes to standard output and standard error.
    ///
    /// # Panics
    /// When it cannot be started.
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

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line that contains `part` and returns it.
    ///
    /// # Panics
    /// When none comes, with what came.
    pub fn line_with(&self, part: &str) -> String {
        let find = || {
            self.lines().into_iter().find(|line| line.contains(part)).ok_or_else(|| self.lines())
        };
        eventually(&format!("a line with {part:?}"), find, Result::is_ok).unwrap()
    }

    /// How many lines contain `part` so far.
    pub fn count_lines_with(&self, part: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(part)).count()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Waits for its end: the exit code, or 128 plus the signal as a shell says it.
    ///
    /// # Panics
    /// When it does not end within the limit.
    pub fn exit_code_within(&mut self, limit: Duration) -> i32 {
        let status =
            eventually_within(limit, "the end of the program", || self.try_end(), Option::is_some)
                .unwrap();
        for reader in self.readers.drain(..) {
            // Inherited by a process that lives longer, the pipe would not end; the lines so far are what counts then.
            if reader.is_finished() || status.success() {
                let _ = reader.join();
            }
        }
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// As [`exit_code_within`](Self::exit_code_within), with a limit no test should come near.
    ///
    /// # Panics
    /// As there.
    pub fn exit_code(&mut self) -> i32 {
        self.exit_code_within(Duration::from_secs(60))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.try_end().is_none()
    }

    /// Asks it to end and waits for that, without insisting: for `drop`, which must not panic. Dropping it kills it then.
    pub(crate) fn end_by(&mut self, signal: Signal, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut asked = false;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            if !asked {
                let pid = Pid::from_raw(self.pid().cast_signed());
                asked = nix::sys::signal::kill(pid, signal).is_ok();
            }
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
