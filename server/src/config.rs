//! The central's settings: the table of keys, and their values once read.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use configparser::ini::Ini;
use conventions::settings::{Key, Settings, SettingsError};
use conventions::{duration, logger};
use log::LevelFilter;
use lottery::protocol::Dialect;

use crate::storage::Durability;

/// File read when no `--config` says otherwise; it need not exist.
const DEFAULT_FILE: &str = "config.ini";
/// Largest number of workers: each is a process with its own slot in shared memory.
const MAX_WORKERS: usize = 1024;
/// Largest configuration file in bytes; a larger one is surely another file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Every key of file and environment. Flags are their names without `SERVER_`, in kebab case.
pub const KEYS: &[Key] = &[
    Key {
        name: "SERVER_PORT",
        default: "12345",
        accepted: "a port, 0 to 65535 (0 = any free one)",
        help: "port to listen on",
    },
    Key {
        name: "SERVER_IP",
        default: "0.0.0.0",
        accepted: "an IP address or a host name",
        help: "address to listen on; a host name that is not of this machine means all",
    },
    Key {
        name: "SERVER_LISTEN_BACKLOG",
        default: "1024",
        accepted: "a whole number, 1 to 65535",
        help: "connections that may wait to be accepted",
    },
    Key {
        name: "LOGGING_LEVEL",
        default: "INFO",
        accepted: "DEBUG, INFO, WARNING or ERROR",
        help: "what is logged",
    },
    Key {
        name: "SERVER_PROTOCOL",
        default: "typed",
        accepted: "a dialect, or several with a port each, such as typed:12345,echo:12346",
        help: "what is spoken on the port, or on which ports",
    },
    Key {
        name: "SERVER_WORKERS",
        default: "auto",
        accepted: "a whole number, 1 to 1024, or auto",
        help: "worker processes; auto: the number of CPUs, at least 2",
    },
    Key {
        name: "SERVER_AGENCIES",
        default: "5",
        accepted: "a whole number, 1 to 65535",
        help: "distinct agencies a draw waits for",
    },
    Key {
        name: "SERVER_EARLY_QUERY",
        default: "wait",
        accepted: "wait or refuse",
        help: "what happens to a query for winners before the draw, where it is a message of its own",
    },
    Key {
        name: "SERVER_STORAGE_DIR",
        default: "./storage",
        accepted: "a directory that can be written",
        help: "where bets.csv, winners.log and the journal are kept",
    },
    Key {
        name: "SERVER_DURABILITY",
        default: "disk",
        accepted: "disk or process",
        help: "disk: acknowledged after fdatasync; process: survives the death of every process, not of the machine",
    },
    Key {
        name: "SERVER_GRACE",
        default: "8s",
        accepted: "a duration of at least 100ms, such as 8s or 1m30s",
        help: "time a stop may take before what is left is killed",
    },
    Key {
        name: "SERVER_REQUEST_TIMEOUT",
        default: "30s",
        accepted: "a duration of at least 100ms, such as 30s",
        help: "time a request may take, from its first byte to the end of the reply",
    },
    Key {
        name: "SERVER_IDLE_TIMEOUT",
        default: "5m",
        accepted: "a duration of at least 100ms, such as 5m",
        help: "time a connection may be silent between two requests, where it carries several",
    },
];

/// The central's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen for what, at least one.
    pub doors: Vec<Door>,
    /// Address or host name.
    pub ip: String,
    /// Requested listen queue.
    pub backlog: u32,
    /// What is logged.
    pub log_level: LevelFilter,
    /// The same as it was written.
    pub log_level_text: String,
    /// Distinct agencies a draw waits for.
    pub agencies: u16,
    /// Whether queries for winners wait for the draw.
    pub early_queries_wait: bool,
    /// Processes in the pool.
    pub workers: NonZeroUsize,
    /// Where the storage is.
    pub storage_dir: PathBuf,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Time a stop may take.
    pub grace: Duration,
    /// Time from the first byte of a request to the end of its reply; where a connection carries one, from its acceptance.
    pub request_timeout: Duration,
    /// Time a connection may be silent between two requests.
    pub idle_timeout: Duration,
}

/// A port and what is spoken on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Door {
    /// 0 = any free one.
    pub port: u16,
    /// What is spoken.
    pub dialect: &'static Dialect,
}

/// Why there is no configuration. One line each.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key or value is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// What is to be spoken where is not understood.
    #[error("{0}; dialects: {names}", names = Dialect::names())]
    Protocol(SettingsError),
    /// The file cannot be read.
    #[error("configuration file {}: {reason}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Reads the settings from flags, environment, file and defaults, in this order. `flags`: key name to flag and value.
///
/// # Errors
/// [`ConfigError`] for a file that is named and missing or is no INI file, or that has an unknown key.
pub fn read_settings(
    file: Option<&Path>,
    flags: &BTreeMap<String, (String, String)>,
) -> Result<Settings, ConfigError> {
    let pairs = match file {
        Some(path) => Some((path.to_owned(), read_file(path)?)),
        None if Path::new(DEFAULT_FILE).exists() => {
            Some((PathBuf::from(DEFAULT_FILE), read_file(Path::new(DEFAULT_FILE))?))
        }
        None => None,
    };
    // A variable that is not UTF-8 is no value of any key; it is shown as far as it can be.
    let environment =
        |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    Ok(Settings::resolve(KEYS, flags, str::to_owned, environment, pairs)?)
}

/// The pairs of section DEFAULT.
fn read_file(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let error = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    let metadata = std::fs::metadata(path).map_err(|source| error(source.to_string()))?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(error(format!("it has {} bytes, more than any configuration", metadata.len())));
    }
    let text = std::fs::read_to_string(path).map_err(|source| error(source.to_string()))?;
    // Keys keep their case, so that messages show them as they stand in the file.
    let mut ini = Ini::new_cs();
    ini.set_default_section("DEFAULT");
    // As in Python's reader, a comment has its own line: a value may hold a # or a semicolon.
    ini.set_inline_comment_symbols(Some(&[]));
    let sections =
        ini.read(text).map_err(|reason| error(format!("it is no INI file: {reason}")))?;
    if let Some(section) = sections.keys().find(|section| !section.eq_ignore_ascii_case("default"))
    {
        return Err(error(format!(
            "section [{section}] is unknown: every key belongs to [DEFAULT]"
        )));
    }
    let pairs = sections.into_values().flatten();
    Ok(pairs.map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

impl Config {
    /// Judges the values of the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for the first value its key does not accept.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let port = settings.get("SERVER_PORT", |text| text.parse().ok())?;
        let at_least_100ms =
            |text: &str| duration::parse(text).filter(|time| *time >= Duration::from_millis(100));
        Ok(Self {
            doors: settings
                .get("SERVER_PROTOCOL", |text| doors(text, port))
                .map_err(ConfigError::Protocol)?,
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
            grace: settings.get("SERVER_GRACE", at_least_100ms)?,
            request_timeout: settings.get("SERVER_REQUEST_TIMEOUT", at_least_100ms)?,
            idle_timeout: settings.get("SERVER_IDLE_TIMEOUT", at_least_100ms)?,
        })
    }
}

/// A list of dialects, each with the port it is spoken on; one of them may leave it to SERVER_PORT.
fn doors(text: &str, usual_port: u16) -> Option<Vec<Door>> {
    let mut doors: Vec<Door> = Vec::new();
    let mut usual_taken = false;
    for entry in text.split(',') {
        let (name, port) = match entry.split_once(':') {
            Some((name, port)) => (name, Some(port.trim().parse().ok()?)),
            None => (entry, None),
        };
        if port.is_none() && std::mem::replace(&mut usual_taken, true) {
            return None;
        }
        let door = Door { port: port.unwrap_or(usual_port), dialect: Dialect::named(name.trim())? };
        // Port 0 is another free one each time.
        if door.port != 0 && doors.iter().any(|other| other.port == door.port) {
            return None;
        }
        doors.push(door);
    }
    (!doors.is_empty()).then_some(doors)
}

/// A number of workers, or `auto`.
fn workers(text: &str) -> Option<NonZeroUsize> {
    if text == "auto" {
        // With one worker a query would wait for every batch before it, and a partial answer could never be seen.
        let cpus = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        return Some(cpus.max(NonZeroUsize::MIN.saturating_add(1)));
    }
    text.parse().ok().filter(|workers: &NonZeroUsize| workers.get() <= MAX_WORKERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Option<Vec<(&'static str, u16)>> {
        let doors = doors(text, 7)?;
        Some(doors.into_iter().map(|door| (door.dialect.name, door.port)).collect())
    }

    #[test]
    fn one_dialect_is_spoken_on_the_usual_port_and_several_on_their_own() {
        assert_eq!(ports("typed"), Some(vec![("typed", 7)]));
        assert_eq!(ports("typed:9"), Some(vec![("typed", 9)]));
        assert_eq!(ports("typed, typed:9"), Some(vec![("typed", 7), ("typed", 9)]));
        assert_eq!(ports("typed:0,typed:0"), Some(vec![("typed", 0), ("typed", 0)]));
    }

    #[test]
    fn a_port_that_is_taken_twice_missing_or_no_port_is_refused() {
        for text in [
            "",
            "typed,typed",
            "typed:9,typed:9",
            "typed,typed:7",
            "typed:65536",
            "typed:",
            "typed:x",
            "klingon",
            "typed,",
        ] {
            assert_eq!(ports(text), None, "{text}");
        }
    }
}
