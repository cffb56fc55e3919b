//! The values a program runs with, and where each came from: flag, environment, file or default, in this order.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::path::PathBuf;

use thiserror::Error;

use crate::clean::{Clean, Pipes};
use crate::spelling;

/// One key a program knows. A program has one table of them, from which help, lookup and messages are made.
#[derive(Debug)]
pub struct Key {
    /// Its name in the file; letter case does not matter there, as Python's and viper's readers do not mind it.
    pub name: &'static str,
    /// The value when nobody gives one; empty when there is none.
    pub default: &'static str,
    /// What is accepted, to complete "expected …": `a port, 0 to 65535`.
    pub accepted: &'static str,
    /// What it is for, one line.
    pub help: &'static str,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line; the flag as the user spells it, `--port`.
    Flag(String),
    /// The environment; the name of the variable.
    Environment(String),
    /// The configuration file; its path as it was given.
    File(PathBuf),
    /// The table of keys.
    Default,
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(flag) => write!(f, "flag {flag}"),
            Source::Environment(variable) => write!(f, "environment {variable}"),
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Default => f.write_str("default"),
        }
    }
}

/// What is wrong with a configuration: one line that names the key, the value, its source and the way out.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsError {
    /// A value that its key does not accept.
    #[error("{key} = {value:?} ({origin}) is not accepted: expected {accepted}")]
    Value {
        /// The key's name.
        key: &'static str,
        /// The value as it was given.
        value: String,
        /// Where it was given.
        origin: Source,
        /// What the key accepts.
        accepted: &'static str,
    },
    /// A key that has no default and that nobody set.
    #[error(
        "{key} is not set: expected {accepted}, from the environment ({variable}) or the configuration file"
    )]
    Missing {
        /// The key's name.
        key: &'static str,
        /// The environment variable that sets it.
        variable: String,
        /// What the key accepts.
        accepted: &'static str,
    },
    /// A key in the file that the program does not know: usually a typing error, so it is not passed over.
    #[error(
        "unknown key {key:?} = {value:?} ({}): {}known keys are {known}",
        .file.display(),
        .meant.map(|name| format!("did you mean {name}? ")).unwrap_or_default()
    )]
    UnknownKey {
        /// The key as the file spells it.
        key: String,
        /// Its value.
        value: String,
        /// The file's path as it was given.
        file: PathBuf,
        /// The known key that is spelled nearly so.
        meant: Option<&'static str>,
        /// Every known key, separated by commas.
        known: String,
    },
}

/// The value of every key of a table, with its source.
#[derive(Debug)]
pub struct Settings {
    /// In the order of the table.
    entries: Vec<Entry>,
}

/// One resolved key.
#[derive(Debug)]
struct Entry {
    key: &'static Key,
    value: String,
    source: Source,
    /// The environment variable that sets the key, whether it did or not.
    variable: String,
}

impl Settings {
    /// Looks every key up: flag, then environment, then file, then default.
    ///
    /// - `flags`: key name to (flag as the user spells it, value).
    /// - `environment_name`: key name to the name of its variable; `environment` reads a variable. One that is set
    ///   but empty counts as not set: that is what `NAME=${NAME}` in a Compose file gives when nobody sets NAME.
    /// - `file`: path and its pairs, if one was read. Of a repeated key the last pair counts.
    ///
    /// Values are not judged here but by [`Settings::get`].
    ///
    /// # Errors
    /// [`SettingsError::UnknownKey`] for the first key of the file that the table does not have.
    pub fn resolve(
        keys: &'static [Key],
        flags: &BTreeMap<String, (String, String)>,
        environment_name: impl Fn(&str) -> String,
        environment: impl Fn(&str) -> Option<String>,
        file: Option<(PathBuf, Vec<(String, String)>)>,
    ) -> Result<Settings, SettingsError> {
        debug_assert!(
            flags.keys().all(|flag| keys.iter().any(|key| key.name == flag)),
            "a flag without key"
        );
        let (path, pairs) = file.unwrap_or_default();
        for (name, value) in &pairs {
            if !keys.iter().any(|key| key.name.eq_ignore_ascii_case(name)) {
                return Err(unknown(keys, name, value, path));
            }
        }
        let entry = |key: &'static Key| {
            let variable = environment_name(key.name);
            let from_file =
                || pairs.iter().rev().find(|(name, _)| key.name.eq_ignore_ascii_case(name));
            let (value, source) = if let Some((flag, value)) = flags.get(key.name) {
                (value.clone(), Source::Flag(flag.clone()))
            } else if let Some(value) = environment(&variable).filter(|value| !value.is_empty()) {
                (value, Source::Environment(variable.clone()))
            } else if let Some((_, value)) = from_file() {
                (value.clone(), Source::File(path.clone()))
            } else {
                (key.default.to_owned(), Source::Default)
            };
            Entry { key, value, source, variable }
        };
        Ok(Settings { entries: keys.iter().map(entry).collect() })
    }

    /// The value of `key`, read by `parse`.
    ///
    /// # Errors
    /// [`SettingsError::Value`] when `parse` gives `None`; [`SettingsError::Missing`] when it does because nobody set
    /// a key without default.
    ///
    /// # Panics
    /// When the table has no such key: a fault of the program, whatever its user wrote.
    pub fn get<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, SettingsError> {
        let entry = self.entry(key);
        parse(&entry.value).ok_or_else(|| {
            let Key { name: key, accepted, .. } = *entry.key;
            if entry.value.is_empty() && entry.source == Source::Default {
                SettingsError::Missing { key, variable: entry.variable.clone(), accepted }
            } else {
                SettingsError::Value {
                    key,
                    value: entry.value.clone(),
                    origin: entry.source.clone(),
                    accepted,
                }
            }
        })
    }

    /// The value of `key` as text. Panics as [`Settings::get`] does.
    pub fn text(&self, key: &str) -> &str {
        &self.entry(key).value
    }

    /// Where the value of `key` came from. Panics as [`Settings::get`] does.
    pub fn source(&self, key: &str) -> &Source {
        &self.entry(key).source
    }

    /// Every key on a line of its own, `KEY = value  (source)`, in the order of the table: for `--print-config`.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for Entry { key, value, source, .. } in &self.entries {
            // Writing into a String cannot fail, and a table has no limit at which text would be cut.
            let _infallible = write!(
                Clean::new(&mut table, usize::MAX, Pipes::Keep),
                "{} = {value}  ({source})",
                key.name
            );
            table.push('\n');
        }
        table
    }

    fn entry(&self, key: &str) -> &Entry {
        let entry = self.entries.iter().find(|entry| entry.key.name == key);
        entry.unwrap_or_else(|| panic!("the table of keys has no {key}"))
    }
}

/// The error for a key of the file that is not in the table.
fn unknown(keys: &'static [Key], name: &str, value: &str, file: PathBuf) -> SettingsError {
    let names: Vec<_> = keys.iter().map(|key| key.name).collect();
    SettingsError::UnknownKey {
        key: name.to_owned(),
        value: value.to_owned(),
        file,
        meant: spelling::nearest(name, names.iter().copied()),
        known: names.join(", "),
    }
}
