//! The central's program: reads the command line and the settings, and runs what they ask for.

mod central;
mod cli;
mod config;
mod engine;
mod exit_code;
#[cfg(test)]
#[path = "../../fuzz/corpus.rs"]
mod fuzz_corpus;
mod inspect;
mod listener;
mod log_file;
mod roster;
mod storage;
mod supervisor;
mod top;
mod verify;
mod worker;

use std::process;

use clap::CommandFactory;
use conventions::documents::Documents;
use conventions::log_line::{Outcome, error, warn};
use conventions::logger::{self, Stream};
use conventions::output::{self, OutputError};
use conventions::settings::{Misspelled, Settings, SettingsError, Source, misspelled};
use log::LevelFilter;

use crate::central::OperatorCommand;
use crate::cli::{Cli, Command};
use crate::config::{Config, Flags};
use crate::exit_code::ExitCode;
use crate::supervisor::StartError;

fn main() -> process::ExitCode {
    logger::init(LevelFilter::Info, Stream::Stderr);
    let code = match output::parse::<Cli>() {
        Err(reason) => not_printed(&reason),
        // The manual must be available even if the configuration is wrong.
        Ok(Cli { command: Some(Command::Documents(documents)), .. }) => print_document(&documents),
        Ok(cli) => dispatch(&cli).unwrap_or_else(|reason| {
            error("config", Outcome::Fail).with("error", &reason).write();
            ExitCode::Usage
        }),
    };
    code.into()
}

/// Runs the command. Fails if the configuration is wrong.
fn dispatch(cli: &Cli) -> Result<ExitCode, SettingsError> {
    let settings = cli.settings.resolve()?;
    if cli.settings.print_config {
        return Ok(print(settings.effective().as_bytes()));
    }
    let runs = matches!(cli.command, Some(Command::Run) | None) || cli.settings.check_config;
    let config = match runs {
        true => Config::from_settings(&settings)?,
        false => Config::for_inspection(&settings)?,
    };
    if cli.settings.check_config {
        return Ok(ExitCode::Done);
    }
    logger::init(config.log_level, Stream::Stderr);
    logger::set_format(config.log_format);
    let port = config.listen_addresses[0].port;
    let chosen = matches!(settings.source("SERVER_PORT"), Source::Flag(_)).then_some(port);
    Ok(match &cli.command {
        Some(Command::Backup { directory }) => inspect::backup(&config.storage_dir, directory),
        Some(Command::Status { json, watch }) => {
            inspect::status(port, *json, *watch, &config.storage)
        }
        Some(Command::Top) => top::run(port),
        Some(Command::Draw { confirm, reopen }) => {
            let command = match (*confirm, *reopen) {
                (true, _) => Some(OperatorCommand::Confirm),
                (_, true) => Some(OperatorCommand::Reopen),
                _ => None,
            };
            inspect::draw(port, command, config.roster.as_ref(), &config.storage)
        }
        Some(Command::Ipcs) => inspect::ipcs(chosen),
        Some(Command::Health { live: true }) => {
            inspect::health::live(port, config.heartbeat_timeout)
        }
        Some(Command::Health { live: false }) => inspect::health::ready(port),
        Some(Command::Verify) => verify::run(&config.storage, &config.storage_dir),
        Some(Command::Export { directory }) => inspect::export_lottery(&config.storage, directory),
        Some(Command::Lottery(command)) => {
            inspect::lotteries(command, &config.storage, &config.storage_dir)
        }
        Some(Command::Run | Command::Documents(_)) | None => {
            if let Some(path) = &config.log_file
                && let Err(reason) = log_file::log_to(path)
            {
                error("config", Outcome::Fail).with("error", reason).write();
                return Ok(ExitCode::Usage);
            }
            warn_of_misspelled();
            serve(&cli.settings, &settings, config)
        }
    })
}

/// Logs the variables of the environment that look like mistyped settings.
fn warn_of_misspelled() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for Misspelled { name, suggestion } in misspelled(&config::TABLE, names) {
        warn("config", Outcome::Fail)
            .with("error", format!("the environment variable {name} is not a setting"))
            .with("next", format!("ignore it; did you mean {suggestion}?"))
            .write();
    }
}

fn serve(flags: &Flags, settings: &Settings, config: Config) -> ExitCode {
    supervisor::run(flags, settings, config).unwrap_or_else(|reason| {
        let action = if matches!(reason, StartError::Listen(_)) { "listen" } else { "shutdown" };
        error(action, Outcome::Fail).with("error", &reason).write();
        match reason {
            StartError::Listen(_) => ExitCode::Address,
            _ => ExitCode::Failed,
        }
    })
}

fn print_document(documents: &Documents) -> ExitCode {
    print(&documents.text(Cli::command()).unwrap_or_else(|error| error.exit()))
}

/// Prints the result of a command.
fn print(text: &[u8]) -> ExitCode {
    output::print(text).map_or_else(|reason| not_printed(&reason), |_open| ExitCode::Done)
}

fn not_printed(reason: &OutputError) -> ExitCode {
    error("shutdown", Outcome::Fail).with("error", reason).write();
    ExitCode::Failed
}
