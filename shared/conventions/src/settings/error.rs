//! Errors of a configuration: one line each, with the value, its place and what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::file::MAX_FILE_BYTES;
use super::source::Source;
use super::table::Table;

/// Why a program has no usable settings.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A value that its setting does not accept.
    #[error(
        "{key} = {value:?} ({origin}) is not accepted: {}expected {accepted}",
        .reason.as_ref().map(|reason| format!("{reason}; ")).unwrap_or_default()
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
        .suggestion.map(|name| format!("did you mean {name}? ")).unwrap_or_default(),
        .table.keys().join(", ")
    )]
    UnknownKey {
        /// Key as the file spells it.
        key: String,
        /// Its value.
        value: String,
        /// Where it was given.
        origin: Source,
        /// The known key with nearly the same spelling.
        suggestion: Option<&'static str>,
        /// The table with all known keys.
        table: &'static Table,
    },
    /// A file that cannot be read.
    #[error("cannot read the configuration file {}: {source}", .path.display())]
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

    /// Returns the error for a key of the file that is not in `table`.
    pub(super) fn unknown_key(
        table: &'static Table,
        key: &str,
        value: &str,
        origin: Source,
    ) -> Self {
        let suggestion = nearest(key, &table.keys());
        Self::UnknownKey { key: key.to_owned(), value: value.to_owned(), origin, suggestion, table }
    }
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
