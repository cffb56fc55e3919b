//! The values a program runs with, and the source of each: flag, environment, file or default.
//!
//! A program defines each of its settings once, in a [`Table`]. The table yields the flags and
//! their help ([`SettingFlags`]), the environment variables, the keys of the file, error messages,
//! the effective configuration ([`Settings::effective`]) and the table of the documentation
//! ([`Table::markdown`]).

mod error;
mod file;
mod flags;
mod misspelled;
mod source;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use self::error::{SettingsError, nearest};
pub use self::file::{EffectiveValue, FileFormat, FileValue, MAX_FILE_BYTES, SettingsFile};
pub use self::flags::{Program, SettingFlags};
pub use self::misspelled::{Misspelled, misspelled};
pub use self::source::Source;
pub use self::table::{Setting, Table};

/// The value of every setting of a table, with its source.
#[derive(Debug)]
pub struct Settings {
    table: &'static Table,
    /// The file that was read, or that may be written to set a value.
    file: PathBuf,
    /// In the order of the table.
    entries: Vec<Entry>,
}

/// One resolved setting.
#[derive(Debug)]
struct Entry {
    setting: &'static Setting,
    value: String,
    source: Source,
}

impl Settings {
    /// Looks up every setting: flag, then environment, then file, then default.
    ///
    /// - `flags` maps keys to values.
    /// - `environment` reads a variable. An empty variable counts as not set, because
    ///   `NAME=${NAME}` in a Compose file produces one if `NAME` is not set.
    /// - Of a repeated key in `file`, the last value counts.
    ///
    /// [`Settings::get`] validates the values later. Fails if the file has a key that the table
    /// does not have.
    pub fn resolve(
        table: &'static Table,
        flags: &BTreeMap<&'static str, String>,
        environment: impl Fn(&str) -> Option<String>,
        file: Option<SettingsFile>,
    ) -> Result<Settings, SettingsError> {
        let file = file.unwrap_or_else(|| SettingsFile { path: table.file.into(), values: vec![] });
        let origin = |line| Source::File { path: file.path.clone(), line };
        for found in &file.values {
            if table.find(&found.key).is_none() {
                let origin = origin(found.line);
                return Err(SettingsError::unknown_key(table, found, &file.values, origin));
            }
        }
        let entry = |setting: &'static Setting| {
            let variable = table.variable(setting);
            let is_ours = |found: &&FileValue| setting.key.eq_ignore_ascii_case(&found.key);
            let (value, source) = if let Some(value) = flags.get(setting.key) {
                (value.clone(), Source::Flag(setting.flag))
            } else if let Some(value) = environment(&variable).filter(|value| !value.is_empty()) {
                (value, Source::Environment(variable))
            } else if let Some(found) = file.values.iter().rev().find(is_ours) {
                (found.value.clone(), origin(found.line))
            } else {
                (setting.default.to_owned(), Source::Default)
            };
            Entry { setting, value, source }
        };
        let entries = table.settings.iter().map(entry).collect();
        Ok(Settings { table, file: file.path, entries })
    }

    /// Returns the value of `key`, read by `parse`, which returns `None` for a value that is not
    /// accepted.
    ///
    /// # Panics
    /// Panics if the table has no such key, which is a bug in the program and not an error of its
    /// user.
    pub fn get<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, SettingsError> {
        self.get_explained(key, |text| parse(text).ok_or(None))
    }

    /// Returns true if the value of `key` is its default, wherever it comes from. Panics as
    /// [`Settings::get`] does.
    pub fn is_default(&self, key: &str) -> bool {
        let entry = self.entry(key);
        entry.value == entry.setting.default
    }

    /// Returns the value of `key`, read by `parse`, which returns what is wrong with a value that
    /// is not accepted. Panics as [`Settings::get`] does.
    pub fn get_explained<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Option<String>>,
    ) -> Result<T, SettingsError> {
        let entry = self.entry(key);
        parse(&entry.value).map_err(|reason| {
            let Setting { key, flag, .. } = *entry.setting;
            let accepted = entry.setting.accepted();
            let choices = entry.setting.choices;
            // A choice may be refused because of another setting.
            let is_choice = choices.contains(&entry.value.as_str());
            let meant = || nearest(&entry.value, choices).filter(|_| !is_choice);
            let reason = reason.or_else(|| Some(format!("did you mean {}?", meant()?)));
            if entry.is_missing() {
                let variable = self.table.variable(entry.setting);
                let file = self.file.clone();
                SettingsError::Missing { key, flag, variable, file, accepted }
            } else {
                SettingsError::Value {
                    key,
                    value: without_password(&entry.value),
                    origin: entry.source.clone(),
                    reason: reason.map(String::into_boxed_str),
                    accepted,
                }
            }
        })
    }

    /// Returns the value of `key` as text. Panics as [`Settings::get`] does.
    pub fn text(&self, key: &str) -> &str {
        &self.entry(key).value
    }

    /// Returns the source of the value of `key`. Panics as [`Settings::get`] does.
    pub fn source(&self, key: &str) -> &Source {
        &self.entry(key).source
    }

    /// Returns the effective configuration as a configuration file, which can be saved and used.
    pub fn effective(&self) -> String {
        let shown: Vec<_> =
            self.entries.iter().map(|entry| without_password(&entry.value)).collect();
        let values: Vec<_> =
            self.entries.iter().zip(&shown).map(|(entry, shown)| entry.effective(shown)).collect();
        (self.table.format.write)(&values)
    }

    fn entry(&self, key: &str) -> &Entry {
        let entry = self.entries.iter().find(|entry| entry.setting.key == key);
        entry.unwrap_or_else(|| panic!("the table has no setting {key}"))
    }
}

impl Entry {
    /// Returns true if no source sets a value and there is no default.
    fn is_missing(&self) -> bool {
        self.value.is_empty() && self.source == Source::Default
    }

    fn effective<'a>(&'a self, shown: &'a str) -> EffectiveValue<'a> {
        EffectiveValue {
            key: self.setting.key,
            value: (!self.is_missing()).then_some(shown),
            source: &self.source,
        }
    }
}

/// Returns a value for the eyes of people: a password in a URL is replaced by `***`.
fn without_password(value: &str) -> String {
    let hidden = || {
        let (scheme, rest) = value.split_once("://")?;
        let authority = rest.find(['/', '?', '#']).map_or(rest, |end| &rest[..end]);
        let (user, _) = authority.rsplit_once('@')?.0.split_once(':')?;
        let after = &rest[authority.rfind('@')?..];
        Some(format!("{scheme}://{user}:***{after}"))
    };
    hidden().unwrap_or_else(|| value.to_owned())
}

/// Returns a variable of the process environment, with replacement characters for what is not
/// UTF-8.
fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}
