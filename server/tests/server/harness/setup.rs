//! How a test starts a central: settings, an empty directory and a free port.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::Duration;

use multiprocessing::{Segment, SegmentName};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::central_process::CentralProcess;
use super::database::Database;
use super::deadline::{eventually, eventually_within};
use super::log_lines::value_of;
use super::proc_files::{processes_in, shared_memory_entries};
use super::program::Program;
use super::random::Random;

/// Part of the line by which a central reports that it is ready.
const READY: &str = "action: listen | result: success";

/// The settings and the directory of a central, shared by all its starts.
#[derive(Debug)]
pub struct Setup {
    /// Working directory of the central, removed with everything in it when the test ends.
    directory: tempfile::TempDir,
    environment: Vec<(String, String)>,
    /// Where the bets are stored, if that is not in files.
    pub database: Option<Database>,
    /// Ports and supervisors of the centrals that became ready.
    started: Mutex<Vec<(u16, u32)>>,
}

impl Drop for Setup {
    /// Removes the shared memory of centrals whose processes were all killed.
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

/// Raises this process's limit of open descriptors as far as the system allows, and returns it.
///
/// Tests that run as threads of one process share the limit, and some open hundreds of connections.
/// For the centrals it makes no difference, because they raise their own limit.
pub(super) fn raise_descriptor_limit() -> u64 {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    most
}

/// Returns the name of the shared memory of the central on this port.
pub(super) fn segment_name(port: u16) -> SegmentName {
    SegmentName::new(&format!("lottery.{port}")).unwrap()
}

impl Setup {
    /// Returns the default setup: any free port of 127.0.0.1, two workers, durability `process`,
    /// log level DEBUG, batches that stay in flight however slowly they arrive, an empty directory.
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// Returns the default setup with a directory in memory, if the system has a place for it: for
    /// tests that sync often, or write the same files again and again.
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::below(memory) } else { Self::new() }
    }

    fn below(temporary: &Path) -> Self {
        raise_descriptor_limit();
        // Without symbolic links, because tests compare paths in `/proc` with paths of this
        // directory.
        let temporary = temporary.canonicalize().unwrap();
        let mut setup = Self {
            directory: tempfile::tempdir_in(temporary).unwrap(),
            environment: Vec::new(),
            database: crate::ON_ENGINE.then(Database::new),
            started: Mutex::default(),
        };
        let defaults = [
            ("SERVER_PORT", "0"),
            ("SERVER_IP", "127.0.0.1"),
            ("SERVER_WORKERS", "2"),
            ("SERVER_DURABILITY", "process"),
            ("SERVER_GRACE", "2s"),
            // Tests that hold a batch in flight need longer than the default on a busy machine.
            ("SERVER_STALL_TIME", "30s"),
            ("LOGGING_LEVEL", "DEBUG"),
        ];
        defaults.into_iter().for_each(|(key, value)| setup.set(key, value));
        if let Some(Database { url, lottery }) = &setup.database {
            let (url, lottery) = (url.clone(), lottery.clone());
            setup.set("SERVER_STORAGE", &url);
            setup.set("SERVER_LOTTERY", &lottery);
            setup.set("SERVER_CENTRAL_NAME", "a");
        }
        setup
    }

    /// Returns this setup with another value of a setting.
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

    /// Chooses a free port that all later starts use, and returns it. The port is outside the range
    /// from which the system picks ports, so no other program receives it between two starts.
    pub fn keep_port(&mut self) -> u16 {
        const FIRST: u64 = 10_000;
        const EPHEMERAL: u64 = 32_000;
        // Tests that run at the same time with the same seed must not choose the same port.
        let mut random = Random::unseeded();
        let ports = std::iter::repeat_with(|| (FIRST + random.below(EPHEMERAL - FIRST)) as u16);
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = ports.take(100).find(is_free).unwrap();
        self.set("SERVER_PORT", &port.to_string());
        port
    }

    /// Asserts that a central that has ended leaves no process, no shared memory and no listening
    /// socket. Waits for this at most one second.
    pub fn assert_nothing_left(&self, port: u16) {
        let entry = segment_name(port).path();
        let look = || {
            let refusal = TcpStream::connect(("127.0.0.1", port)).err().map(|error| error.kind());
            (processes_in(self.directory()), entry.exists(), refusal)
        };
        let nothing = (vec![], false, Some(ErrorKind::ConnectionRefused));
        let what = "no process, no shared memory, no listening socket";
        eventually_within(Duration::from_secs(1), what, look, |left| *left == nothing);
    }

    /// Returns the working directory of the central.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the path of a file of the storage.
    pub fn stored(&self, name: &str) -> PathBuf {
        self.directory().join("storage").join(name)
    }

    /// Returns the bytes of a file of the storage; none if there is no such file. What is in an
    /// engine is returned in the format of the file.
    pub fn read_stored(&self, name: &str) -> Vec<u8> {
        if let Some(database) = &self.database {
            return database.file(name);
        }
        fs::read(self.stored(name)).unwrap_or_default()
    }

    /// Returns the lines of `bets.csv`.
    pub fn rows(&self) -> Vec<String> {
        let text = String::from_utf8(self.read_stored("bets.csv")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Returns a command for the server with these arguments and this setup's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loteria-central"));
        command.args(arguments);
        self.equip(command)
    }

    /// Returns a command for a shell script in which `exec "$0" run` starts the central. The script
    /// can set limits or redirect the output first. `wrapper` is a program that runs the shell,
    /// with its arguments; empty if none is needed.
    pub fn shell(&self, wrapper: &[&str], script: &str) -> Command {
        let words =
            [wrapper, &["sh", "-c", script, env!("CARGO_BIN_EXE_loteria-central")]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        self.equip(command)
    }

    fn equip(&self, mut command: Command) -> Command {
        command.current_dir(self.directory()).envs(self.environment.iter().cloned());
        // Tests of both storages set what only one of them accepts.
        let storage = self.environment.iter().find(|(key, _)| key == "SERVER_STORAGE");
        let of_another = match storage.is_none_or(|(_, storage)| storage == "files") {
            true => ["SERVER_CENTRAL_NAME", "SERVER_LOTTERY"],
            false => ["SERVER_STORAGE_DIR", "SERVER_DURABILITY"],
        };
        for key in of_another {
            command.env_remove(key);
        }
        command
    }

    /// Runs the server with these arguments to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a central and waits until it is ready.
    pub fn start(&self) -> CentralProcess<'_> {
        self.start_by(&mut self.command(&["run"]))
    }

    /// Starts a central whose storage is a new file system of 36 MB, after the shell commands in
    /// `prepare`. Only root can mount it. Other processes see an empty directory there: see
    /// [`CentralProcess::inside`].
    pub fn start_on_small_disk(&self, prepare: &str) -> CentralProcess<'_> {
        fs::create_dir(self.stored("")).unwrap();
        let mount = "mount -t tmpfs -o size=36m tmpfs storage";
        let script = format!("{mount} && {prepare} exec \"$0\" run");
        self.start_by(&mut self.shell(&["unshare", "-m"], &script))
    }

    /// Starts a central by another command, such as one of [`shell`](Self::shell), and waits until
    /// it is ready.
    pub fn start_by(&self, command: &mut Command) -> CentralProcess<'_> {
        let program = Program::start(command);
        let ready = program.line_with(READY);
        self.started_as(program, &ready)
    }

    /// Starts a central as [`start_by`](Self::start_by) does. Returns what it has logged if it
    /// exits instead.
    pub fn try_start_by(&self, command: &mut Command) -> Result<CentralProcess<'_>, Vec<String>> {
        let mut program = Program::start(command);
        let mut look = || {
            let ready = program.lines().into_iter().find(|line| line.contains(READY));
            (ready, program.is_running())
        };
        let (ready, _) = eventually("a ready central or its end", &mut look, |(ready, runs)| {
            ready.is_some() || !runs
        });
        match ready {
            Some(ready) => Ok(self.started_as(program, &ready)),
            None => {
                program.exit_code();
                Err(program.lines())
            }
        }
    }

    fn started_as(&self, program: Program, ready: &str) -> CentralProcess<'_> {
        let port = value_of(ready, "port").parse().unwrap();
        self.started.lock().unwrap().push((port, program.pid()));
        CentralProcess::new(self, program, port)
    }
}

/// Listens on a free port of 127.0.0.1, so that no central can use it. No central that was killed
/// has left shared memory under its number.
pub fn reserve_port() -> TcpListener {
    let mut unsuitable = Vec::new();
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if shared_memory_entries(&format!("lottery.{port}")).is_empty() {
            return listener;
        }
        // Kept open, so that the system does not offer the same port again.
        unsuitable.push(listener);
    }
}
