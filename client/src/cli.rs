//! The command line: what a user can type, before any of it is validated.

use clap::{Args, Parser, Subcommand};
use conventions::documents::Documents;

use crate::bench::{self, Bench};
use crate::check::{self, Check};
use crate::config::Flags;
use crate::generate::Plan;
use crate::spy::{self, Spy};
use crate::teach::{self, Teach};

/// An agency of the national lottery: sends its bets to the central and asks for the winners.
#[derive(Debug, Parser)]
#[command(name = "loteria-agency", version = conventions::VERSION, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Command to run; without one, the program does what `run` does.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The flags of `run`, for a command line without it.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Text at the end of the help: what scripts need.
const AFTER_HELP: &str = "\
A flag wins over the environment, the environment over the file, the file over the default.
With NOMBRE, APELLIDO, DOCUMENTO, NACIMIENTO and NUMERO in the environment the agency sends that bet
instead of its file.
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 143 or 130 when SIGTERM or SIGINT cut
the work short and it could not end cleanly (a graceful stop is 0).";

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send the bets of the agency's file and ask for the winners (the default)
    #[command(after_help = AFTER_HELP)]
    Run(RunArgs),
    /// Write files of invented bets, one per agency, the same ones for the same seed
    Generate(Plan),
    /// Test any server against the rules of its dialect, and list which of them it keeps
    #[command(after_help = check::AFTER_HELP)]
    Check(Check),
    /// Send invented bets to any server as fast as it answers, and measure
    #[command(after_help = bench::AFTER_HELP)]
    Bench(Bench),
    /// Serve any dialect from memory, with faults of your choice, to show what each looks like
    #[command(after_help = teach::AFTER_HELP)]
    Teach(Teach),
    /// Forward connections between any two programs, and print the messages of both directions
    #[command(after_help = spy::AFTER_HELP)]
    Spy(Spy),
    /// Documents that are generated from this command line.
    #[command(flatten)]
    Documents(Documents),
}

/// The flags of `run`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// One flag for each setting.
    #[command(flatten)]
    pub(crate) settings: Flags,
    /// Leave out the line that counts the bets of a batch (framed only, other dialects ignore it)
    #[arg(long)]
    pub(crate) without_count: bool,
    /// Leave out the numbers of the bets, as the assignment of 2022 does (typed and keyed)
    #[arg(long)]
    pub(crate) without_number: bool,
    /// Show neither a progress bar nor progress lines (NO_COLOR turns the bar into lines)
    #[arg(long)]
    pub(crate) no_progress: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_accepts_the_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_the_default_command() {
        let flags = |line: &[&str]| {
            let cli = Cli::try_parse_from(line).unwrap();
            match cli.command {
                Some(Command::Run(run)) => run.settings.values().clone(),
                _ => cli.run.settings.values().clone(),
            }
        };
        let expected = BTreeMap::from([("server.address", "h:1".to_owned())]);
        assert_eq!(flags(&["loteria-agency", "--server", "h:1"]), expected);
        assert_eq!(flags(&["loteria-agency", "run", "--server", "h:1"]), expected);
    }
}
