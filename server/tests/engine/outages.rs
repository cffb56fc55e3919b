//! The engine cannot be reached for a while, or a connection to it is cut in the middle of a store.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use postgres_link::{Request, Session, Url};

use crate::harness::{
    BatchRecord, Load, Program, Random, Setup, StoppedProcess, can_mount, eventually, left_out,
    packet_of,
};
use crate::proxy::Proxy;

/// Returns a setup whose central reaches its engine through a proxy.
fn through_proxy() -> (Setup, Proxy) {
    let mut setup = Setup::new().with("LOGGING_LEVEL", "INFO");
    let (proxy, url) = Proxy::start(&setup.database.as_ref().unwrap().url);
    setup.set("SERVER_STORAGE", &url);
    (setup, proxy)
}

#[test]
fn a_connection_cut_at_any_point_of_a_store_leaves_every_batch_stored_exactly_once() {
    let (mut setup, proxy) = through_proxy();
    let port = setup.keep_port();
    let central = setup.start();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(4, port, &record, &mut random);
    for cut in 0..40 {
        let direction = cut % 2;
        let before = proxy.cuts(direction);
        proxy.cut_after(random.below(6), direction);
        eventually("a cut", || proxy.cuts(direction), |cuts| *cuts > before);
    }
    // Its connections stay: the central answers them once it knows what has become of their batch.
    eventually("acknowledgements", || record.acknowledged(), |count| *count > 10);
    load.stop();
    record.check(&setup, &central);
    let refused = central.worker_numbers("refused").into_iter().sum::<u64>();
    assert_eq!(refused, 0, "no client sees a cut");
}

#[test]
fn without_its_engine_a_central_acknowledges_nothing_and_goes_on_by_itself() {
    let (setup, proxy) = through_proxy();
    let central = setup.start();
    central.request(&packet_of("before", 2, 1));
    proxy.stop(true);
    let mut waiting = central.connect();
    waiting.send(&packet_of("during", 2, 1));
    std::thread::sleep(Duration::from_millis(500));
    assert!(waiting.is_quiet(), "nothing is acknowledged");
    proxy.stop(false);
    assert!(!waiting.read_to_end().is_empty());
    assert_eq!(central.results().winners, 2);
    assert_eq!(setup.rows().len(), 4);
}

#[test]
fn health_says_that_the_engine_cannot_be_reached_and_when_it_can_again() {
    let (setup, proxy) = through_proxy();
    let central = setup.start();
    let port = central.port.to_string();
    let health = || {
        let output = setup.run(&["health", "--port", &port]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    eventually("health", health, |(code, _)| *code == Some(0));
    proxy.close(true);
    setup.database.as_ref().unwrap().query(
        "SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a, lottery.centrals c \
         WHERE c.lottery = $1 AND a.application_name = 'lottery ' || c.instance",
    );
    let text = "worker 0 has no connection to the database";
    eventually("the reason", health, |(code, log)| *code == Some(1) && log.contains(text));
    assert_eq!(setup.run(&["health", "--live", "--port", &port]).status.code(), Some(0));
    assert!(central.status()["unhealthy"][0].as_str().unwrap().contains(text));
    proxy.close(false);
    eventually("health", health, |(code, _)| *code == Some(0));
}

#[test]
fn a_request_whose_time_is_over_ends_unanswered_and_later_ones_are_served() {
    let (setup, proxy) = through_proxy();
    let setup = setup.with("SERVER_REQUEST_TIMEOUT", "1s");
    let central = setup.start();
    proxy.stop(true);
    let mut late = central.connect();
    late.send(&packet_of("late", 2, 1));
    assert!(late.read_until_gone().is_empty());
    proxy.stop(false);
    let stored = || !central.request(&packet_of("next", 2, 1)).is_empty();
    eventually("an acknowledgement", stored, |stored| *stored);
    let late = setup.rows().iter().filter(|row| row.contains("late")).count();
    assert!(late == 0 || late == 2, "whole or not at all: {late}");
}

#[test]
fn a_central_without_its_engine_stays_within_its_memory() {
    let (setup, proxy) = through_proxy();
    let setup = setup.with("SERVER_WORKERS", "1");
    let central = setup.start();
    central.request(&packet_of("before", 2, 1));
    proxy.stop(true);
    let packet = packet_of("crowd", 100, 0);
    let mut crowd: Vec<_> = (0..300)
        .map(|_| {
            let mut agency = central.connect();
            agency.send(&packet);
            agency
        })
        .collect();
    let before = crate::harness::private_bytes(central.worker_pids()[0]);
    assert!(before < 8 << 20, "{before} bytes");
    proxy.stop(false);
    for agency in &mut crowd {
        assert!(!agency.read_to_end().is_empty());
    }
    assert_eq!(setup.rows().len(), 2 + 300 * 100);
}

#[test]
fn a_start_without_an_engine_waits_for_it_and_can_be_stopped() {
    let (setup, proxy) = through_proxy();
    proxy.close(true);
    let mut program = Program::start(&mut setup.command(&["run"]));
    program.line_with("action: engine | result: fail");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.exit_code(), 0);
    assert_eq!(program.count_lines_with("action: exit | result: success"), 1);
    let program = Program::start(&mut setup.command(&["run"]));
    program.line_with("action: engine | result: fail");
    proxy.close(false);
    program.line_with("action: listen | result: success");
    program.signal(Signal::SIGTERM);
}

/// A server of this test alone, which it may stop and kill.
pub struct Server {
    _directory: tempfile::TempDir,
    data: String,
    url: String,
}

impl Server {
    /// Starts a server. Reports the test as left out if there is none.
    pub fn start() -> Option<Self> {
        // Without it, the setup of the test would end this process and leave the server running.
        if std::env::var_os("TEST_POSTGRES").is_none() {
            left_out("TEST_POSTGRES is not set, see scripts/test.sh");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        // The owner of the server has to reach its files.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let data = directory.path().join("server").display().to_string();
        let output = script(&["start", &data]);
        if !output.status.success() {
            left_out(&format!("no server: {}", String::from_utf8_lossy(&output.stderr)));
            return None;
        }
        let url = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        Some(Self { _directory: directory, data, url })
    }

    /// Returns a setup whose lottery is on this server.
    pub fn setup(&self) -> Setup {
        let mut setup = Setup::new().with("LOGGING_LEVEL", "INFO");
        setup.set("SERVER_STORAGE", &self.url);
        setup.database.as_mut().unwrap().url = self.url.clone();
        setup
    }

    /// Ends the server without a checkpoint, as a kill does, and starts it again on its port.
    fn restart(&self) {
        let options = std::fs::read_to_string(format!("{}/data/postmaster.opts", self.data));
        let options = options.unwrap();
        let program = options.split(' ').next().unwrap().replace("/bin/postgres", "/bin/pg_ctl");
        let (data, log) = (format!("{}/data", self.data), format!("{}/log", self.data));
        let restart =
            ["--pgdata", &data, "--log", &log, "--mode", "immediate", "--wait", "restart"];
        // The server refuses to run as root.
        let owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
        let owner = if nix::unistd::geteuid().is_root() { &owner[..] } else { &[] };
        let words = [owner, &[&program], &restart].concat();
        let mut command = Command::new(words[0]);
        let status = command.args(&words[1..]).current_dir(&self.data).output().unwrap().status;
        assert!(status.success(), "{words:?}: {status}");
    }

    /// Lets every commit wait for a standby, which this server does not have, or no longer.
    pub fn require_standby(&self, setup: &Setup, required: bool) {
        let path = format!("{}/data/postgresql.auto.conf", self.data);
        let names = if required { "none" } else { "" };
        std::fs::write(path, format!("synchronous_standby_names = '{names}'\n")).unwrap();
        let database = setup.database.as_ref().unwrap();
        database.query("SELECT pg_reload_conf() FROM (SELECT $1::text) l");
        let setting = || {
            let sql =
                "SELECT current_setting('synchronous_standby_names') FROM (SELECT $1::text) l";
            database.query(sql).of(0).first().unwrap().get::<&str>(0).unwrap().to_owned()
        };
        eventually("the setting", setting, |setting| setting == names);
    }

    /// Executes statements.
    fn execute(&self, sql: &str) {
        let servers = self.url.parse::<Url>().unwrap().resolve().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut session = Session::connect(&servers, deadline).unwrap();
        session.execute(Request::script(sql).unwrap(), deadline).unwrap();
    }

    fn pid(&self) -> u32 {
        let file = std::fs::read_to_string(format!("{}/data/postmaster.pid", self.data)).unwrap();
        file.lines().next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        script(&["stop", &self.data]);
    }
}

fn script(arguments: &[&str]) -> std::process::Output {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres.sh");
    Command::new("sh").arg(path).args(arguments).output().unwrap()
}

/// A file system of 24 MB, which ends with this.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts one that the server may write to. Reports the test as left out if it may not.
    fn mount() -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let disk = Self(tempfile::tempdir().unwrap());
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(disk.0.path(), open).unwrap();
        let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
        let options = format!("size=24m,mode=700,uid={},gid={}", user.uid, user.gid);
        let mount = ["-t", "tmpfs", "-o", &options, "tmpfs"];
        let status = Command::new("mount").args(mount).arg(disk.0.path()).status().unwrap();
        assert!(status.success(), "mount: {status}");
        Some(disk)
    }

    /// Writes a file until there is no room, and returns its path.
    fn fill(&self) -> std::path::PathBuf {
        let path = self.0.path().join("full");
        let mut file = std::fs::File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ended = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Disturbs the server of a central under load, then checks that batches are acknowledged again,
/// and that each is stored once. `disturb` gets a function that waits for more acknowledgements.
fn under_load(disturb: impl FnOnce(&Server, &dyn Fn())) {
    let Some(server) = Server::start() else { return };
    let mut setup = server.setup();
    let port = setup.keep_port();
    let central = setup.start();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(4, port, &record, &mut random);
    let goes_on = || {
        let before = record.acknowledged();
        eventually("acknowledgements", || record.acknowledged(), |count| *count > before + 20);
    };
    disturb(&server, &goes_on);
    goes_on();
    load.stop();
    record.check(&setup, &central);
}

#[test]
fn an_engine_that_is_stopped_for_a_while_costs_time_and_nothing_else() {
    under_load(|server, goes_on| {
        goes_on();
        // The processes that serve the connections are children of this one and go on; new
        // connections are not accepted.
        let stopped = StoppedProcess::new(server.pid());
        std::thread::sleep(Duration::from_millis(300));
        drop(stopped);
    });
}

#[test]
fn an_engine_that_is_killed_and_restarted_has_everything_acknowledged_once() {
    under_load(|server, goes_on| {
        for _ in 0..3 {
            goes_on();
            server.restart();
        }
    });
}

#[test]
fn a_full_disk_of_the_engine_refuses_no_batch_and_loses_none() {
    let Some(disk) = SmallDisk::mount() else { return };
    under_load(|server, goes_on| {
        goes_on();
        let path = disk.0.path().display();
        server.execute(&format!("CREATE TABLESPACE small LOCATION '{path}'"));
        server.execute("ALTER TABLE lottery.groups SET TABLESPACE small");
        goes_on();
        let file = disk.fill();
        let size = || {
            let log = std::fs::read_to_string(format!("{}/log", server.data)).unwrap();
            log.matches("No space left on device").count()
        };
        eventually("a refused statement", size, |count| *count > 3);
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn a_batch_whose_wait_for_a_standby_was_cancelled_is_acknowledged_once_a_standby_has_it() {
    let Some(server) = Server::start() else { return };
    let setup = server.setup();
    let central = setup.start();
    server.require_standby(&setup, true);
    let mut agency = central.connect();
    agency.send(&packet_of("a", 3, 1));
    let cancelled = || {
        let sql = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
                   WHERE $1 <> '' AND wait_event = 'SyncRep' AND query LIKE '%lottery.store%' \
                   AND pid <> pg_backend_pid()";
        setup.database.as_ref().unwrap().query(sql).of(0).first().unwrap().get::<i64>(0).unwrap()
    };
    eventually("a cancelled wait", cancelled, |count| *count > 0);
    // The server has committed the batch, and says so with a warning.
    eventually("the rows", || setup.rows().len(), |rows| *rows == 3);
    std::thread::sleep(Duration::from_millis(500));
    assert!(agency.is_quiet(), "acknowledged although no standby has it");
    server.require_standby(&setup, false);
    assert!(!agency.read_to_end().is_empty());
    assert_eq!((setup.rows().len(), central.results().winners), (3, 1));
}

#[test]
fn tables_of_another_version_are_refused() {
    let Some(server) = Server::start() else { return };
    let setup = server.setup();
    assert_eq!(setup.start().stop().0, 0);
    let sql = "WITH v AS (SELECT $1::text) UPDATE lottery.version SET version = 99";
    setup.database.as_ref().unwrap().query(sql);
    let mut program = Program::start(&mut setup.command(&["run"]));
    assert_eq!(program.exit_code(), 1);
    program.line_with("have version 99, this program uses version 2");
}
