//! The central's program: reads the command line and the settings, and runs what they ask for.

mod central;
mod cli;
mod config;
mod exit_code;
mod inspect;
mod listener;
mod roster;
mod storage;
mod supervisor;
mod worker;

use std::io::Write;
use std::process;

use clap::{CommandFactory, Parser};
use conventions::documents::Documents;
use conventions::log_line::{Outcome, error};
use conventions::logger::{self, Stream};
use conventions::settings::SettingsError;
use log::LevelFilter;

use crate::central::OperatorCommand;
use crate::cli::{Cli, Command};
use crate::config::Config;
use crate::exit_code::ExitCode;
use crate::supervisor::StartError;

fn main() -> process::ExitCode {
    let cli = Cli::parse();
    logger::init(LevelFilter::Info, Stream::Stderr);
    let code = match &cli.command {
        // The manual must be available even if the configuration is wrong.
        Some(Command::Documents(documents)) => print_document(documents),
        _ => dispatch(&cli).unwrap_or_else(|reason| {
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
        print(settings.effective().as_bytes());
        return Ok(ExitCode::Done);
    }
    let config = Config::from_settings(&settings)?;
    if cli.settings.check_config {
        return Ok(ExitCode::Done);
    }
    logger::init(config.log_level, Stream::Stderr);
    let port = config.listen_addresses[0].port;
    Ok(match cli.command {
        Some(Command::Status { json, watch }) => inspect::status(port, json, watch),
        Some(Command::Draw { confirm, reopen }) => {
            let command = match (confirm, reopen) {
                (true, _) => Some(OperatorCommand::Confirm),
                (_, true) => Some(OperatorCommand::Reopen),
                _ => None,
            };
            inspect::draw(port, command, config.roster.as_ref())
        }
        Some(Command::Ipcs) => inspect::ipcs(),
        Some(Command::Health) => inspect::health(port),
        Some(Command::Run | Command::Documents(_)) | None => serve(&config),
    })
}

fn serve(config: &Config) -> ExitCode {
    supervisor::run(config).unwrap_or_else(|reason| {
        let action = if matches!(reason, StartError::Listen(_)) { "listen" } else { "exit" };
        error(action, Outcome::Fail).with("error", &reason).write();
        match reason {
            StartError::Listen(_) => ExitCode::Address,
            _ => ExitCode::Failed,
        }
    })
}

fn print_document(documents: &Documents) -> ExitCode {
    print(&documents.text(Cli::command()).unwrap_or_else(|error| error.exit()));
    ExitCode::Done
}

/// Prints to standard output. A reader that has closed the pipe is not a failure of the program.
fn print(text: &[u8]) {
    let _closed = std::io::stdout().write_all(text);
}
