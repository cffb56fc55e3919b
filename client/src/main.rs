//! An agency of the national lottery: runs the given command and exits with a documented code.
//!
//! Exit codes: 0 done (also after a graceful stop by a signal), 1 failed, 2 wrong usage or
//! configuration, 128 + the signal's number (143 for SIGTERM, 130 for SIGINT) when a signal cut the
//! work short and it could not end cleanly.

mod agency;
mod backoff;
mod bench;
mod central_client;
mod check;
mod cli;
mod config;
mod connection;
mod dataset;
mod failure;
#[cfg(test)]
#[path = "../../fuzz/corpus.rs"]
mod fuzz_corpus;
mod generate;
mod hexdump;
mod messages;
mod progress;
mod resume;
mod single_bet;
mod spy;
mod stop;
mod teach;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use conventions::documents::Documents;
use conventions::log_line::{self, Outcome};
use conventions::logger::{self, Stream};
use conventions::output;
use conventions::settings::{Misspelled, misspelled};

use crate::bench::Bench;
use crate::check::Check;
use crate::cli::{Cli, Command, RunArgs};
use crate::config::{Config, ConfigError, SingleBet};
use crate::failure::RunError;
use crate::generate::{GenerateError, Plan};
use crate::progress::Progress;
use crate::spy::Spy;
use crate::stop::{Stop, exit_code};
use crate::teach::Teach;

/// Exit code when the work failed.
const FAILED: u8 = 1;

/// Exit code when the command line or the configuration is wrong; clap exits with the same.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let ended = output::parse::<Cli>().map_err(Into::into).and_then(|cli| match cli.command {
        Some(Command::Generate(plan)) => generate(&plan),
        Some(Command::Check(args)) => check(&args),
        Some(Command::Bench(args)) => bench(&args),
        Some(Command::Teach(args)) => teach(&args),
        Some(Command::Spy(args)) => spy(&args),
        Some(Command::Documents(documents)) => print_document(&documents),
        Some(Command::Run(args)) => run(&args),
        None => run(&cli.run),
    });
    ExitCode::from(ended.unwrap_or_else(|error| {
        print_error(&format!("{error:#}"));
        FAILED
    }))
}

/// Runs `loteria-agency run` and returns the exit code.
fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let config = match configure(args) {
        Ok(Some(config)) => config,
        Ok(None) => return Ok(0),
        Err(error) => {
            print_error(&error.to_string());
            return Ok(USAGE);
        }
    };
    logger::init(config.log_level, Stream::Stdout);
    logger::set_format(config.log_format);
    let stop = Stop::install().context("cannot listen for signals")?;
    config.log();
    warn_of_misspelled();
    let progress = Progress::new(config.id, !args.no_progress);
    let ended = match (config.protocol.agency, &config.single_bet) {
        (None, _) => messages::run(&config, &stop, &progress),
        (Some(new), Some(bet)) => single_bet::run(&config, bet, new, &stop, &progress),
        (Some(new), None) => agency::run(&config, new, &stop, &progress),
    };
    match ended {
        Ok(()) => Ok(0),
        Err(error) => Ok(report(&error, &config, &stop)),
    }
}

/// Logs the variables of the environment that look like mistyped settings.
fn warn_of_misspelled() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for Misspelled { name, suggestion } in misspelled(&config::TABLE, names) {
        log_line::warn("config", Outcome::Fail)
            .with("error", format!("the environment variable {name} is not a setting"))
            .with("next", format!("ignore it; did you mean {suggestion}?"))
            .write();
    }
}

/// Reads the configuration; `None` if the user only wants to see it, or to check it and it is
/// valid.
fn configure(args: &RunArgs) -> Result<Option<Config>, ConfigError> {
    let settings = args.settings.resolve()?;
    if args.settings.print_config {
        print(&settings.effective());
        return Ok(None);
    }
    let single_bet =
        SingleBet::from_environment(|name| std::env::var_os(name)).map_err(ConfigError::from)?;
    let mut config = Config::from_settings(&settings, !args.without_count, single_bet)?;
    if args.without_number {
        config = config.without_number()?;
    }
    if args.settings.check_config {
        print("the configuration is valid\n");
    }
    Ok((!args.settings.check_config).then_some(config))
}

/// Logs why a run ended early and returns the exit code.
fn report(error: &RunError, config: &Config, stop: &Stop) -> u8 {
    error.line(config).write();
    match (error, stop.requested()) {
        (RunError::Stopped { .. }, _) => 0,
        // The signal cut a batch in flight short. Any other error would also have occurred without
        // the signal.
        (error, Some(signal)) if error.is_in_doubt() => {
            log_line::error("shutdown", Outcome::Fail)
                .with("client_id", config.id)
                .with("signal", stop.signal_name())
                .write();
            exit_code(signal)
        }
        _ => FAILED,
    }
}

/// Runs `loteria-agency generate` and returns the exit code.
fn generate(plan: &Plan) -> anyhow::Result<u8> {
    if let Err(error) = plan.check() {
        print_error(&error.to_string());
        return Ok(USAGE);
    }
    let stop = Stop::install().context("cannot listen for signals")?;
    match plan.write_files(&stop, |file| print(&format!("{file}\n"))) {
        Ok(()) => Ok(0),
        // A run that is stopped keeps its stored batches and exits with 0. Missing files are a
        // failure.
        Err(GenerateError::Stopped(signal)) => Ok(exit_code(signal)),
        Err(error) => Err(error.into()),
    }
}

/// Runs `loteria-agency check` and returns the exit code.
fn check(args: &Check) -> anyhow::Result<u8> {
    if let Err(error) = args.validate() {
        print_error(&error.to_string());
        return Ok(USAGE);
    }
    let stop = Stop::install().context("cannot listen for signals")?;
    let kept = args.run(stop, print)?;
    Ok(if kept { 0 } else { FAILED })
}

/// Runs `loteria-agency bench` and returns the exit code.
fn bench(args: &Bench) -> anyhow::Result<u8> {
    let stop = Stop::install().context("cannot listen for signals")?;
    let report = match args.run(&stop) {
        Ok(report) => report,
        Err(error) if error.is_usage() => {
            print_error(&error.to_string());
            return Ok(USAGE);
        }
        Err(error) => return Err(error.into()),
    };
    print(&if args.json() { format!("{:#}\n", report.json()) } else { report.to_string() });
    Ok(match stop.requested() {
        Some(signal) => exit_code(signal),
        None if report.is_clean() => 0,
        None => FAILED,
    })
}

/// Runs `loteria-agency teach` and returns the exit code.
fn teach(args: &Teach) -> anyhow::Result<u8> {
    if let Err(error) = args.validate() {
        print_error(&error.to_string());
        return Ok(USAGE);
    }
    let stop = Stop::install().context("cannot listen for signals")?;
    args.run(&stop, print)?;
    Ok(0)
}

/// Runs `loteria-agency spy` and returns the exit code.
fn spy(args: &Spy) -> anyhow::Result<u8> {
    let stop = Stop::install().context("cannot listen for signals")?;
    args.run(&stop, print)?;
    Ok(0)
}

/// Prints the completion script or manual page that the user asked for.
fn print_document(documents: &Documents) -> anyhow::Result<u8> {
    let text = documents.text(Cli::command()).unwrap_or_else(|error| error.exit());
    print(&String::from_utf8_lossy(&text));
    Ok(0)
}

/// Prints a part of the result of a command. If that fails, ends the program, because the command
/// cannot do what the user asked for.
fn print(text: &str) {
    if let Err(error) = output::print(text.as_bytes()) {
        print_error(&error.to_string());
        std::process::exit(FAILED.into());
    }
}

/// Prints one line to standard error, for errors outside of a run, which has its log.
fn print_error(message: &str) {
    let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _closed = writeln!(std::io::stderr(), "client: {line}");
}
