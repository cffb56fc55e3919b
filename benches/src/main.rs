//! The measurements of `make bench`: runs them, stores the results, and makes tables and plots.
//! Also records the picture of `loteria-central top`.

mod batch;
mod codec;
mod cpu_time;
mod goals;
mod markdown;
mod measure;
mod plots;
mod postgres;
mod recording;
mod redis;
mod results;
mod rows;
mod run;
mod servers;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use lottery::protocol::Dialect;

use crate::results::Results;
use crate::rows::Row;
use crate::run::{Plan, eprint_line};
use crate::servers::Place;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// Turn on the loopback interface first, in a new network namespace
    #[arg(long, hide = true)]
    raise_loopback: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure rows in alternating rounds, write a file of results and print its tables
    Run(RunArgs),
    /// List the rows
    Rows {
        /// main, goals, all, or parts of identifiers
        #[arg(default_value = "all")]
        words: Vec<String>,
    },
    /// Perform one run and print its figures as JSON
    Measure {
        /// Identifier of the row
        #[arg(value_parser = parse_row)]
        row: Row,
        /// Duration of the run
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// Store this many bets in one central, and measure on the way
        #[arg(long)]
        stored: Option<u64>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Write the plots of a file of results, and its tables into docs/measurements.md
    Publish {
        /// File of results [default: the newest one]
        results: Option<PathBuf>,
    },
    /// Run a central with agencies, kill workers in its live view, and write the view as an
    /// animated SVG
    Record(recording::RecordArgs),
    /// Write the rows of a batch again and again, to count the instructions of the codec
    Codec {
        /// Dialect of the batch
        #[arg(long, value_parser = parse_dialect, value_name = "NAME")]
        protocol: &'static Dialect,
        /// Path from the bytes to the rows
        #[arg(long, value_enum, default_value = "prepare")]
        path: codec::Path,
        /// Times to write the rows
        #[arg(long, default_value = "1000", value_name = "N")]
        times: usize,
    },
}

#[derive(Args)]
struct RunArgs {
    /// main, goals, all, or parts of identifiers
    #[arg(required = true)]
    words: Vec<String>,
    /// Rounds in which the rows alternate
    #[arg(long)]
    rounds: usize,
    /// Duration of one run
    #[arg(long)]
    seconds: f64,
    /// Bets of the curve over the stored bets; 0 for no curve
    #[arg(long)]
    stored: u64,
    /// Command that the results name
    #[arg(long)]
    command: String,
    /// Directory for the file of results
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Args)]
struct PlaceArgs {
    /// Directory with the programs server, client and bare_prefork
    #[arg(long)]
    programs: PathBuf,
    /// Directory of the sources of this package
    #[arg(long)]
    sources: PathBuf,
    /// Directory for files
    #[arg(long)]
    work: PathBuf,
    /// Workers of a pre-forked server
    #[arg(long)]
    workers: usize,
}

impl From<PlaceArgs> for Place {
    fn from(PlaceArgs { programs, sources, work, workers }: PlaceArgs) -> Self {
        Self { programs, sources, work, workers }
    }
}

fn parse_dialect(text: &str) -> Result<&'static Dialect, String> {
    Dialect::named(text).ok_or_else(|| format!("expected one of {}", Dialect::names()))
}

fn parse_row(text: &str) -> Result<Row, String> {
    Row::parse(text)
        .ok_or_else(|| "expected an identifier such as process/typed/kept/4/8kB".to_owned())
}

/// Returns the root of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the files that show these results, with their contents.
fn published(results: &Results) -> Result<Vec<(PathBuf, String)>> {
    let page = root().join("docs/measurements.md");
    let text = fs::read_to_string(&page).context("reading docs/measurements.md")?;
    let mut files = vec![(page, markdown::replaced(&text, &markdown::tables(results))?)];
    let directory = root().join("benches/plots");
    for plot in plots::all(results)? {
        files.push((directory.join(plot.name), plot.svg));
    }
    Ok(files)
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if cli.raise_loopback {
        run::raise_loopback()?;
    }
    let mut out = std::io::stdout();
    match cli.command {
        Command::Run(RunArgs {
            words,
            rounds,
            seconds,
            stored,
            command,
            out: directory,
            place,
        }) => {
            let plan = Plan { words, rounds, seconds, stored, command, place: place.into() };
            let results = plan.run()?;
            fs::create_dir_all(&directory)?;
            let path = directory.join(run::file_name(&results));
            results.write(&path)?;
            write!(out, "{}", markdown::tables(&results))?;
            eprint_line(&format!("wrote {}", path.display()));
        }
        Command::Rows { words } => {
            rows::selected(&words).iter().try_for_each(|row| writeln!(out, "{}", row.id()))?;
        }
        Command::Measure { row, seconds, stored, place } => {
            let place = place.into();
            let json = match stored {
                Some(bets) => serde_json::to_string(&measure::stored(&row, bets, &place)?)?,
                None => serde_json::to_string(&measure::row(&row, seconds, &place)?)?,
            };
            writeln!(out, "{json}")?;
        }
        Command::Publish { results } => {
            let newest = || results::newest(&root().join("benches/results"));
            let path = results.map_or_else(newest, Ok)?;
            for (file, text) in published(&Results::read(&path)?)? {
                fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            }
            eprint_line(&format!("docs/measurements.md and benches/plots show {}", path.display()));
        }
        Command::Record(arguments) => recording::record(&arguments)?,
        Command::Codec { protocol, path, times } => {
            let bytes = codec::run(protocol, path, times)?;
            writeln!(out, "{bytes} bytes stored")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readme_and_the_plots_show_the_newest_results() {
        let path = results::newest(&root().join("benches/results")).unwrap();
        for (file, text) in published(&Results::read(&path).unwrap()).unwrap() {
            let committed = fs::read_to_string(&file).unwrap();
            assert!(committed == text, "{} is not that of {path:?}: make plots", file.display());
        }
    }
}
