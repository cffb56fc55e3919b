//! The monitor: shows a running central over HTTP, read-only. The central does not depend on it.

mod cli;
mod health;
mod http;
mod metrics;
mod page;
mod parent;

use std::process::ExitCode;

use clap::Parser;
use conventions::log_line::{Outcome, error};
use conventions::logger::{self, Stream};
use log::LevelFilter;

use crate::cli::Cli;

/// Exit code for an address in use or not permitted, as that of the central.
const ADDRESS: u8 = 5;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logger::init(LevelFilter::Info, Stream::Stderr);
    if cli.supervisor.is_some_and(|supervisor| !parent::follow(supervisor)) {
        return ExitCode::SUCCESS;
    }
    match http::serve(cli.listen, cli.port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error("monitor", Outcome::Fail)
                .with("address", cli.listen)
                .with("error", reason)
                .write();
            ExitCode::from(ADDRESS)
        }
    }
}
