//! The URL of a cluster: its hosts, the user and the database.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::password::Password;
use crate::servers::CONNECT_TIMEOUT;

/// The port of a host without one.
const PORT: u16 = 5432;
/// Characters that `Display` encodes.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A URL like `postgres://user:password@db1,db2:5433,[::1]/lottery?connect_timeout=5`.
///
/// A host is a name, an IPv4 address, or an IPv6 address in brackets; its port is 5432 unless it
/// has one. Without a database, its name is that of the user. Special characters are
/// percent-encoded. These parameters are accepted:
///
/// | parameter | meaning |
/// |---|---|
/// | `application_name` | name of the connections in `pg_stat_activity` |
/// | `connect_timeout` | seconds for connecting to a server and authenticating; 3 by default |
/// | `sslmode` | `disable`, `allow` or `prefer`, which all mean a connection without TLS |
///
/// `Display` and `Debug` do not show the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub(crate) user: String,
    pub(crate) password: Option<Password>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) database: String,
    pub(crate) application_name: Option<String>,
    pub(crate) connect_timeout: Duration,
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// A name or an address, without brackets.
    pub(crate) name: String,
    pub(crate) port: u16,
}

impl Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// What is wrong with a URL. No text has the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// The scheme is another one.
    #[error("the URL of a PostgreSQL cluster begins with postgres://")]
    Scheme,
    /// There is no user.
    #[error("the URL has no user: write postgres://USER@HOST/DATABASE")]
    NoUser,
    /// A host of the list is empty.
    #[error("host {0} of the URL is empty")]
    NoHost(usize),
    /// The port is not a number from 1 to 65535.
    #[error("the port {1:?} of host {0:?} is not a number from 1 to 65535")]
    Port(String, String),
    /// The brackets do not contain an IPv6 address.
    #[error("{0:?} is not an IPv6 address in brackets, like [::1] or [::1]:5432")]
    Ipv6(String),
    /// A part is not valid in the percent encoding, or is not UTF-8, or contains NUL.
    #[error("the {0} of the URL is not percent-encoded text: write %25 for %")]
    Encoding(&'static str),
    /// The URL demands TLS.
    #[error(
        "sslmode={0}: connections with TLS to PostgreSQL are not supported; use a private network \
         or a tunnel, and sslmode=disable"
    )]
    Tls(String),
    /// The value of a parameter is not valid.
    #[error("{0}={1:?} is not valid: it takes {2}")]
    Value(&'static str, String, &'static str),
    /// The parameter is not known.
    #[error("unknown parameter {0:?}: known are application_name, connect_timeout and sslmode")]
    Parameter(String),
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or(UrlError::Scheme)?;
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').ok_or(UrlError::NoUser)?;
        let (user, password) = match user.split_once(':') {
            Some((user, password)) => (user, Some(Password(decoded(password, "password")?))),
            None => (user, None),
        };
        let user = decoded(user, "user")?;
        if user.is_empty() {
            return Err(UrlError::NoUser);
        }
        let hosts = hosts
            .split(',')
            .enumerate()
            .map(|(index, host)| read_host(index, host))
            .collect::<Result<_, _>>()?;
        let database =
            if database.is_empty() { user.clone() } else { decoded(database, "database")? };
        let mut url = Self {
            user,
            password,
            hosts,
            database,
            application_name: None,
            connect_timeout: CONNECT_TIMEOUT,
        };
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            url.set(name, decoded(value, "query")?)?;
        }
        Ok(url)
    }
}

impl Url {
    fn set(&mut self, name: &str, value: String) -> Result<(), UrlError> {
        match name {
            "application_name" => self.application_name = Some(value),
            "connect_timeout" => match value.parse() {
                Ok(seconds @ 1..=3600) => self.connect_timeout = Duration::from_secs(seconds),
                _ => {
                    return Err(UrlError::Value(
                        "connect_timeout",
                        value,
                        "seconds from 1 to 3600",
                    ));
                }
            },
            "sslmode" => match value.as_str() {
                "disable" | "allow" | "prefer" => {}
                "require" | "verify-ca" | "verify-full" => return Err(UrlError::Tls(value)),
                _ => {
                    return Err(UrlError::Value("sslmode", value, "disable, allow or prefer"));
                }
            },
            _ => return Err(UrlError::Parameter(name.to_owned())),
        }
        Ok(())
    }
}

/// Reads one host of the list, whose first has the index 0.
fn read_host(index: usize, text: &str) -> Result<Host, UrlError> {
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let wrong = || UrlError::Ipv6(text.to_owned());
        let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
        address.parse::<Ipv6Addr>().map_err(|_| wrong())?;
        match port.strip_prefix(':') {
            None if !port.is_empty() => return Err(wrong()),
            port => (address.to_owned(), port),
        }
    } else {
        if text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) {
            return Err(UrlError::Ipv6(text.to_owned()));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        (decoded(name, "host")?, port)
    };
    if name.is_empty() {
        return Err(UrlError::NoHost(index + 1));
    }
    let port = match port {
        None => PORT,
        Some(port) => match port.parse() {
            Ok(port @ 1..) => port,
            _ => return Err(UrlError::Port(name, port.to_owned())),
        },
    };
    Ok(Host { name, port })
}

/// Decodes a part of the URL.
fn decoded(text: &str, part: &'static str) -> Result<String, UrlError> {
    let wrong = || UrlError::Encoding(part);
    // The decoder keeps a `%` without two digits.
    let is_valid = text.split('%').skip(1).all(|after| {
        after.len() >= 2 && after.bytes().take(2).all(|digit| digit.is_ascii_hexdigit())
    });
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| wrong())?;
    if !is_valid || decoded.contains('\0') {
        return Err(wrong());
    }
    Ok(decoded.into_owned())
}

impl Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", utf8_percent_encode(&self.user, ENCODED))?;
        for (index, host) in self.hosts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{host}")?;
        }
        write!(f, "/{}", utf8_percent_encode(&self.database, ENCODED))
    }
}
