//! Errors of a configuration: one line each, with the value, its place and what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::file::{FileValue, MAX_FILE_BYTES};
use super::source::Source;
use super::table::Table;
use crate::access::Explained;

/// Why a program has no usable settings.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A value that its setting does not accept.
    #[error(
        "{key} = {value:?} ({origin}) is not accepted: {}expected {accepted}",
        .reason.as_ref().map(|reason| as_prefix(reason)).unwrap_or_default()
    )]
    Value {
        /// Key of the setting.
        key: &'static str,
        /// Value as it was given.
        value: String,
        /// Where it was given.
        origin: Source,
        /// What is wrong with the value, if that is not evident.
        reason: Option<Box<str>>,
        /// What the setting accepts.
        accepted: String,
    },
    /// A setting without a default that no source sets.
    #[error(
        "{key} is not set: expected {accepted}, from the flag --{flag}, the environment variable \
         {variable} or the key {key} in {}",
        .file.display()
    )]
    Missing {
        /// Key of the setting.
        key: &'static str,
        /// Its flag, without hyphens.
        flag: &'static str,
        /// Its environment variable.
        variable: String,
        /// The file that may set it.
        file: PathBuf,
        /// What the setting accepts.
        accepted: String,
    },
    /// A key that no setting has. It is refused because it is usually a typing error.
    #[error(
        "unknown key {key:?} = {value:?} ({origin}): {}known keys are {}",
        did_you_mean(.suggestions),
        .table.keys().join(", ")
    )]
    UnknownKey {
        /// Key as the file spells it.
        key: String,
        /// Its value.
        value: String,
        /// Where it was given.
        origin: Source,
        /// The known key with nearly the same spelling, or the unused keys of the same section.
        suggestions: Box<[&'static str]>,
        /// The table with all known keys.
        table: &'static Table,
    },
    /// A file that cannot be read.
    #[error(
        "cannot read the configuration file {}: {}",
        .path.display(), Explained { path, error: source }
    )]
    Unreadable {
        /// Path as the user gave it.
        path: PathBuf,
        /// Reason of the system.
        source: io::Error,
    },
    /// A file larger than any configuration.
    #[error(
        "the configuration file {} has more than {MAX_FILE_BYTES} bytes; is it a configuration file?",
        .path.display()
    )]
    TooLarge {
        /// Path as the user gave it.
        path: PathBuf,
    },
    /// A file that does not have the format of the program.
    #[error("the configuration file {} {reason}", .path.display())]
    Syntax {
        /// Path as the user gave it.
        path: PathBuf,
        /// What the format says, with the line if it is known.
        reason: String,
    },
}

impl SettingsError {
    /// Returns the error with another description of the accepted values.
    ///
    /// For a setting whose accepted values depend on another setting.
    #[must_use]
    pub fn expecting(self, text: String) -> Self {
        match self {
            Self::Value { key, value, origin, reason, .. } => {
                Self::Value { key, value, origin, reason, accepted: text }
            }
            other => other,
        }
    }

    /// Returns the error for a key of the file that is not in `table`. `used` are the other keys of
    /// the file.
    pub(super) fn unknown_key(
        table: &'static Table,
        found: &FileValue,
        used: &[FileValue],
        origin: Source,
    ) -> Self {
        let FileValue { key, value, .. } = found;
        let suggestions = match nearest(key, &table.keys()) {
            Some(name) => vec![name],
            None => unused_in_section(table, key, used),
        };
        let suggestions = suggestions.into_boxed_slice();
        Self::UnknownKey { key: key.clone(), value: value.clone(), origin, suggestions, table }
    }
}

/// Returns a reason as the beginning of a longer sentence.
fn as_prefix(reason: &str) -> String {
    if reason.ends_with('?') { format!("{reason} ") } else { format!("{reason}; ") }
}

/// Returns the question for the suggestions; empty if there are none.
fn did_you_mean(suggestions: &[&str]) -> String {
    match suggestions {
        [] => String::new(),
        names => format!("did you mean {}? ", names.join(" or ")),
    }
}

/// Returns the known keys of the section of `key`, the part before its first dot, that the file
/// does not use. Such a key often has another name in another edition of the same file.
fn unused_in_section(table: &Table, key: &str, used: &[FileValue]) -> Vec<&'static str> {
    let section = |key: &str| key.split_once('.').map(|(section, _)| section.to_lowercase());
    let Some(wanted) = section(key) else { return Vec::new() };
    let is_used = |known: &str| used.iter().any(|found| found.key.eq_ignore_ascii_case(known));
    let mut keys = table.keys();
    keys.retain(|known| section(known).as_ref() == Some(&wanted) && !is_used(known));
    keys
}

/// Maximum number of edits between a mistyped name and the name that it suggests.
const MAX_EDITS: usize = 3;

/// Returns the candidate with the most similar spelling, ignoring letter case, if one is similar
/// enough.
pub fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // Any two short names are only a few edits apart, so at most a third of the name may differ.
    let allowed = MAX_EDITS.min(name.chars().count() / 3);
    let edits =
        |candidate: &str| strsim::osa_distance(&name.to_lowercase(), &candidate.to_lowercase());
    candidates
        .iter()
        .map(|candidate| (edits(candidate), *candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_name_and_another_word_finds_nothing() {
        let names = ["SERVER_PORT", "SERVER_IP", "SERVER_GRACE"];
        assert_eq!(nearest("server_prot", &names), Some("SERVER_PORT"));
        assert_eq!(nearest("SERVER_GRACES", &names), Some("SERVER_GRACE"));
        assert_eq!(nearest("colour", &names), None);
        assert_eq!(nearest("x", &names), None);
    }
}
