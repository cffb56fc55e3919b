//! What an agency runs with: the values of its keys once they are judged, and the bet of the environment if there is one.

mod keys;
mod single_bet;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conventions::duration::{self, GoDuration};
use conventions::log_line::{self, Outcome};
use conventions::logger;
use conventions::settings::{Settings, SettingsError, Source};
use log::LevelFilter;
use lottery::protocol::{AgencyCodec, AgencyOptions, ConnectionUse, Dialect};

pub(crate) use self::keys::{AUTO, FLAGS, KEYS, environment_name, help};
pub(crate) use self::single_bet::{SingleBet, SingleBetError};
use crate::yaml::{self, YamlError};

/// The file that is read when none is named; it may be missing.
const DEFAULT_FILE: &str = "config.yaml";

/// Stands for the agency's number in the path of its bets.
const ID_PLACEHOLDER: &str = "{id}";

/// Why there is no usable configuration; one line each.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A key or a value is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A value that could be right, but not with this dialect.
    #[error("{key} = {value:?} ({origin}) is not accepted: expected {accepted}")]
    Value {
        /// The key's name.
        key: &'static str,
        /// The value as it was given.
        value: String,
        /// Where it was given.
        origin: Source,
        /// What is accepted.
        accepted: String,
    },
    /// The bet of the environment cannot be sent.
    #[error(transparent)]
    SingleBet(#[from] SingleBetError),
    /// There is a bet in the environment, and the dialect carries none.
    #[error("the bet of the environment cannot be sent: {dialect} carries no bets")]
    NoBets {
        /// Its name.
        dialect: &'static str,
    },
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
    pub(crate) protocol: &'static Dialect,
    /// How to use connections, in a way the dialect allows.
    pub(crate) connection: ConnectionUse,
    /// Whether a batch begins with the count of its bets, where the dialect leaves the choice.
    pub(crate) with_count: bool,
    /// The bet to send instead of the file.
    pub(crate) single_bet: Option<SingleBet>,
    /// File of the bets, the agency's number put in.
    pub(crate) data: PathBuf,
    /// Most bets in one packet, 1 to 65535.
    pub(crate) batch_max_amount: u16,
    /// Messages to say, in a dialect that carries no bets.
    pub(crate) loop_amount: u32,
    /// Time between two questions for the winners, or between two messages.
    pub(crate) loop_period: Duration,
    /// Least grave level that is logged.
    pub(crate) log_level: LevelFilter,
    /// The level as it was given, which the course's tests want to see again.
    pub(crate) log_level_name: String,
    /// How long a central that cannot be reached is tried again, counted from the first failure.
    pub(crate) connect_timeout: Duration,
    /// How long a reply may take, counted from the first byte of its request. One that waits for the draw may take any time.
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
        None => yaml::read_if_present(Path::new(DEFAULT_FILE))?
            .map(|pairs| (DEFAULT_FILE.into(), pairs)),
    };
    let environment =
        |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    Ok(Settings::resolve(&KEYS, flags, environment_name, environment, pairs)?)
}

impl Config {
    /// Judges every value.
    ///
    /// # Errors
    /// The first value that its key or the dialect does not accept.
    pub(crate) fn from_settings(
        settings: &Settings,
        with_count: bool,
        single_bet: Option<SingleBet>,
    ) -> Result<Self, ConfigError> {
        let protocol = narrow(settings.get("protocol", Dialect::named), |accepted| {
            format!("{accepted} {}", Dialect::names())
        })?;
        if single_bet.is_some() && protocol.agency.is_none() {
            return Err(ConfigError::NoBets { dialect: protocol.name });
        }
        let id = settings.get("id", |text| positive(text).filter(|id| *id <= protocol.max_agency));
        let id = narrow(id, |accepted| match protocol.max_agency {
            u16::MAX => accepted.to_owned(),
            most => {
                format!("a number from 1 to {most}, the largest that {} carries", protocol.name)
            }
        })?;
        let connection =
            narrow(settings.get("connection", |text| connection(text, protocol)), |_| {
                let names: Vec<_> =
                    protocol.connections.iter().map(|connection| connection.name()).collect();
                format!("{AUTO} or {}, as {} has it", names.join(" or "), protocol.name)
            })?;
        let data = settings.get("data", |text| (!text.is_empty()).then(|| text.to_owned()))?;
        Ok(Self {
            id,
            protocol,
            connection,
            with_count,
            single_bet,
            server_address: settings.get("server.address", address)?,
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

    /// Begins to speak the dialect; `None` where an agency sends messages instead of bets.
    pub(crate) fn codec(&self) -> Option<Box<dyn AgencyCodec>> {
        let Self { id: agency, batch_max_amount: max_bets, with_count, .. } = *self;
        self.protocol.agency.map(|begin| begin(&AgencyOptions { agency, max_bets, with_count }))
    }

    /// Logs the line every run begins with: the course's keys first, then ours.
    pub(crate) fn log(&self) {
        log_line::info("config", Outcome::Success)
            .with("client_id", self.id)
            .with("server_address", &self.server_address)
            .with("loop_amount", self.loop_amount)
            .with("loop_period", GoDuration(self.loop_period))
            .with("log_level", &self.log_level_name)
            .with("protocol", self.protocol.name)
            .with("data", self.data.display())
            .with("batch_max_amount", self.batch_max_amount)
            .write();
    }
}

/// Tells of a value that is not accepted in words that depend on the dialect, made from what the key accepts at all.
fn narrow<T>(
    value: Result<T, SettingsError>,
    accepted_now: impl FnOnce(&str) -> String,
) -> Result<T, ConfigError> {
    value.map_err(|error| match error {
        SettingsError::Value { key, value, origin, accepted } => {
            ConfigError::Value { key, value, origin, accepted: accepted_now(accepted) }
        }
        other => other.into(),
    })
}

/// How connections are used, if the dialect allows it.
pub(crate) fn connection(name: &str, protocol: &Dialect) -> Option<ConnectionUse> {
    let allowed = protocol.connections;
    let found = allowed.iter().find(|connection| connection.name() == name);
    if name == AUTO { allowed.first().copied() } else { found.copied() }
}

/// A plain decimal above zero: digits only, for `parse` would take a sign too.
fn positive<T: std::str::FromStr + Default + PartialEq>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|value| *value != T::default())
}

/// A duration above zero.
pub(crate) fn some_time(text: &str) -> Option<Duration> {
    duration::parse(text).filter(|time| !time.is_zero())
}

/// `host:port`. The host is not resolved here: its container may not have started yet.
pub(crate) fn address(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    positive::<u16>(port)?;
    let name = !host.is_empty()
        && !host.contains([':', '/', '[', ']'])
        && !host.contains(char::is_whitespace);
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
    fn every_default_but_the_number_of_the_agency_is_accepted() {
        let flags = BTreeMap::from([("id".to_owned(), ("--id".to_owned(), "7".to_owned()))]);
        let settings = Settings::resolve(&KEYS, &flags, environment_name, |_| None, None).unwrap();
        let config = Config::from_settings(&settings, true, None).unwrap();
        assert_eq!(config.data, Path::new(".data/agency-7.csv"));
    }
}
