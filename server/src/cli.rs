//! The command line: subcommands, and a flag for every setting.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The central of the national lottery: a pre-forked pool of processes.
#[derive(Debug, Parser)]
#[command(version, about, subcommand_precedence_over_arg = true)]
#[command(
    after_help = "Settings come from flags, then the environment (SERVER_PORT, SERVER_WORKERS, ...), then config.ini.\n\
    Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 a worker cannot serve, 4 crash loop, 5 address in use.\n\
    Signals: TERM, INT, HUP stop in order, a second one or QUIT at once; USR1, USR2, WINCH, TTIN, TTOU are ignored."
)]
pub struct Cli {
    /// What to do; runs the central when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingFlags,
    /// What to do with the settings instead.
    #[command(flatten)]
    pub inspection: InspectionFlags,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the central (the default)
    Run,
    /// Show what the running central does, without disturbing it
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Again every second, until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// List every shared memory segment of ours with its objects and their values, as `ipcs -m` would
    Ipcs,
    /// Exit 0 if every worker of the running central accepts connections, 1 if not
    Health,
}

/// Flags that look at the settings instead of using them.
#[derive(Debug, Args)]
pub struct InspectionFlags {
    /// Print every setting with its source, and exit
    #[arg(long, global = true)]
    pub print_config: bool,
    /// Check the settings, and exit: 0 good, 2 bad
    #[arg(long, global = true)]
    pub check_config: bool,
}

/// A flag for the configuration file, and one for every key.
#[derive(Debug, Args)]
pub struct SettingFlags {
    /// Configuration file (INI, section DEFAULT) instead of ./config.ini
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Port to listen on, 0 = any free one [default: 12345]
    #[arg(long, global = true, value_name = "PORT")]
    port: Option<String>,
    /// Address to listen on [default: 0.0.0.0]
    #[arg(long, global = true, value_name = "IP")]
    ip: Option<String>,
    /// Connections that may wait to be accepted [default: 1024]
    #[arg(long, global = true, value_name = "N")]
    listen_backlog: Option<String>,
    /// DEBUG, INFO, WARNING or ERROR [default: INFO]
    #[arg(long, global = true, value_name = "LEVEL")]
    logging_level: Option<String>,
    /// Wire dialect, or several with a port each: typed:12345,echo:12346 [default: typed]
    #[arg(long, global = true, value_name = "LIST")]
    protocol: Option<String>,
    /// Worker processes [default: number of CPUs, at least 2]
    #[arg(long, global = true, value_name = "N")]
    workers: Option<String>,
    /// Distinct agencies a draw waits for [default: 5]
    #[arg(long, global = true, value_name = "N")]
    agencies: Option<String>,
    /// wait or refuse: what happens to a query for winners before the draw [default: wait]
    #[arg(long, global = true, value_name = "WHAT")]
    early_query: Option<String>,
    /// Where bets.csv, winners.log and the journal are kept [default: ./storage]
    #[arg(long, global = true, value_name = "DIR")]
    storage_dir: Option<String>,
    /// disk or process: what an acknowledged batch survives [default: disk]
    #[arg(long, global = true, value_name = "WHAT")]
    durability: Option<String>,
    /// Time a stop may take [default: 8s]
    #[arg(long, global = true, value_name = "TIME")]
    grace: Option<String>,
    /// Time a request may take, from its first byte to the end of the reply [default: 30s]
    #[arg(long, global = true, value_name = "TIME")]
    request_timeout: Option<String>,
    /// Time a connection may be silent between two requests [default: 5m]
    #[arg(long, global = true, value_name = "TIME")]
    idle_timeout: Option<String>,
}

impl SettingFlags {
    /// The flags that were given: key name to flag and value.
    pub fn given(&self) -> BTreeMap<String, (String, String)> {
        let flags = [
            ("SERVER_PORT", "--port", &self.port),
            ("SERVER_IP", "--ip", &self.ip),
            ("SERVER_LISTEN_BACKLOG", "--listen-backlog", &self.listen_backlog),
            ("LOGGING_LEVEL", "--logging-level", &self.logging_level),
            ("SERVER_PROTOCOL", "--protocol", &self.protocol),
            ("SERVER_WORKERS", "--workers", &self.workers),
            ("SERVER_AGENCIES", "--agencies", &self.agencies),
            ("SERVER_EARLY_QUERY", "--early-query", &self.early_query),
            ("SERVER_STORAGE_DIR", "--storage-dir", &self.storage_dir),
            ("SERVER_DURABILITY", "--durability", &self.durability),
            ("SERVER_GRACE", "--grace", &self.grace),
            ("SERVER_REQUEST_TIMEOUT", "--request-timeout", &self.request_timeout),
            ("SERVER_IDLE_TIMEOUT", "--idle-timeout", &self.idle_timeout),
        ];
        let given =
            flags.into_iter().filter_map(|(key, flag, value)| Some((key, flag, value.clone()?)));
        given.map(|(key, flag, value)| (key.to_owned(), (flag.to_owned(), value))).collect()
    }
}
