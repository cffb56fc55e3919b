//! The command `shm`: lists, shows and removes the shared memory segments of shm-multiprocessing.

mod cli;
mod json;

use std::io::{ErrorKind, Write, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use multiprocessing::{Listing, Segment, SegmentError, SegmentName, SegmentOptions};

use cli::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let options = arguments.options();
    match &arguments.command {
        Command::Ls { json } => {
            let listings = options.listings().context("listing /dev/shm")?;
            print(&match json {
                true => json::list(&listings),
                false => Listing::summary(&listings),
            })?;
        }
        Command::Show { name, json } => {
            let listing = options.listing(name)?;
            print(&match json {
                true => json::object(&listing),
                false => Listing::table(std::slice::from_ref(&listing)),
            })?;
            // The table contains the reason why it cannot be shown.
            if let Err(error) = listing.segment {
                return Err(error.into());
            }
        }
        Command::Rm { names, force } => {
            let mut outcome = ExitCode::SUCCESS;
            for name in names {
                if let Err(error) = remove(options, name, *force) {
                    outcome = failed(&error);
                }
            }
            return Ok(outcome);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(options: SegmentOptions, name: &SegmentName, force: bool) -> Result<()> {
    let removed = match force {
        true => Segment::remove(name),
        false => options.reclaim(name),
    };
    match removed {
        Ok(true) => Ok(()),
        Ok(false) => Err(anyhow!("there is no shared memory {name}")),
        Err(error @ SegmentError::InUse { .. }) => {
            Err(anyhow!("{error}: stop it, or remove the entry all the same with --force"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes to the standard output. A reader that has seen enough is no error.
fn print(text: &str) -> Result<()> {
    match stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing the output"),
    }
}

#[allow(clippy::print_stderr)]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("shm: {error:#}");
    ExitCode::FAILURE
}
