//! The command line: subcommands, and a flag for every setting.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use conventions::documents::Documents;

use crate::config::Flags;

/// The central of the national lottery: a pre-forked pool of processes.
#[derive(Debug, Parser)]
#[command(name = "loteria-central", version = conventions::VERSION, about, subcommand_precedence_over_arg = true)]
#[command(after_help = AFTER_HELP)]
pub struct Cli {
    /// Command to run; without one, the program runs the central.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings.
    #[command(flatten)]
    pub settings: Flags,
}

/// Text at the end of the help: what scripts and operators need.
const AFTER_HELP: &str = "\
A flag wins over the environment, the environment over the file, the file over the default.
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 the storage cannot be used any
more, 4 workers keep crashing, 5 the address is in use, not available on this machine or not
permitted.
Signals: TERM and INT stop the central gracefully. Another one at least a second after the first, or
QUIT, stops it at once. HUP reloads the settings and replaces the workers, without closing a
connection. USR1 reopens the log file. TTIN and TTOU add and retire a worker. USR2 and WINCH are
ignored.";

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the central (the default)
    Run,
    /// Show the state of the running central without disturbing it; with SERVER_STORAGE in a
    /// database, that of the lottery and all its centrals too, from any machine
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Repeat every second until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Show the running central live on a terminal: rates, the draw and every worker; `k` kills the
    /// selected worker, which the central replaces, and `q` leaves
    Top,
    /// Show all shared memory segments and their objects, in the layout of `ipcs -m`; with --port
    /// only the segment of that central
    Ipcs,
    /// Show which agencies have finished and what the draw waits for, or change it
    Draw {
        /// Hold the draw of a central with SERVER_DRAW=confirm; exit with 0 once it has been held
        #[arg(long, conflicts_with = "reopen")]
        confirm: bool,
        /// Open the bets again before the draw is held; every agency has to finish again
        #[arg(long)]
        reopen: bool,
    },
    /// Exit with 0 if the running central would serve a batch now; if not, log why and exit with 1
    Health {
        /// Check only that its processes run; if they do not, a restart helps
        #[arg(long)]
        live: bool,
    },
    /// Check every byte of the storage of a stopped central, or of a lottery in a database; exit
    /// with 0 if all of it is intact
    Verify,
    /// Write bets.csv, winners.log and, after the draw, draw.csv from a lottery in a database
    Export {
        /// Directory that has none of these files
        directory: PathBuf,
    },
    /// Copy the storage of a running or stopped central to a new directory, on which a central can
    /// start
    Backup {
        /// Directory that does not exist or is empty
        directory: PathBuf,
    },
    /// Begin a new lottery in files, or list the lotteries beside SERVER_STORAGE_DIR
    #[command(subcommand)]
    Lottery(LotteryCommand),
    /// Documents that are generated from this command line.
    #[command(flatten)]
    Documents(Documents),
}

/// What can be done with the lotteries beside the storage directory.
#[derive(Debug, Subcommand)]
pub enum LotteryCommand {
    /// Create the storage of a new lottery, and make SERVER_STORAGE_DIR a link to it; a running
    /// central keeps the lottery that it has until it is restarted
    New {
        /// Name of the new directory beside SERVER_STORAGE_DIR
        name: String,
    },
    /// List the lotteries, with their totals; `*` marks the one that SERVER_STORAGE_DIR leads to
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_accepts_the_definition() {
        Cli::command().debug_assert();
    }
}
