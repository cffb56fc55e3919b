//! The lottery of a recording: a central and five agencies with different numbers of bets.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Frame at which each agency starts, and its bets. Agency 1 is the first one.
const AGENCIES: [(usize, u32); 5] =
    [(3, 24_000), (4, 24_000), (5, 24_000), (6, 24_000), (8, 24_000)];
/// Its agencies wait for the draw, and send a batch again if a worker dies with it.
const DIALECT: &str = "keyed";
/// Bets per batch. Small batches make many of them.
const BATCH: &str = "10";
/// Time limit for the central to be ready.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running lottery. Dropping it ends its processes and removes its files.
pub(crate) struct Lottery {
    central: PathBuf,
    agency: PathBuf,
    work: PathBuf,
    port: u16,
    processes: Vec<Child>,
}

impl Lottery {
    /// Starts the central and waits until it is ready.
    pub(crate) fn start(programs: &Path) -> Result<Self> {
        let programs = programs.canonicalize().context("the directory of the programs")?;
        let work = std::env::temp_dir().join(format!("lottery-recording-{}", std::process::id()));
        fs::create_dir_all(&work)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut lottery = Self {
            central: programs.join("loteria-central"),
            agency: programs.join("loteria-agency"),
            work,
            port,
            processes: Vec::new(),
        };
        for (number, (_, bets)) in (1..).zip(AGENCIES) {
            lottery.write_bets(number, bets)?;
        }
        let mut central = lottery.of_central("run");
        let log = File::create(lottery.work.join("central.log"))?;
        let child = central.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        lottery.processes.push(child.context("starting the central")?);
        let start = Instant::now();
        while !lottery.of_central("health").stderr(Stdio::null()).status()?.success() {
            ensure!(start.elapsed() < START_LIMIT, "the central is not ready");
            sleep(Duration::from_millis(50));
        }
        Ok(lottery)
    }

    /// Returns the command of the live view.
    pub(crate) fn top(&self) -> Command {
        self.of_central("top")
    }

    fn of_central(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.central);
        command.arg(subcommand).current_dir(&self.work).envs([
            ("SERVER_IP", "127.0.0.1"),
            ("SERVER_PORT", &self.port.to_string()),
            ("SERVER_PROTOCOL", DIALECT),
            ("SERVER_WORKERS", "4"),
            ("SERVER_AGENCIES", &AGENCIES.len().to_string()),
        ]);
        command
    }

    /// Writes the bets of an agency. Each call of `generate` writes those of the agencies from 1.
    fn write_bets(&self, number: u32, bets: u32) -> Result<()> {
        let directory = self.work.join(format!("data-{number}"));
        let mut command = Command::new(&self.agency);
        command.args(["generate", "--agencies", &number.to_string(), "--bets", &bets.to_string()]);
        command.args(["--seed", "1"]).arg("--out").arg(&directory);
        let output = command.output().context("generating bets")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Starts the agencies that start at a frame.
    pub(crate) fn start_agencies(&mut self, frame: usize) -> Result<()> {
        for (number, _) in (1..).zip(AGENCIES).filter(|(_, (start, _))| *start == frame) {
            let data = self.work.join(format!("data-{number}/agency-{number}.csv"));
            let log = File::create(self.work.join(format!("agency-{number}.log")))?;
            let mut command = Command::new(&self.agency);
            command.args(["run", "--no-progress"]).current_dir(&self.work).envs([
                ("CLI_PROTOCOL", DIALECT.to_owned()),
                ("CLI_ID", number.to_string()),
                ("CLI_SERVER_ADDRESS", format!("127.0.0.1:{}", self.port)),
                ("CLI_BATCH_MAXAMOUNT", BATCH.to_owned()),
                ("CLI_LOG_LEVEL", "ERROR".to_owned()),
            ]);
            command.env("CLI_DATA", data).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            self.processes.push(command.spawn().context("starting an agency")?);
        }
        Ok(())
    }

    /// Returns true once the draw has been held.
    pub(crate) fn is_drawn(&self) -> Result<bool> {
        let output = self.of_central("status").arg("--json").output()?;
        let status: Value = serde_json::from_slice(&output.stdout)?;
        Ok(status["drawn"] == true)
    }
}

impl Drop for Lottery {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().rev() {
            // A process that has been waited for has no pid; these have not.
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.work);
    }
}
