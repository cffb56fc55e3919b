//! Writes the Compose file of the central and N agencies: `compose docker-compose-dev.yaml 5`. With
//! `--centrals 3 --engine postgres`, of several centrals that store their bets in PostgreSQL.

mod file;
mod topology;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use lottery::protocol::Dialect;

use topology::{Topology, data_file, has_bets};

/// First line of every file, which warns against editing it by hand.
const NOTICE: &str =
    "# Written by generar-compose.sh: changes made here are lost when it runs again.\n";

/// Writes the Compose file of the central and its agencies.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// File to write; an existing file is replaced.
    file: PathBuf,
    /// Number of agencies, 0 to 252; one less for each further central, and for the engine
    #[arg(allow_hyphen_values = true)]
    agencies: String,
    /// Wire dialect of all programs; if it is missing or empty, their configuration files decide.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    protocol: String,
    /// Number of centrals; more than one need the engine postgres.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    centrals: u16,
    /// Where the bets are stored
    #[arg(long, value_enum, default_value_t = Engine::Files)]
    engine: Engine,
    /// Image of the engine postgres: the official one of PostgreSQL 14 to 17, or one like it.
    #[arg(long, value_name = "IMAGE", default_value = "postgres:15")]
    engine_image: String,
}

/// Where the bets are stored.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Engine {
    /// In files of the central
    Files,
    /// In PostgreSQL
    Postgres,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let dialect = Dialect::named(&arguments.protocol);
    if dialect.is_none() && !arguments.protocol.is_empty() {
        let given = arguments.protocol;
        return fail(
            2,
            &format!("{given:?} is not a protocol: expected one of {}", Dialect::names()),
        );
    }
    if arguments.centrals > 1 && arguments.engine == Engine::Files {
        return fail(
            2,
            "several centrals cannot share files: add --engine postgres, or use one central",
        );
    }
    let mut topology = Topology {
        agencies: 0,
        centrals: arguments.centrals,
        engine_image: (arguments.engine == Engine::Postgres).then_some(&*arguments.engine_image),
        dialect,
    };
    let most = topology.max_agencies();
    let Some(agencies) = number_of_agencies(&arguments.agencies, most) else {
        let given = arguments.agencies;
        return fail(2, &format!("{given:?} is not a number of agencies: expected 0 to {most}"));
    };
    topology.agencies = agencies;
    match write(&arguments.file, &topology) {
        Ok(()) => {
            if has_bets(dialect) {
                warn_of_missing_data(&arguments.file, agencies);
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

/// Reads a number of agencies: digits only, and no more than the network has addresses for.
fn number_of_agencies(text: &str, most: u16) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= most)
}

/// Writes the file.
fn write(path: &Path, topology: &Topology<'_>) -> anyhow::Result<()> {
    let text =
        serde_yaml::to_string(&topology.file()).context("cannot serialize the Compose file")?;
    std::fs::write(path, format!("{NOTICE}{text}"))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Prints one line that names the agencies without a file of bets, whose containers do not start.
fn warn_of_missing_data(file: &Path, agencies: u16) {
    let root = file.parent().unwrap_or(Path::new(""));
    let is_missing = |number: &u16| !root.join(data_file(*number)).exists();
    let missing: Vec<_> = (1..=agencies).filter(is_missing).map(|it| it.to_string()).collect();
    if let [first, ..] = &missing[..] {
        // If standard error is closed, the user finds out when the containers start.
        let _closed = writeln!(
            std::io::stderr(),
            "compose: agencies without a file of bets ({first} is the first): {}; their containers \
             do not start; make data AGENCIES={agencies} writes the files of all agencies",
            missing.len()
        );
    }
}

/// Prints one line with the reason why nothing was written.
fn fail(code: u8, message: &str) -> ExitCode {
    // If standard error is closed, the exit code still reports the failure.
    let _closed = writeln!(std::io::stderr(), "compose: {message}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_agencies_has_digits_only_and_fits_the_network() {
        for (text, number) in [("0", Some(0)), ("5", Some(5)), ("007", Some(7)), ("252", Some(252))]
        {
            assert_eq!(number_of_agencies(text, 252), number, "{text}");
        }
        for text in ["", "-1", "+1", "253", "65536", "1.5", "cinco", " 5", "٣"] {
            assert_eq!(number_of_agencies(text, 252), None, "{text}");
        }
    }
}
