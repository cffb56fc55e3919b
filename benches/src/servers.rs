//! Starts and stops the servers that are measured.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::rows::{Row, Server};
use crate::{postgres, redis};

/// Time limits for a server to listen, and to stop before it is killed.
const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// Debian keeps the programs of PostgreSQL apart from those of users.
const POSTGRES_DIRECTORIES: &str = "/usr/lib/postgresql";

/// What a run needs to know of its surroundings.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Directory with the programs `server`, `client` and `bare_prefork`.
    pub(crate) programs: PathBuf,
    /// Directory of the sources of this package.
    pub(crate) sources: PathBuf,
    /// Directory for files, which is removed afterwards.
    pub(crate) work: PathBuf,
    /// Workers of a pre-forked server.
    pub(crate) workers: usize,
}

/// A running server. Dropping it stops it and removes its storage.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    signal: Signal,
    storage: PathBuf,
    pub(crate) port: u16,
    /// The server of the bets, if the central does not store them itself. It stops last.
    engine: Option<Box<Running>>,
}

/// Returns why a server cannot be measured on this machine.
pub(crate) fn missing(server: Server) -> Option<&'static str> {
    let runs = |program: &Path| {
        let mut command = Command::new(program);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = match server {
        Server::RedisXadd | Server::RedisLua => runs(Path::new("redis-server")),
        Server::Postgres | Server::PostgresInsert | Server::PostgresCopy => {
            postgres_programs().is_some()
        }
        Server::Python | Server::PythonTuned => runs(Path::new("python3")),
        _ => true,
    };
    (!found).then_some("not installed")
}

/// Returns the directory with the programs of the newest PostgreSQL.
fn postgres_programs() -> Option<PathBuf> {
    let versions = fs::read_dir(POSTGRES_DIRECTORIES).ok()?.flatten();
    let directories = versions.map(|version| version.path().join("bin"));
    directories.filter(|directory| directory.join("initdb").exists()).max()
}

/// Returns a command that PostgreSQL accepts: it refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

impl Running {
    /// Starts the server of a row and waits until it listens. `request_bytes` is the size of a
    /// batch.
    pub(crate) fn start(row: &Row, request_bytes: usize, place: &Place) -> Result<Self> {
        let engine = match row.server {
            Server::Postgres => {
                let engine = Row { server: Server::PostgresInsert, ..*row };
                Some(Box::new(Self::start(&engine, request_bytes, place)?))
            }
            _ => None,
        };
        let storage = place.work.join(row.server.name());
        fs::create_dir_all(&storage)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = match row.server {
            Server::Bare | Server::BareMore => bare(row, request_bytes, place),
            Server::Process | Server::Disk => {
                let mut central = central(row, place);
                central.env("SERVER_STORAGE_DIR", &storage);
                central.env("SERVER_DURABILITY", row.server.name());
                central
            }
            Server::Postgres => {
                let engine = engine.as_ref().context("PostgreSQL is not started")?;
                let mut central = central(row, place);
                central.env("SERVER_STORAGE", postgres::url(engine.port));
                central.env("SERVER_CENTRAL_NAME", "bench");
                central
            }
            Server::Python | Server::PythonTuned => python(row, &storage, place),
            Server::RedisXadd | Server::RedisLua => redis_server(port, &storage),
            Server::PostgresInsert | Server::PostgresCopy => postgres_server(port, &storage)?,
        };
        let path = place.work.join(format!("{}.log", row.server.name()));
        let log = File::create(&path)?;
        command.current_dir(&place.work).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        // PostgreSQL waits for its clients on SIGTERM.
        let signal = match row.server {
            Server::PostgresInsert | Server::PostgresCopy => Signal::SIGINT,
            _ => Signal::SIGTERM,
        };
        let mut running = Self { child, signal, storage, port, engine };
        let ready = running.wait(row.server, &path);
        ready.with_context(|| fs::read_to_string(&path).unwrap_or_default())?;
        Ok(running)
    }

    /// Returns the process at the root of the server's tree.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the process at the root of the tree of the server of the bets, if the central does
    /// not store them itself.
    pub(crate) fn engine_pid(&self) -> Option<u32> {
        self.engine.as_ref().map(|engine| engine.pid())
    }

    /// Waits until the server listens, and prepares it.
    fn wait(&mut self, server: Server, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server has ended: {status}");
            }
            if Instant::now() > deadline {
                bail!("the server does not listen after {} s", START_LIMIT.as_secs());
            }
            match server {
                Server::RedisXadd | Server::RedisLua => {
                    if redis::load_function(self.port).is_ok() {
                        return Ok(());
                    }
                }
                Server::PostgresInsert | Server::PostgresCopy => {
                    if TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.create_table() {
                        return Ok(());
                    }
                }
                _ => {
                    if let Some(port) = port_in(&fs::read_to_string(log)?) {
                        self.port = port;
                        return Ok(());
                    }
                }
            }
            sleep(POLL);
        }
    }

    fn create_table(&self) -> bool {
        let mut command = Command::new("psql");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", postgres::USER]);
        command.args(["-d", postgres::DATABASE, "-c", postgres::TABLE]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ended = kill(Pid::from_raw(self.child.id() as i32), self.signal);
        let deadline = Instant::now() + STOP_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ended = self.child.kill();
                let _reaped = self.child.wait();
                break;
            }
            sleep(POLL);
        }
        let _already_gone = fs::remove_dir_all(&self.storage);
    }
}

/// Returns the port in the line of a log that says that the server listens.
fn port_in(log: &str) -> Option<u16> {
    let line = log.lines().find(|line| line.contains("action: listen | result: success"))?;
    let (_, rest) = line.split_once(" port: ")?;
    rest.split(' ').next()?.parse().ok()
}

fn bare(row: &Row, request_bytes: usize, place: &Place) -> Command {
    let mut command = Command::new(place.programs.join("bare_prefork"));
    // A worker serves one connection at a time, so each kept connection needs its own.
    let workers = if row.kept { row.clients } else { place.workers };
    command.args(["0", &workers.to_string(), &request_bytes.to_string()]);
    match row {
        Row { kept: true, .. } => command.arg("kept"),
        Row { server: Server::BareMore, .. } => command.arg("more"),
        _ => &mut command,
    };
    command
}

fn central(row: &Row, place: &Place) -> Command {
    let mut command = Command::new(place.programs.join("loteria-central"));
    command.arg("run").env_clear();
    command.env("SERVER_IP", "127.0.0.1").env("SERVER_PORT", "0");
    command.env("SERVER_PROTOCOL", row.dialect.name);
    command.env("SERVER_WORKERS", place.workers.to_string());
    // All clients of a row connect at once.
    command.env("SERVER_LISTEN_BACKLOG", "8192");
    command
}

fn python(row: &Row, storage: &Path, place: &Place) -> Command {
    let mut command = Command::new("python3");
    command.arg(place.sources.join("multiprocessing_server.py"));
    command.args(["0", &place.workers.to_string()]).arg(storage);
    command.arg(if row.server == Server::Python { "plain" } else { "tuned" });
    command
}

/// Redis with its log of commands only, synced before each reply. It does not rewrite that log
/// during the run, which would cost it time.
fn redis_server(port: u16, storage: &Path) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    // Otherwise it serves no loopback address but 127.0.0.1.
    command.args(["--protected-mode", "no"]);
    command.args(["--auto-aof-rewrite-percentage", "0", "--tcp-backlog", "4096", "--dir"]);
    command.arg(storage);
    command
}

/// PostgreSQL with a new cluster. Its durability is the default: every commit is synced.
fn postgres_server(port: u16, storage: &Path) -> Result<Command> {
    let programs = postgres_programs().context("PostgreSQL is not installed")?;
    let cluster = storage.join("cluster");
    if geteuid().is_root() {
        let owned = Command::new("chown").arg("postgres").arg(storage).status()?;
        if !owned.success() {
            bail!("chown postgres failed: {owned}");
        }
    }
    let mut initdb = as_postgres(&programs.join("initdb"));
    initdb.args(["--auth=trust", "--no-sync", "--username", postgres::USER, "--pgdata"]);
    let made = initdb.arg(&cluster).current_dir("/").output()?;
    if !made.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&made.stderr));
    }
    let mut command = as_postgres(&programs.join("postgres"));
    command.arg("-D").arg(&cluster).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""]);
    for setting in ["shared_buffers=256MB", "max_wal_size=4GB", "max_connections=200"] {
        command.args(["-c", setting]);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_either_log() {
        let log = "x\n2026-01-01 00:00:00 INFO     action: listen | result: success | ip: 127.0.0.1 \
                   | port: 4321 | protocol: typed\n";
        assert_eq!(port_in(log), Some(4321));
        assert_eq!(port_in("action: listen | result: success | port: 80\n"), Some(80));
        assert_eq!(port_in("action: start | result: success | port: 80\n"), None);
    }
}
