//! A whole measurement: the rows in alternating rounds, each run in a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::results::{Machine, Results, RowResults, Sample, StoredPoint};
use crate::rows::{self, Row};
use crate::servers::{self, Place};

/// The row that the curve over the stored bets is measured with.
const STORED: &str = "process/sentinel/kept/4/8kB";

/// Parameters of a measurement.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) words: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    /// Bets of the curve over the stored bets; 0 for no curve.
    pub(crate) stored: u64,
    pub(crate) command: String,
    pub(crate) place: Place,
}

impl Plan {
    /// Measures all rows and returns the results.
    pub(crate) fn run(&self) -> Result<Results> {
        let rows = rows::selected(&self.words);
        if rows.is_empty() && self.stored == 0 {
            bail!("BENCH={:?} selects no row", self.words.join(" "));
        }
        let network = Network::find();
        let before = load_average();
        let mut found: Vec<_> = rows
            .iter()
            .map(|row| RowResults {
                id: row.id(),
                missing: servers::missing(row.server).map(str::to_owned),
                samples: Vec::new(),
            })
            .collect();
        for round in 1..=self.rounds {
            for (row, found) in rows.iter().zip(&mut found) {
                if found.missing.is_some() || row.once && round > 1 {
                    continue;
                }
                eprint_line(&format!("round {round} of {}: {}", self.rounds, found.id));
                match self.measure::<Sample>(&network, row, &[]) {
                    Ok(sample) => found.samples.push(sample),
                    // Its other rounds would no longer be beside those of the other rows.
                    Err(error) => {
                        eprint_line(&format!("{error:#}"));
                        found.missing = Some("failed".to_owned());
                        found.samples.clear();
                    }
                }
            }
        }
        let stored = self.measure_stored(&network).unwrap_or_else(|error| {
            eprint_line(&format!("{error:#}"));
            Vec::new()
        });
        let machine = Machine {
            cpu: cpu_model(),
            cpus: std::thread::available_parallelism()?.get(),
            kernel: said("uname", &["-srm"]),
            storage: said("stat", &["-f", "-c", "%T", &self.place.work.to_string_lossy()]),
            network: network.name().to_owned(),
            load_average: [before, load_average()],
        };
        Ok(Results {
            machine,
            date: said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
            commit: commit(),
            command: self.command.clone(),
            seconds: self.seconds,
            rounds: self.rounds,
            workers: self.place.workers,
            rows: found,
            stored,
        })
    }

    fn measure_stored(&self, network: &Network) -> Result<Vec<StoredPoint>> {
        if self.stored == 0 {
            return Ok(Vec::new());
        }
        eprint_line(&format!("storing {} bets", self.stored));
        let row = Row::parse(STORED).context("the row of the stored bets")?;
        self.measure(network, &row, &["--stored", &self.stored.to_string()])
    }

    /// Performs one run in a process of its own.
    fn measure<T: DeserializeOwned>(
        &self,
        network: &Network,
        row: &Row,
        more: &[&str],
    ) -> Result<T> {
        let Place { programs, sources, work, workers } = &self.place;
        let mut command = network.command(&std::env::current_exe()?);
        command.args(["measure", &row.id(), "--seconds", &self.seconds.to_string()]).args(more);
        command.args(["--workers", &workers.to_string()]);
        command.arg("--programs").arg(programs).arg("--sources").arg(sources);
        command.arg("--work").arg(work).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output()?;
        if !output.status.success() {
            bail!("the run of {} has failed", row.id());
        }
        serde_json::from_slice(&output.stdout).context("the output of a run")
    }
}

/// The network of a run.
///
/// Every run gets its own namespace if possible. Then no firewall tracks its connections (at this
/// rate a tracking table fills up within seconds and the whole machine loses packets), and no run
/// inherits the closed connections of the previous one.
#[derive(Debug)]
struct Network {
    /// The command that enters a new namespace; empty for the network of the host.
    enter: &'static [&'static str],
}

impl Network {
    fn find() -> Self {
        const WAYS: [&[&str]; 2] =
            [&["unshare", "--net"], &["unshare", "--map-root-user", "--net"]];
        let works = |enter: &&&[&str]| {
            let mut command = Command::new(enter[0]);
            command.args(&enter[1..]).args(["ip", "link", "set", "lo", "up"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        Self { enter: WAYS.iter().find(works).copied().unwrap_or(&[]) }
    }

    fn name(&self) -> &'static str {
        if self.enter.is_empty() { "host" } else { "private" }
    }

    fn command(&self, program: &Path) -> Command {
        let Some((first, rest)) = self.enter.split_first() else { return Command::new(program) };
        let mut command = Command::new(first);
        command.args(rest).arg(program).arg("--raise-loopback");
        command
    }
}

/// Turns on the loopback interface of a new namespace, where it is off.
pub(crate) fn raise_loopback() -> Result<()> {
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    if !status.success() {
        bail!("ip link set lo up: {status}");
    }
    Ok(())
}

/// Returns the name of the file for results.
pub(crate) fn file_name(results: &Results) -> PathBuf {
    let date: String = results.date.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let commit: String = results.commit.chars().take(8).collect();
    PathBuf::from(format!("{date}-{commit}.json"))
}

/// Prints a line to standard error, for a person who waits.
pub(crate) fn eprint_line(line: &str) {
    use std::io::Write;
    let _closed = writeln!(std::io::stderr(), "{line}");
}

fn commit() -> String {
    let commit = said("git", &["rev-parse", "--short=8", "HEAD"]);
    let is_clean = said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    if is_clean { commit } else { format!("{commit}+changes") }
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name).to_owned()
}

/// Returns what a command prints, or nothing if it fails.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
