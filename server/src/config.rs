//! The central's settings, judged: what `run` and the inspecting commands work with.

mod ini;
mod listen_address;
mod table;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use conventions::settings::{Settings, SettingsError};
use conventions::{duration, logger};
use log::LevelFilter;

pub use self::listen_address::ListenAddress;
use self::listen_address::listen_addresses;
pub use self::table::Flags;
use crate::storage::Durability;

/// Largest number of workers: each is a process with its own slot in shared memory.
const MAX_WORKERS: usize = 1024;
/// Shortest time that a setting accepts. A shorter one would end requests and stops that do no
/// harm.
const MIN_TIME: Duration = Duration::from_millis(100);

/// The central's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ports with their dialects, at least one.
    pub listen_addresses: Vec<ListenAddress>,
    /// IP address or host name of all ports.
    pub ip: String,
    /// Requested length of the listen queue.
    pub backlog: u32,
    /// Lowest level that is logged.
    pub log_level: LevelFilter,
    /// The same as the user wrote it.
    pub log_level_text: String,
    /// Distinct agencies that the draw waits for.
    pub agencies: u16,
    /// True if a query for winners waits for the draw, false if it is refused before.
    pub early_queries_wait: bool,
    /// Processes in the pool.
    pub workers: NonZeroUsize,
    /// Directory of the storage.
    pub storage_dir: PathBuf,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Time for a graceful stop.
    pub grace: Duration,
    /// Time for a request, from its first byte to the end of the reply. Where a connection carries
    /// one request only, from the start of the connection.
    pub request_timeout: Duration,
    /// Time a kept connection may be silent between two requests.
    pub idle_timeout: Duration,
}

impl Config {
    /// Judges the values of the settings; the first one that is not accepted is the error.
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingsError> {
        let port = settings.get("SERVER_PORT", |text| text.parse().ok())?;
        Ok(Self {
            listen_addresses: settings
                .get("SERVER_PROTOCOL", |text| listen_addresses(text, port))?,
            ip: settings.get("SERVER_IP", |text| {
                (!text.trim().is_empty()).then(|| text.trim().to_owned())
            })?,
            backlog: settings
                .get("SERVER_LISTEN_BACKLOG", |text| {
                    text.parse::<u16>().ok().filter(|length| *length > 0)
                })?
                .into(),
            log_level: settings.get("LOGGING_LEVEL", logger::level_from)?,
            log_level_text: settings.text("LOGGING_LEVEL").to_owned(),
            agencies: settings.get("SERVER_AGENCIES", |text| {
                text.parse().ok().filter(|agencies| *agencies > 0)
            })?,
            early_queries_wait: settings.get("SERVER_EARLY_QUERY", |text| match text {
                "wait" => Some(true),
                "refuse" => Some(false),
                _ => None,
            })?,
            workers: settings.get("SERVER_WORKERS", workers)?,
            storage_dir: settings
                .get("SERVER_STORAGE_DIR", |text| (!text.is_empty()).then(|| text.into()))?,
            durability: settings.get("SERVER_DURABILITY", |text| match text {
                "disk" => Some(Durability::Disk),
                "process" => Some(Durability::Process),
                _ => None,
            })?,
            grace: settings.get("SERVER_GRACE", time)?,
            request_timeout: settings.get("SERVER_REQUEST_TIMEOUT", time)?,
            idle_timeout: settings.get("SERVER_IDLE_TIMEOUT", time)?,
        })
    }
}

/// Reads a duration of at least [`MIN_TIME`].
fn time(text: &str) -> Option<Duration> {
    duration::parse(text).filter(|time| *time >= MIN_TIME)
}

/// Reads a number of workers, or `auto`.
fn workers(text: &str) -> Option<NonZeroUsize> {
    if text == "auto" {
        // With one worker a query would wait for every batch before it, and no client would ever
        // see a partial answer.
        let cpus = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        return Some(cpus.max(NonZeroUsize::MIN.saturating_add(1)));
    }
    text.parse().ok().filter(|workers: &NonZeroUsize| workers.get() <= MAX_WORKERS)
}
