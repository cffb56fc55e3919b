//! The arguments of `shm`.

use clap::{Parser, Subcommand};
use multiprocessing::{InvalidName, SegmentName, SegmentOptions};
use nix::unistd::{Gid, Group};

/// Lists, shows and removes the shared memory segments of shm-multiprocessing.
///
/// Exits with 0 if it has done that, with 1 if it has not, and with 2 if the arguments are wrong.
#[derive(Parser)]
#[command(name = "shm", version)]
pub struct Arguments {
    /// Accept segments that the members of this group (a name or a number) share.
    #[arg(long, global = true, value_parser = group)]
    group: Option<Gid>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// List all segments, one line each.
    Ls {
        /// Print a JSON array instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Show a segment and what its objects hold, without stopping a process.
    Show {
        /// Its name, with or without the slash in front.
        #[arg(value_parser = name)]
        name: SegmentName,
        /// Print a JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Remove segments whose creator and its children are gone.
    Rm {
        /// Their names.
        #[arg(required = true, value_parser = name)]
        names: Vec<SegmentName>,
        /// Remove them even if processes use them. Those keep the memory, but no other process can
        /// open it any more.
        #[arg(long)]
        force: bool,
    },
}

impl Arguments {
    /// Returns how to open segments.
    pub fn options(&self) -> SegmentOptions {
        let options = SegmentOptions::new();
        self.group.map_or(options, |group| options.group(group))
    }
}

fn name(text: &str) -> Result<SegmentName, InvalidName> {
    SegmentName::new(text.strip_prefix('/').unwrap_or(text))
}

fn group(text: &str) -> Result<Gid, String> {
    if let Ok(number) = text.parse() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err("there is no such group".to_owned()),
        Err(errno) => Err(errno.to_string()),
    }
}
