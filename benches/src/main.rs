//! Load generator for the central and the reference servers, and the report that compares them.

mod batch;
mod codec;
mod cpu_time;
mod latencies;
mod link;
mod load;
mod outcome;
mod report;

use std::io::Write;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use lottery::protocol::{ConnectionUse, Dialect};

use crate::batch::Batch;
use crate::load::Load;
use crate::outcome::Outcome;
use crate::report::Report;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send batches from several clients at once and measure
    Load(LoadArgs),
    /// Write the batch that `load` sends to standard output
    Batch(BatchArgs),
    /// Write the rows of a batch again and again, to count the instructions of the codec
    Codec {
        #[command(flatten)]
        batch: BatchArgs,
        /// Path from the bytes to the rows
        #[arg(long, value_enum, default_value = "prepare")]
        path: codec::Path,
        /// Times to write the rows
        #[arg(long, default_value = "1000", value_name = "N")]
        times: usize,
    },
    /// Print a Markdown table of runs recorded with `load --json`, one run per line
    Report {
        /// File with the runs
        runs: PathBuf,
        /// Name of a run to compare the others with; may be given several times
        #[arg(long, value_name = "NAME")]
        against: Vec<String>,
    },
}

#[derive(Args)]
struct BatchArgs {
    /// Bets per batch; max fills it up to 8192 bytes
    #[arg(long, default_value = "max", value_parser = parse_bets, value_name = "max|N")]
    bets_per_batch: NonZeroU16,
    /// Dialect of the batch
    #[arg(long, default_value = "typed", value_parser = parse_dialect, value_name = "NAME")]
    protocol: &'static Dialect,
    /// Send records without a number, as in the 2022 assignment; they win by their hash
    #[arg(long)]
    four_fields: bool,
}

impl BatchArgs {
    fn build(&self, connection: ConnectionUse) -> Result<Batch> {
        Batch::new(self.protocol, self.bets_per_batch.get(), !self.four_fields, connection)
            .context("building the batch")
    }
}

#[derive(Args)]
struct LoadArgs {
    /// Address of the server, HOST:PORT
    #[arg(long)]
    address: String,
    /// Clients that send at the same time
    #[arg(long, default_value = "4")]
    clients: NonZeroUsize,
    /// Duration of the run in seconds
    #[arg(long, default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
    #[command(flatten)]
    batch: BatchArgs,
    /// Send all batches of a client over one connection instead of one connection per batch
    #[arg(long)]
    kept: bool,
    /// Accept any N bytes as the reply
    #[arg(long, value_name = "N")]
    raw_reply: Option<NonZeroUsize>,
    /// Connections that send half a batch and then nothing during the run
    #[arg(long, default_value_t = 0, value_name = "N")]
    stalled: usize,
    /// Process whose CPU time is measured, including its descendants
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Name of the run in its output
    #[arg(long, default_value = "server")]
    name: String,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl LoadArgs {
    fn run(self) -> Result<Outcome> {
        let connection = if self.kept { ConnectionUse::Kept } else { ConnectionUse::PerRequest };
        let mut batch = self.batch.build(connection)?;
        if let Some(bytes) = self.raw_reply {
            batch.expect_any_reply(bytes.get());
        }
        let load = Load {
            address: link::resolve(&self.address)
                .with_context(|| format!("address {}", self.address))?,
            batch,
            clients: self.clients.get(),
            kept: self.kept,
            stalled: self.stalled,
            duration: self.seconds,
            server_pid: self.server_pid,
        };
        load.run(self.name).with_context(|| format!("loading {}", self.address))
    }
}

fn parse_bets(text: &str) -> Result<NonZeroU16, String> {
    if text == "max" {
        return Ok(NonZeroU16::MAX);
    }
    text.parse().map_err(|_| "expected max or a number from 1 to 65535".to_owned())
}

fn parse_dialect(text: &str) -> Result<&'static Dialect, String> {
    Dialect::named(text).ok_or_else(|| format!("expected one of {}", Dialect::names()))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() -> Result<()> {
    let mut out = std::io::stdout();
    match Cli::parse().command {
        Command::Load(args) => {
            let json = args.json;
            let outcome = args.run()?;
            if json {
                writeln!(out, "{}", serde_json::to_string(&outcome)?)?;
            } else {
                writeln!(out, "{outcome}")?;
            }
        }
        Command::Batch(args) => out.write_all(&args.build(ConnectionUse::Kept)?.request)?,
        Command::Codec { batch: args, path, times } => {
            let batch = args.build(ConnectionUse::Kept)?;
            let bytes = codec::run(args.protocol, &batch, path, times)?;
            writeln!(out, "{} bets, {} bytes, {bytes} stored", batch.bets, batch.request.len())?;
        }
        Command::Report { runs, against } => {
            let lines = std::fs::read_to_string(&runs)
                .with_context(|| format!("reading {}", runs.display()))?;
            let outcomes = lines
                .lines()
                .map(serde_json::from_str)
                .collect::<Result<Vec<Outcome>, _>>()
                .with_context(|| format!("{} is not a list of runs", runs.display()))?;
            write!(out, "{}", Report::new(&outcomes, &against)?)?;
        }
    }
    Ok(())
}
