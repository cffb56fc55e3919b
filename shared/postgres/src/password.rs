//! Passwords: a text that no output shows, and where it comes from if the URL has none.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::url::Host;

/// The largest password file in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A password, which no output shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(pub(crate) String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a password comes from if the URL has none.
#[derive(Clone, Debug, Default)]
pub struct PasswordSources {
    pub(crate) password: Option<Password>,
    pub(crate) file: Option<PathBuf>,
    /// True if the file must exist.
    pub(crate) must_exist: bool,
}

/// Why a password file is not used.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    /// It cannot be read.
    #[error("password file {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// Other users may read it.
    #[error("password file {0}: other users may read it; run chmod 600 {0}")]
    Permissions(PathBuf),
}

impl PasswordSources {
    /// Returns the sources that the environment names: `PGPASSWORD`, then the file `PGPASSFILE` or
    /// `~/.pgpass`.
    pub fn of_environment() -> Self {
        let named = env::var_os("PGPASSFILE").map(PathBuf::from);
        Self {
            password: env::var("PGPASSWORD").ok().map(Password),
            must_exist: named.is_some(),
            file: named
                .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".pgpass"))),
        }
    }

    /// Returns a source that is a password file, in the format of `~/.pgpass`.
    pub fn file(path: &Path) -> Self {
        Self { password: None, file: Some(path.to_owned()), must_exist: true }
    }

    /// Reads the password file, unless another source has precedence.
    pub(crate) fn read(&self) -> Result<Passwords, PasswordFileError> {
        let (None, Some(path)) = (&self.password, &self.file) else {
            return Ok(Passwords { password: self.password.clone(), lines: String::new() });
        };
        let failed = |error| PasswordFileError::Io(path.clone(), error);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(_) if !self.must_exist => {
                return Ok(Passwords { password: None, lines: String::new() });
            }
            Err(error) => return Err(failed(error)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            return Err(PasswordFileError::Permissions(path.clone()));
        }
        let mut lines = String::new();
        file.take(MAX_FILE).read_to_string(&mut lines).map_err(failed)?;
        Ok(Passwords { password: None, lines })
    }
}

/// The passwords that were found.
pub(crate) struct Passwords {
    password: Option<Password>,
    lines: String,
}

impl Passwords {
    /// Returns the password for a host: that of the first line of the file that matches.
    pub(crate) fn of(&self, host: &Host, database: &str, user: &str) -> Option<Password> {
        if let Some(password) = &self.password {
            return Some(password.clone());
        }
        let port = host.port.to_string();
        let wanted = [host.name.as_str(), &port, database, user];
        self.lines
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| <[String; 5]>::try_from(fields(line)).ok())
            .find(|fields| {
                fields.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted)
            })
            .map(|[.., password]| Password(password))
    }
}

/// Splits a line at the colons that no backslash precedes, into at most five fields.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut symbols = line.chars();
    while let Some(symbol) = symbols.next() {
        let symbol = match symbol {
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                continue;
            }
            '\\' => symbols.next().unwrap_or('\\'),
            other => other,
        };
        if let Some(last) = fields.last_mut() {
            last.push(symbol);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &str, name: &str, port: u16) -> Option<String> {
        let passwords = Passwords { password: None, lines: lines.to_owned() };
        let host = Host { name: name.to_owned(), port };
        passwords.of(&host, "lottery", "central").map(|password| password.0)
    }

    #[test]
    fn the_first_line_that_matches_has_the_password() {
        let lines = "# comment\ndb2:5432:lottery:central:second\n*:*:*:central:any\n*:*:*:*:late";
        assert_eq!(found(lines, "db2", 5432).as_deref(), Some("second"));
        assert_eq!(found(lines, "db2", 5433).as_deref(), Some("any"));
        assert_eq!(found("db1:5432:other:central:x\n", "db1", 5432), None);
        assert_eq!(found("db1:5432:lottery\n", "db1", 5432), None, "a short line");
    }

    #[test]
    fn a_backslash_precedes_a_colon_or_a_backslash_of_a_field() {
        assert_eq!(found(r"\:\:1:*:*:*:a\:b\\c", "::1", 5432).as_deref(), Some(r"a:b\c"));
        assert_eq!(found("*:*:*:*:a:b", "db1", 5432).as_deref(), Some("a:b"));
    }
}
