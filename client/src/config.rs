//! What an agency runs with: the table of its keys, and their values once they are judged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conventions::duration::{self, GoDuration};
use conventions::log_line::{self, Outcome};
use conventions::logger;
use conventions::settings::{Key, Settings, SettingsError};
use log::LevelFilter;

use crate::dialect::Protocol;
use crate::yaml::{self, YamlError};

/// The file that is read when none is named; it may be missing.
const DEFAULT_FILE: &str = "config.yaml";

/// Stands for the agency's number in the path of its bets.
const ID_PLACEHOLDER: &str = "{id}";

/// Every key, in the order in which they are shown.
pub(crate) const KEYS: [Key; 10] = [
    Key { name: "id", default: "", accepted: "a number from 1 to 65535", help: "Number of the agency" },
    Key {
        name: "server.address",
        default: "127.0.0.1:12345",
        accepted: "host:port, such as server:12345 or [::1]:12345",
        help: "Where the central listens",
    },
    Key {
        name: "protocol",
        default: "typed",
        accepted: "typed (counted, counted-u8, line, framed, sentinel and echo are not available yet)",
        help: "Dialect to speak",
    },
    Key {
        name: "data",
        default: ".data/agency-{id}.csv",
        accepted: "the path of a CSV file, where {id} stands for the agency's number",
        help: "File of the agency's bets",
    },
    Key {
        name: "batch.maxAmount",
        default: "100",
        accepted: "a number from 1 to 65535",
        help: "Most bets in one packet; a packet never exceeds 8192 bytes",
    },
    Key {
        name: "loop.amount",
        default: "5",
        accepted: "a number from 1 to 4294967295",
        help: "Messages of the echo exercise; the other dialects have no use for it",
    },
    Key {
        name: "loop.period",
        default: "1s",
        accepted: "a duration above zero, such as 5s, 150ms or 1m5s",
        help: "Time between two questions for the winners",
    },
    Key {
        name: "log.level",
        default: "INFO",
        accepted: "DEBUG, INFO, WARNING or ERROR",
        help: "Least grave level that is logged",
    },
    Key {
        name: "connect.timeout",
        default: "60s",
        accepted: "a duration, such as 60s; 0s for a single attempt",
        help: "How long a central that cannot be reached is tried again",
    },
    Key {
        name: "reply.timeout",
        default: "60s",
        accepted: "a duration above zero, such as 60s",
        help: "How long a reply may take",
    },
];

/// The flag of each key, in the order of [`KEYS`], without its hyphens.
pub(crate) const FLAGS: [&str; KEYS.len()] = [
    "id",
    "server",
    "protocol",
    "data",
    "batch-max-amount",
    "loop-amount",
    "loop-period",
    "log-level",
    "connect-timeout",
    "reply-timeout",
];

/// Why there is no usable configuration; one line each.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A key or a value is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The file cannot be read or is no configuration.
    #[error(transparent)]
    File(#[from] YamlError),
}

/// The settings of a run, judged.
#[derive(Debug)]
pub(crate) struct Config {
    /// Number of the agency, 1 to 65535.
    pub(crate) id: u16,
    /// Where the central listens, `host:port` as it was given: the name is resolved when a connection is made.
    pub(crate) server_address: String,
    /// Dialect to speak.
    pub(crate) protocol: Protocol,
    /// File of the bets, the agency's number put in.
    pub(crate) data: PathBuf,
    /// Most bets in one packet, 1 to 65535.
    pub(crate) batch_max_amount: u16,
    /// Messages of the echo exercise.
    pub(crate) loop_amount: u32,
    /// Time between two questions for the winners.
    pub(crate) loop_period: Duration,
    /// Least grave level that is logged.
    pub(crate) log_level: LevelFilter,
    /// The level as it was given, which the course's tests want to see again.
    pub(crate) log_level_name: String,
    /// How long a central that cannot be reached is tried again, counted from the first failure.
    pub(crate) connect_timeout: Duration,
    /// How long a reply may take, counted from the first byte of its request.
    pub(crate) reply_timeout: Duration,
}

/// Finds every value. `file` is the file the user named, `flags` what stood on the command line.
///
/// # Errors
/// When a file cannot be read or holds a key that does not exist.
pub(crate) fn resolve(
    file: Option<&Path>,
    flags: &BTreeMap<String, (String, String)>,
) -> Result<Settings, ConfigError> {
    let pairs = match file {
        Some(path) => Some((path.to_owned(), yaml::read(path)?)),
        None => yaml::read_if_present(Path::new(DEFAULT_FILE))?.map(|pairs| (DEFAULT_FILE.into(), pairs)),
    };
    let environment = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    Ok(Settings::resolve(&KEYS, flags, environment_name, environment, pairs)?)
}

/// The variable that sets a key: `CLI_`, then the key in capitals with `_` for the dot.
pub(crate) fn environment_name(key: &str) -> String {
    format!("CLI_{}", key.replace('.', "_").to_uppercase())
}

impl Config {
    /// Judges every value.
    ///
    /// # Errors
    /// The first value that its key does not accept.
    pub(crate) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let id = settings.get("id", positive::<u16>)?;
        let data = settings.get("data", |text| (!text.is_empty()).then(|| text.to_owned()))?;
        Ok(Self {
            id,
            server_address: settings.get("server.address", address)?,
            protocol: settings.get("protocol", Protocol::from_name)?,
            data: data.replace(ID_PLACEHOLDER, &id.to_string()).into(),
            batch_max_amount: settings.get("batch.maxAmount", positive)?,
            loop_amount: settings.get("loop.amount", positive)?,
            loop_period: settings.get("loop.period", some_time)?,
            log_level: settings.get("log.level", logger::level_from)?,
            log_level_name: settings.text("log.level").to_owned(),
            connect_timeout: settings.get("connect.timeout", duration::parse)?,
            reply_timeout: settings.get("reply.timeout", some_time)?,
        })
    }

    /// Logs the line every run begins with: the course's keys first, then ours.
    pub(crate) fn log(&self) {
        log_line::info("config", Outcome::Success)
            .with("client_id", self.id)
            .with("server_address", &self.server_address)
            .with("loop_amount", self.loop_amount)
            .with("loop_period", GoDuration(self.loop_period))
            .with("log_level", &self.log_level_name)
            .with("protocol", self.protocol.name())
            .with("data", self.data.display())
            .with("batch_max_amount", self.batch_max_amount)
            .write();
    }
}

/// A plain decimal above zero: digits only, for `parse` would take a sign too.
fn positive<T: std::str::FromStr + Default + PartialEq>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|value| *value != T::default())
}

/// A duration above zero.
fn some_time(text: &str) -> Option<Duration> {
    duration::parse(text).filter(|time| !time.is_zero())
}

/// `host:port`. The host is not resolved here: its container may not have started yet.
fn address(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    positive::<u16>(port)?;
    let name =
        !host.is_empty() && !host.contains([':', '/', '[', ']']) && !host.contains(char::is_whitespace);
    (name || text.parse::<SocketAddr>().is_ok()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for text in ["server:12345", "127.0.0.1:1", "[::1]:65535", "central.example.org:80"] {
            assert_eq!(address(text).as_deref(), Some(text));
        }
        for text in [
            "",
            "server",
            ":1",
            "server:",
            "server:0",
            "server:65536",
            "server:+1",
            "a b:1",
            "::1:1",
            "http://a:1",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn variables_are_spelled_as_the_course_spells_them() {
        assert_eq!(environment_name("batch.maxAmount"), "CLI_BATCH_MAXAMOUNT");
        assert_eq!(environment_name("id"), "CLI_ID");
    }

    #[test]
    fn every_default_but_the_number_of_the_agency_is_accepted() {
        let flags = BTreeMap::from([("id".to_owned(), ("--id".to_owned(), "7".to_owned()))]);
        let settings = Settings::resolve(&KEYS, &flags, environment_name, |_| None, None).unwrap();
        let config = Config::from_settings(&settings).unwrap();
        assert_eq!(config.data, Path::new(".data/agency-7.csv"));
    }
}
