//! The central's settings, validated: what `run` and the inspecting commands use.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ini;
mod listen_address;
mod listen_ip;
mod names;
mod table;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conventions::settings::{Settings, SettingsError, Source};
use conventions::{duration, logger};
use log::LevelFilter;
use postgres_link::{Url, UrlError};

pub use self::listen_address::ListenAddress;
use self::listen_address::listen_addresses;
pub use self::listen_ip::ListenIp;
use self::names::{central_name, name};
pub use self::table::{Flags, TABLE};
use crate::roster::Roster;
use crate::storage::Durability;

/// Maximum number of workers. Each is a process with its own slot in shared memory.
const MAX_WORKERS: usize = 1024;
/// Shortest duration that a setting accepts. A shorter one would cut off ordinary requests and
/// graceful stops.
const MIN_TIME: Duration = Duration::from_millis(100);

/// Shortest heartbeat timeout: several times the pause between two heartbeats.
const MIN_HEARTBEAT: Duration = Duration::from_secs(1);

/// Where the bets are stored.
#[derive(Clone, Debug)]
pub enum StorageChoice {
    /// In files of this central.
    Files,
    /// In a database that several centrals may share.
    Engine {
        /// The database. Its text does not show the password.
        url: Url,
        /// The lottery.
        lottery: String,
        /// Name of this central.
        central: String,
    },
}

impl StorageChoice {
    /// Returns the choice for the log, without a password.
    pub fn description(&self) -> String {
        match self {
            Self::Files => "files".to_owned(),
            Self::Engine { url, .. } => url.to_string(),
        }
    }
}

/// The central's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ports with their dialects, at least one.
    pub listen_addresses: Vec<ListenAddress>,
    /// Addresses or host name of all ports.
    pub ip: ListenIp,
    /// Requested length of the listen queue.
    pub backlog: u32,
    /// Lowest level that is logged.
    pub log_level: LevelFilter,
    /// The level as the user wrote it.
    pub log_level_text: String,
    /// Distinct agencies that the draw waits for.
    pub agencies: u16,
    /// The agencies that may take part, and from where; `None` if any agency may.
    pub roster: Option<Roster>,
    /// True if the draw waits for an operator.
    pub draw_needs_confirmation: bool,
    /// True if a query for winners before the draw waits for it, false if it is refused.
    pub early_queries_wait: bool,
    /// Processes in the pool.
    pub workers: NonZeroUsize,
    /// Where the bets are stored.
    pub storage: StorageChoice,
    /// Directory of the storage in files.
    pub storage_dir: PathBuf,
    /// Layout of the log lines.
    pub log_format: logger::Format,
    /// File to log to; `None` for standard error.
    pub log_file: Option<PathBuf>,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Time for a graceful stop.
    pub grace: Duration,
    /// Time for a request, from its first byte to the end of the reply. Where a connection carries
    /// one request only, from the start of the connection.
    pub request_timeout: Duration,
    /// Time that a kept connection may stay idle between two requests.
    pub idle_timeout: Duration,
    /// Time for which a worker may show no heartbeat before the watchdog ends it; 0 for no limit.
    pub heartbeat_timeout: Duration,
    /// Time after which a batch that arrives too slowly is no longer in flight.
    pub stall_time: Duration,
    /// Connections that each worker may have.
    pub connections: usize,
    /// Log lines that one address may cause per 10 s in each worker.
    pub log_lines: u32,
    /// Where the monitor serves HTTP; `None` for no monitor.
    pub monitor: Option<SocketAddr>,
}

impl Config {
    /// Validates the values of the settings. Fails with the first one that is not accepted.
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingsError> {
        Self::with_roster(settings, settings.get_explained("SERVER_ROSTER", read_roster)?)
    }

    /// Validates the settings for a command that inspects a running central. A roster that cannot
    /// be used is ignored: the central runs with the one that it has read, and a check of its
    /// health must not fail because the file is being edited.
    pub fn for_inspection(settings: &Settings) -> Result<Self, SettingsError> {
        let roster = settings.get_explained("SERVER_ROSTER", read_roster).ok().flatten();
        Self::with_roster(settings, None).map(|config| Self { roster, ..config })
    }

    fn with_roster(settings: &Settings, roster: Option<Roster>) -> Result<Self, SettingsError> {
        let port = settings.get("SERVER_PORT", |text| text.parse().ok())?;
        Ok(Self {
            listen_addresses: settings
                .get_explained("SERVER_PROTOCOL", |text| listen_addresses(text, port))?,
            ip: settings.get_explained("SERVER_IP", ListenIp::parse)?,
            backlog: settings
                .get("SERVER_LISTEN_BACKLOG", |text| {
                    text.parse::<u16>().ok().filter(|length| *length > 0)
                })?
                .into(),
            log_level: settings.get("LOGGING_LEVEL", logger::level_from)?,
            log_level_text: settings.text("LOGGING_LEVEL").to_owned(),
            agencies: agencies(settings, roster.as_ref())?,
            roster,
            draw_needs_confirmation: settings.get("SERVER_DRAW", |text| match text {
                "automatic" => Some(false),
                "confirm" => Some(true),
                _ => None,
            })?,
            early_queries_wait: settings.get("SERVER_EARLY_QUERY", |text| match text {
                "wait" => Some(true),
                "refuse" => Some(false),
                _ => None,
            })?,
            workers: settings.get("SERVER_WORKERS", workers)?,
            storage: storage_choice(settings)?,
            storage_dir: settings
                .get("SERVER_STORAGE_DIR", |text| (!text.is_empty()).then(|| text.into()))?,
            log_format: settings.get("SERVER_LOG_FORMAT", logger::Format::named)?,
            log_file: settings.get("SERVER_LOG_FILE", log_file)?,
            durability: settings.get("SERVER_DURABILITY", |text| match text {
                "disk" => Some(Durability::Disk),
                "process" => Some(Durability::Process),
                _ => None,
            })?,
            grace: settings.get("SERVER_GRACE", time)?,
            request_timeout: settings.get("SERVER_REQUEST_TIMEOUT", time)?,
            idle_timeout: settings.get("SERVER_IDLE_TIMEOUT", time)?,
            heartbeat_timeout: settings.get("SERVER_HEARTBEAT_TIMEOUT", heartbeat_timeout)?,
            stall_time: settings.get("SERVER_STALL_TIME", time)?,
            connections: settings.get("SERVER_CONNECTIONS", connections)?,
            log_lines: settings.get("SERVER_LOG_LINES", count)?,
            monitor: settings.get("SERVER_MONITOR", |text| match text {
                "off" => Some(None),
                address => address.parse().ok().map(Some),
            })?,
        })
    }
}

/// Returns where the bets are stored.
fn storage_choice(settings: &Settings) -> Result<StorageChoice, SettingsError> {
    let url = settings.get_explained("SERVER_STORAGE", |text| match text {
        "files" => Ok(None),
        url if url.contains("://") => {
            url.parse().map(Some).map_err(|error: UrlError| Some(error.to_string()))
        }
        _ => Err(None),
    })?;
    let central = settings.get("SERVER_CENTRAL_NAME", central_name)?;
    let lottery = settings.get("SERVER_LOTTERY", name)?;
    let (without_effect, storage) = match url {
        None => (["SERVER_CENTRAL_NAME", "SERVER_LOTTERY"], "files, which one central uses"),
        Some(_) => (["SERVER_STORAGE_DIR", "SERVER_DURABILITY"], "a database, which decides this"),
    };
    for key in without_effect {
        // A setting that is ignored would promise what the central does not keep. Printed
        // configurations have the defaults of all settings.
        if !settings.is_default(key) {
            let reason =
                format!("SERVER_STORAGE is {storage}: remove {key}, or change the storage");
            settings.get_explained(key, |_| Err::<(), _>(Some(reason)))?;
        }
    }
    Ok(match url {
        None => StorageChoice::Files,
        Some(url) => StorageChoice::Engine { url, lottery, central },
    })
}

/// Reads the roster from a file, or `none`.
fn read_roster(path: &str) -> Result<Option<Roster>, Option<String>> {
    match path {
        "none" => Ok(None),
        path => Roster::read(Path::new(path)).map(Some).map_err(|error| Some(error.to_string())),
    }
}

/// Returns how many agencies the draw waits for: those of the roster, if there is one.
fn agencies(settings: &Settings, roster: Option<&Roster>) -> Result<u16, SettingsError> {
    const KEY: &str = "SERVER_AGENCIES";
    let agencies = settings.get(KEY, |text| text.parse().ok().filter(|agencies| *agencies > 0))?;
    let Some(roster) = roster else { return Ok(agencies) };
    if *settings.source(KEY) == Source::Default {
        return Ok(roster.len());
    }
    let listed = roster.len();
    settings.get(KEY, |_| (listed == agencies).then_some(listed)).map_err(|error| {
        error.expecting(format!(
            "{listed}, as many as SERVER_ROSTER lists; without {KEY} the number follows from it"
        ))
    })
}

/// Reads a duration of at least [`MIN_TIME`].
fn time(text: &str) -> Option<Duration> {
    duration::parse(text).filter(|time| *time >= MIN_TIME)
}

/// Reads a duration of at least [`MIN_HEARTBEAT`], or 0.
fn heartbeat_timeout(text: &str) -> Option<Duration> {
    duration::parse(text).filter(|time| time.is_zero() || *time >= MIN_HEARTBEAT)
}

/// Reads a number of connections. Shared memory counts the batches of a worker, at most one per
/// connection, in 16 bits.
fn connections(text: &str) -> Option<usize> {
    let connections = text.parse::<u16>().ok().filter(|connections| *connections >= 16);
    connections.map(usize::from)
}

/// Reads a number from 1 to 1,000,000.
fn count(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| (1..=1_000_000).contains(count))
}

/// Reads the path of a log file, or the name of standard error.
fn log_file(text: &str) -> Option<Option<PathBuf>> {
    match text {
        "" => None,
        "stderr" => Some(None),
        path => Some(Some(path.into())),
    }
}

/// Reads a number of workers, or `auto`.
fn workers(text: &str) -> Option<NonZeroUsize> {
    if text == "auto" {
        // At least 2, so that one worker still serves while another waits for a sync or is being
        // replaced.
        let cpus = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        return Some(cpus.max(NonZeroUsize::MIN.saturating_add(1)));
    }
    text.parse().ok().filter(|workers: &NonZeroUsize| workers.get() <= MAX_WORKERS)
}
