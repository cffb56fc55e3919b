//! An agency of the national lottery: reads what to do from the command line, does it, and ends with a documented exit code.
//!
//! Exit codes: 0 done (also after a clean stop by a signal), 1 failed, 2 wrong usage or configuration, 128 + the signal's
//! number (143 for SIGTERM, 130 for SIGINT) when a signal cut the work short and it could not end cleanly.

mod agency;
mod backoff;
mod central_client;
mod check;
mod cli;
mod config;
mod connection;
mod dataset;
mod failure;
mod generate;
mod messages;
mod progress;
mod single_bet;
mod stop;
mod yaml;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use conventions::log_line::{self, Outcome};
use conventions::logger::{self, Stream};

use crate::agency::Agency;
use crate::check::Check;
use crate::cli::{Cli, Command, RunArgs};
use crate::config::{Config, ConfigError, SingleBet};
use crate::failure::RunError;
use crate::generate::{GenerateError, Plan};
use crate::progress::Progress;
use crate::stop::{Stop, exit_code};

/// Exit code when the work was tried and failed.
const FAILED: u8 = 1;

/// Exit code when the command line or the configuration is wrong; clap ends with the same.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Some(Command::Generate(plan)) => generate(&plan),
        Some(Command::Check(args)) => check(&args),
        Some(Command::Run(args)) => run(&args),
        None => run(&cli.run),
    };
    ExitCode::from(ended.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        FAILED
    }))
}

/// `client run`: the exit code, or what kept it from starting.
fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let config = match configure(args) {
        Ok(Some(config)) => config,
        Ok(None) => return Ok(0),
        Err(error) => {
            complain(&error.to_string());
            return Ok(USAGE);
        }
    };
    logger::init(config.log_level, Stream::Stdout);
    let stop = Stop::install().context("cannot listen for signals")?;
    config.log();
    let progress = Progress::new(config.id, !args.no_progress);
    let ended = match (config.codec(), &config.single_bet) {
        (None, _) => messages::run(&config, &stop, &progress),
        (Some(codec), Some(bet)) => single_bet::run(&config, bet, codec, &stop, &progress),
        (Some(codec), None) => Agency::new(&config, codec, &stop, &progress).run(),
    };
    match ended {
        Ok(()) => Ok(0),
        Err(error) => Ok(report(&error, &config, &stop)),
    }
}

/// Reads the configuration. `None`: it was only to be shown or checked, and is fine.
fn configure(args: &RunArgs) -> Result<Option<Config>, ConfigError> {
    let settings = config::resolve(args.config.as_deref(), &args.settings.0)?;
    if args.print_config {
        say(&settings.table());
    }
    let single_bet =
        SingleBet::from_environment(|name| std::env::var_os(name)).map_err(ConfigError::from)?;
    let config = Config::from_settings(&settings, !args.without_count, single_bet)?;
    if args.check_config {
        say("the configuration is fine\n");
    }
    Ok((!args.print_config && !args.check_config).then_some(config))
}

/// Logs how a run ended early and gives its exit code.
fn report(error: &RunError, config: &Config, stop: &Stop) -> u8 {
    error.line(config).write();
    match (error, stop.requested()) {
        (RunError::Stopped { .. }, _) => 0,
        // The signal cut the batch in hand short; anything else would have failed without it too.
        (error, Some(signal)) if error.is_in_doubt() => {
            log_line::error("exit", Outcome::Fail)
                .with("client_id", config.id)
                .with("signal", stop.signal_name())
                .write();
            exit_code(signal)
        }
        _ => FAILED,
    }
}

/// `client generate`: the exit code, or what went wrong.
fn generate(plan: &Plan) -> anyhow::Result<u8> {
    if let Err(error) = plan.check() {
        complain(&error.to_string());
        return Ok(USAGE);
    }
    let stop = Stop::install().context("cannot listen for signals")?;
    match plan.write_files(&stop, |file| say(&format!("{file}\n"))) {
        Ok(()) => Ok(0),
        // Unlike a run, whose sent batches stay sent, files that are not there are no clean end.
        Err(GenerateError::Stopped(signal)) => Ok(exit_code(signal)),
        Err(error) => Err(error.into()),
    }
}

/// `client check`: the exit code, or why there was nothing to check.
fn check(args: &Check) -> anyhow::Result<u8> {
    if let Err(error) = args.connection() {
        complain(&error.to_string());
        return Ok(USAGE);
    }
    let stop = Stop::install().context("cannot listen for signals")?;
    let kept = args.run(stop, say)?;
    Ok(if kept { 0 } else { FAILED })
}

/// Prints to standard output. A reader that went away is no failure: nobody is left to tell.
fn say(text: &str) {
    let _nobody_reads = std::io::stdout().write_all(text.as_bytes());
}

/// Prints one line to standard error, for what happens before there is a log or beside it.
fn complain(message: &str) {
    let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _nobody_reads = writeln!(std::io::stderr(), "client: {line}");
}
