//! The machines of the drill, which `scripts/nodes.sh` starts and disturbs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use crate::harness::eventually_within;

/// Time for a machine that is back to take part again, with a base backup if it needs one.
const REPAIR: Duration = Duration::from_secs(180);
/// Time for a standby to replace the primary.
const FAILOVER: Duration = Duration::from_secs(90);
/// Pause between two looks at the nodes, each of which starts a program.
const LOOK: Duration = Duration::from_millis(500);
/// Time for a central to be ready. PostgreSQL may fail over meanwhile.
const START: Duration = Duration::from_secs(90);

/// Records each transaction that holds a draw.
const DRAWS: &str = "
    CREATE TABLE IF NOT EXISTS draws (lottery text);
    CREATE OR REPLACE FUNCTION record_draw() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.draws VALUES (new.lottery);
        RETURN new;
    END $$;
    CREATE OR REPLACE TRIGGER record_draw AFTER UPDATE ON lottery.lotteries FOR EACH ROW
        WHEN (new.state = 'drawn' AND old.state <> 'drawn') EXECUTE FUNCTION record_draw()";

/// The machines. They end with the namespaces in which this program runs.
#[derive(Debug)]
pub struct Nodes {
    /// Data and logs of the machines.
    directory: PathBuf,
    /// Settings of all centrals.
    settings: Vec<(&'static str, String)>,
}

impl Nodes {
    /// Starts the machines of PostgreSQL in the directory that `make drill` has prepared.
    pub fn start() -> Self {
        let directory = std::env::var_os("NODES").expect("make drill starts this test");
        let nodes = Self { directory: directory.into(), settings: Vec::new() };
        nodes.run(&["bridge"]);
        for machine in ["db1", "db2", "db3"] {
            nodes.run(&["start", machine]);
        }
        nodes.wait_until_healthy();
        nodes.run(&["sql", "CREATE ROLE lottery LOGIN PASSWORD 'lottery'"]);
        nodes.run(&["sql", "CREATE DATABASE lottery OWNER lottery"]);
        nodes
    }

    /// Sets the settings with which centrals start.
    pub fn set_settings(&mut self, settings: Vec<(&'static str, String)>) {
        self.settings = settings;
    }

    fn try_run(&self, arguments: &[&str]) -> Output {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut command = Command::new("sh");
        command.arg(root.join("scripts/nodes.sh")).args(arguments);
        command.env("CENTRAL", env!("CARGO_BIN_EXE_loteria-central"));
        // A central is named like its machine.
        command.env("SERVER_CENTRAL_NAME", arguments.get(1).unwrap_or(&""));
        command.envs(self.settings.iter().map(|(key, value)| (key, value)));
        command.output().unwrap()
    }

    /// Executes a command of `nodes.sh` and returns what it prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "nodes.sh {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Executes a command that needs the primary, also if that is being replaced.
    fn at_primary(&self, arguments: &[&str]) -> String {
        let run = || {
            let output = self.try_run(arguments);
            if !output.status.success() {
                sleep(LOOK);
            }
            output
        };
        let done = |output: &Output| output.status.success();
        let output = eventually_within(FAILOVER, arguments[0], run, done);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Executes SQL at the primary, in the database of the lotteries, and returns its rows.
    pub fn sql(&self, text: &str) -> String {
        self.at_primary(&["sql", text, "lottery"])
    }

    /// Records the draws from now on, in a way that the centrals have no part in.
    pub fn record_draws(&self) {
        self.sql(DRAWS);
    }

    /// Returns how often the draw of a lottery was held.
    pub fn draws(&self, lottery: &str) -> usize {
        let count = self.sql(&format!("SELECT count(*) FROM draws WHERE lottery = '{lottery}'"));
        count.trim().parse().unwrap()
    }

    /// Returns the machine of the primary and those of the two standbys.
    pub fn roles(&self) -> [String; 3] {
        let primary = self.at_primary(&["primary"]).trim().to_owned();
        let standbys = ["db1", "db2", "db3"].into_iter().filter(|machine| *machine != primary);
        let mut roles = vec![primary.clone()];
        roles.extend(standbys.map(str::to_owned));
        roles.try_into().unwrap()
    }

    /// Waits until the primary has two standbys that may confirm a commit.
    pub fn wait_until_healthy(&self) {
        let is_healthy = || {
            sleep(LOOK);
            self.try_run(&["healthy"]).status.success()
        };
        eventually_within(REPAIR, "three healthy nodes", is_healthy, |healthy| *healthy);
    }

    /// Starts a central's machine and waits until the central is ready.
    pub fn start_central(&self, machine: &str) {
        // An earlier start may have ended before the log was complete.
        let _ = fs::remove_file(self.log_file(machine));
        self.run(&["start", machine]);
        let is_ready = || self.log(machine).contains("action: listen | result: success");
        eventually_within(START, &format!("{machine} to be ready"), is_ready, |ready| *ready);
    }

    fn log_file(&self, machine: &str) -> PathBuf {
        self.directory.join(machine).join("log")
    }

    /// Returns what the machine has logged.
    pub fn log(&self, machine: &str) -> String {
        let bytes = fs::read(self.log_file(machine)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
