//! An agency's settings, validated, and the single bet from the environment.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod single_bet;
mod table;
mod yaml;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use conventions::duration::{self, GoDuration};
use conventions::log_line::{self, Outcome};
use conventions::logger;
use conventions::settings::{Settings, SettingsError, nearest};
use log::LevelFilter;
use lottery::protocol::{AgencyCodec, AgencyOptions, ConnectionUse, DIALECTS, Dialect, NewAgency};

pub(crate) use self::single_bet::{SingleBet, SingleBetError};
pub(crate) use self::table::{AUTO, Flags, TABLE};

/// Placeholder for the agency's number in paths.
const ID_PLACEHOLDER: &str = "{id}";

/// Placeholder for the file of bets in the path of the state.
const DATA_PLACEHOLDER: &str = "{data}";

/// Why there is no usable configuration. Each error is one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file, a key or a value is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The bet from the environment cannot be sent.
    #[error(transparent)]
    SingleBet(#[from] SingleBetError),
    /// The environment has a bet, but the dialect carries no bets.
    #[error(
        "the bet from the environment cannot be sent: {dialect} carries no bets; \
         choose another protocol, or unset the variables of the bet"
    )]
    NoBets {
        /// Name of the dialect.
        dialect: &'static str,
    },
    /// A run in this dialect cannot be resumed.
    #[error(
        "resume: on is not accepted: the batches of {dialect} have no keys, so one that is sent \
         again could be stored twice; choose one of the protocols {}, or resume: auto",
        names(|dialect| dialect.has_keys)
    )]
    NoKeys {
        /// Name of the dialect.
        dialect: &'static str,
    },
    /// The bets have no number, but the dialect requires one.
    #[error(
        "--without-number is not accepted: every bet has a number in {dialect}; \
         omit the flag, or choose one of the protocols {}",
        names(|dialect| dialect.number_is_optional)
    )]
    NumberRequired {
        /// Name of the dialect.
        dialect: &'static str,
    },
}

/// The validated settings of a run.
#[derive(Debug)]
pub(crate) struct Config {
    /// Number of the agency, 1 to 65535.
    pub(crate) id: u16,
    /// Addresses of the central, each `host:port`; at least one. A failure selects the next one,
    /// and resolves its name again.
    pub(crate) server_addresses: Vec<String>,
    /// Wire dialect.
    pub(crate) protocol: &'static Dialect,
    /// Use of connections, one that the dialect allows.
    pub(crate) connection: ConnectionUse,
    /// True if a batch begins with the count of its bets, where the dialect leaves the choice.
    pub(crate) with_count: bool,
    /// False if bets are sent without their numbers.
    pub(crate) with_number: bool,
    /// The bet to send instead of the file.
    pub(crate) single_bet: Option<SingleBet>,
    /// File of the bets, with the agency's number filled in.
    pub(crate) data: PathBuf,
    /// State file, with the placeholders filled in; `None` if the run cannot be resumed.
    pub(crate) state: Option<PathBuf>,
    /// Largest number of bets in a batch, 1 to 65535.
    pub(crate) batch_max_amount: u16,
    /// Number of messages, in a dialect that carries no bets.
    pub(crate) loop_amount: u32,
    /// Time between two queries for winners, or between two messages.
    pub(crate) loop_period: Duration,
    /// Lowest level that is logged.
    pub(crate) log_level: LevelFilter,
    /// The level as the user wrote it, which the course's tests expect in the log.
    pub(crate) log_level_name: String,
    /// Layout of the log lines.
    pub(crate) log_format: logger::Format,
    /// Time for retries to reach the central, counted from the first failure.
    pub(crate) connect_timeout: Duration,
    /// Time for a reply, counted from the first byte of its request. A reply that waits for the
    /// draw may take any time.
    pub(crate) reply_timeout: Duration,
}

impl Config {
    /// Validates every value. Fails with the first one that its setting or the dialect does not
    /// accept.
    pub(crate) fn from_settings(
        settings: &Settings,
        with_count: bool,
        single_bet: Option<SingleBet>,
    ) -> Result<Self, ConfigError> {
        let protocol = settings.get("protocol", Dialect::named)?;
        if single_bet.is_some() && protocol.agency.is_none() {
            return Err(ConfigError::NoBets { dialect: protocol.name });
        }
        let id = agency_number(settings, protocol)?;
        let path =
            |text: &str| (!text.is_empty()).then(|| text.replace(ID_PLACEHOLDER, &id.to_string()));
        let data = settings.get("data", path)?;
        let state = settings.get("state", path)?.replace(DATA_PLACEHOLDER, &data);
        Ok(Self {
            id,
            protocol,
            connection: connection_use(settings, protocol)?,
            with_count,
            with_number: true,
            single_bet,
            server_addresses: settings.get("server.address", addresses)?,
            data: data.into(),
            state: can_resume(settings, protocol)?.then(|| state.into()),
            batch_max_amount: settings.get("batch.maxAmount", positive)?,
            loop_amount: settings.get("loop.amount", positive)?,
            loop_period: settings.get("loop.period", some_time)?,
            log_level: settings.get("log.level", logger::level_from)?,
            log_level_name: settings.text("log.level").to_owned(),
            log_format: settings.get("log.format", logger::Format::named)?,
            connect_timeout: settings.get("connect.timeout", duration::parse)?,
            reply_timeout: settings.get("reply.timeout", some_time)?,
        })
    }

    /// Returns the same settings for bets without their numbers, if the dialect allows that.
    pub(crate) fn without_number(self) -> Result<Self, ConfigError> {
        if !self.protocol.number_is_optional {
            return Err(ConfigError::NumberRequired { dialect: self.protocol.name });
        }
        Ok(Self { with_number: false, ..self })
    }

    /// Returns a codec of the dialect for a session. The caller limits the number of bets in a
    /// batch.
    pub(crate) fn codec(&self, new: NewAgency, session: [u8; 16]) -> Box<dyn AgencyCodec> {
        let &Self { id, connection, with_count, .. } = self;
        let defaults = AgencyOptions::new(id, u16::MAX);
        new(&AgencyOptions { connection, with_count, session, ..defaults })
    }

    /// Logs the first line of every run: the course's keys, then those of this project.
    pub(crate) fn log(&self) {
        log_line::info("config", Outcome::Success)
            .with("client_id", self.id)
            .with("server_address", self.server_addresses.join(","))
            .with("loop_amount", self.loop_amount)
            .with("loop_period", GoDuration(self.loop_period))
            .with("log_level", &self.log_level_name)
            .with("protocol", self.protocol.name)
            .with("data", self.data.display())
            .with("batch_max_amount", self.batch_max_amount)
            .write();
    }
}

/// Returns the names of some dialects.
fn names(are_meant: fn(&&Dialect) -> bool) -> String {
    let dialects = DIALECTS.iter().filter(are_meant);
    dialects.map(|dialect| dialect.name).collect::<Vec<_>>().join(", ")
}

/// Returns true if a later run continues this one.
fn can_resume(settings: &Settings, protocol: &Dialect) -> Result<bool, ConfigError> {
    let wanted = settings.get("resume", |text| match text {
        AUTO => Some(None),
        "on" => Some(Some(true)),
        "off" => Some(Some(false)),
        _ => None,
    })?;
    if wanted == Some(true) && !protocol.has_keys {
        return Err(ConfigError::NoKeys { dialect: protocol.name });
    }
    Ok(wanted.unwrap_or(protocol.has_keys))
}

/// Reads the number of the agency, which the dialect must be able to encode.
fn agency_number(settings: &Settings, protocol: &Dialect) -> Result<u16, SettingsError> {
    let most = protocol.max_agency;
    let id = settings.get("id", |text| positive(text).filter(|id| *id <= most));
    id.map_err(|error| match most {
        u16::MAX => error,
        _ => error.expecting(format!(
            "a number from 1 to {most}, the largest that {} can encode",
            protocol.name
        )),
    })
}

/// Reads the use of connections, which the dialect must allow.
fn connection_use(settings: &Settings, protocol: &Dialect) -> Result<ConnectionUse, SettingsError> {
    let found = settings.get("connection", |text| connection(text, protocol));
    found.map_err(|error| {
        let names: Vec<_> = protocol.connections.iter().map(|it| it.name()).collect();
        let (names, dialect) = (names.join(" or "), protocol.name);
        error.expecting(format!("{AUTO} or {names}, which {dialect} allows"))
    })
}

/// Reads the use of connections; `None` if the dialect does not allow it.
pub(crate) fn connection(name: &str, protocol: &Dialect) -> Option<ConnectionUse> {
    let allowed = protocol.connections;
    let found = allowed.iter().find(|connection| connection.name() == name);
    if name == AUTO { allowed.first().copied() } else { found.copied() }
}

/// Reads a decimal above zero. It has digits only: `parse` alone would accept a sign too.
fn positive<T: std::str::FromStr + Default + PartialEq>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|value| *value != T::default())
}

/// Reads a duration above zero.
pub(crate) fn some_time(text: &str) -> Option<Duration> {
    duration::parse(text).filter(|time| !time.is_zero())
}

/// Reads a list of addresses, separated by commas.
fn addresses(text: &str) -> Option<Vec<String>> {
    text.split(',').map(|each| address(each.trim())).collect()
}

/// Reads `host:port`. The host is not resolved here, because its container may not have started
/// yet.
pub(crate) fn address(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    positive::<u16>(port)?;
    let name = !host.is_empty()
        && !host.contains([':', '/', '[', ']', ',', ';'])
        && !host.contains(char::is_whitespace);
    (name || text.parse::<SocketAddr>().is_ok()).then(|| text.to_owned())
}

/// Reads one `host:port`, for a command that tries each server alone.
pub(crate) fn one_address(text: &str) -> Result<String, String> {
    if text.contains(',') {
        return Err("one address is needed: each server is tried alone".to_owned());
    }
    address(text)
        .ok_or_else(|| "expected host:port, such as server:12345 or [::1]:12345".to_owned())
}

/// Reads the name of a dialect.
pub(crate) fn dialect(name: &str) -> Result<&'static Dialect, String> {
    Dialect::named(name).ok_or_else(|| {
        let meant = nearest(name, &Dialect::NAMES).map(|name| format!("did you mean {name}? "));
        format!("{}expected one of {}", meant.unwrap_or_default(), Dialect::names())
    })
}

/// Reads a duration above zero, or says what is expected.
pub(crate) fn some_time_of(text: &str) -> Result<Duration, String> {
    some_time(text).ok_or_else(|| "expected a duration above zero, such as 2s or 500ms".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::table::TABLE;
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
            "a:1,b:2",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_of_addresses_is_separated_by_commas() {
        assert_eq!(addresses("a:1, [::1]:2").unwrap(), ["a:1", "[::1]:2"]);
        for text in ["", "a:1,", ",a:1", "a:1;b:2", "a,b:1"] {
            assert_eq!(addresses(text), None, "{text}");
        }
    }

    #[test]
    fn every_default_but_the_number_of_the_agency_is_accepted() {
        let flags = BTreeMap::from([("id", "7".to_owned())]);
        let settings = Settings::resolve(&TABLE, &flags, |_| None, None).unwrap();
        let config = Config::from_settings(&settings, true, None).unwrap();
        assert_eq!(config.data, Path::new(".data/agency-7.csv"));
    }
}
