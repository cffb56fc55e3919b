//! The central's program: reads the command line and the settings, and does what they say.

mod central;
mod cli;
mod config;
mod exit_code;
mod inspect;
mod listener;
mod storage;
mod supervisor;
mod worker;

use std::io::Write;
use std::process;

use clap::Parser;
use conventions::log_line::{Outcome, error};
use conventions::logger::{self, Stream};
use log::LevelFilter;

use crate::cli::{Cli, Command};
use crate::config::Config;
use crate::exit_code::ExitCode;
use crate::supervisor::StartError;

fn main() -> process::ExitCode {
    let cli = Cli::parse();
    logger::init(LevelFilter::Info, Stream::Stderr);
    dispatch(cli).into()
}

fn dispatch(cli: Cli) -> ExitCode {
    let read = config::read_settings(cli.settings.config.as_deref(), &cli.settings.given());
    let settings = match read {
        Ok(settings) => settings,
        Err(reason) => return bad_config(&reason),
    };
    if cli.inspection.print_config {
        // A reader that has left is no failure of ours.
        let _ = write!(std::io::stdout(), "{}", settings.table());
        return ExitCode::Done;
    }
    let config = match Config::from_settings(&settings) {
        Ok(config) => config,
        Err(reason) => return bad_config(&reason),
    };
    logger::init(config.log_level, Stream::Stderr);
    match cli.command {
        _ if cli.inspection.check_config => ExitCode::Done,
        None | Some(Command::Run) => serve(&config),
        Some(Command::Status { json, watch }) => inspect::status(config.doors[0].port, json, watch),
        Some(Command::Ipcs) => inspect::ipcs(),
        Some(Command::Health) => inspect::health(config.doors[0].port),
    }
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

fn bad_config(reason: &dyn std::fmt::Display) -> ExitCode {
    error("config", Outcome::Fail).with("error", reason).write();
    ExitCode::Usage
}
