//! The command line: what can be typed, before anything of it is judged.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, FromArgMatches, Parser, Subcommand};

use crate::check::{self, Check};
use crate::config::{FLAGS, KEYS, environment_name, help};
use crate::generate::Plan;

/// An agency of the national lottery: sends its bets to the central and asks for the winners.
#[derive(Debug, Parser)]
#[command(name = "client", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// What to do; without it, `run`.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The flags of `run`, which need not be named.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Ends the help: what a script wants to know.
const AFTER_HELP: &str = "\
A flag wins over the environment, the environment over the file, the file over the default.
With NOMBRE, APELLIDO, DOCUMENTO, NACIMIENTO and NUMERO in the environment that one bet is sent instead of the file.
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 143 or 130 when SIGTERM or SIGINT cut the work short and it
could not end cleanly (a clean stop is 0).";

/// The things the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send the bets of the agency's file and ask for the winners (the default).
    #[command(after_help = AFTER_HELP)]
    Run(RunArgs),
    /// Write files of invented bets, one an agency, always the same ones for the same seed.
    Generate(Plan),
    /// Hold any server against the rules of its dialect, and tell which of them it keeps.
    #[command(after_help = check::AFTER_HELP)]
    Check(Check),
}

/// The flags of `run`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Configuration file, YAML; must exist when named [default: config.yaml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One flag for each key of the configuration.
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
    /// Print every setting with its source, and end
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Check the configuration, and end: exit code 0 or 2
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Leave out the line that counts the bets of a batch (framed only; the others have no use for it)
    #[arg(long)]
    pub(crate) without_count: bool,
    /// Neither a progress bar nor progress lines (NO_COLOR turns the bar into lines)
    #[arg(long)]
    pub(crate) no_progress: bool,
}

/// Key name to (flag, value) for the keys given as flags. The flags are made from the table of keys, so that their help
/// cannot differ from what is read.
#[derive(Debug)]
pub(crate) struct SettingFlags(pub(crate) BTreeMap<String, (String, String)>);

impl Args for SettingFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        KEYS.iter().zip(FLAGS).fold(command, |command, (key, flag)| {
            let default = if key.default.is_empty() { "none" } else { key.default };
            let variable = environment_name(key.name);
            command.arg(
                Arg::new(key.name)
                    .long(flag)
                    .value_name("VALUE")
                    .allow_hyphen_values(true)
                    // The last one counts, so that a script can be given one more flag to override its own.
                    .overrides_with(key.name)
                    .help(format!("{} [env: {variable}] [default: {default}]", help(key))),
            )
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = KEYS.iter().zip(FLAGS).filter_map(|(key, flag)| {
            let value = matches.get_one::<String>(key.name)?;
            Some((key.name.to_owned(), (format!("--{flag}"), value.clone())))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_table_of_flags_is_one_clap_accepts() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_need_not_be_named() {
        let flags = |line: &[&str]| {
            let cli = Cli::try_parse_from(line).unwrap();
            match cli.command {
                Some(Command::Run(run)) => run.settings.0,
                _ => cli.run.settings.0,
            }
        };
        let expected = BTreeMap::from([(
            "server.address".to_owned(),
            ("--server".to_owned(), "h:1".to_owned()),
        )]);
        assert_eq!(flags(&["client", "--server", "h:1"]), expected);
        assert_eq!(flags(&["client", "run", "--server", "h:1"]), expected);
    }
}
