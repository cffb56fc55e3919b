//! The configuration file: how it is read, and what a format has to provide.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::SettingsError;
use super::source::Source;

/// Largest configuration file in bytes. A larger one is refused: the path probably names another
/// file.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A format of configuration files.
#[derive(Debug)]
pub struct FileFormat {
    /// Reads the text of a file: its values in the order of the file, or the reason why it does
    /// not have this format.
    pub parse: fn(&str) -> Result<Vec<FileValue>, String>,
    /// Writes a file that sets the values, with a comment above each that names its source.
    pub write: fn(&[EffectiveValue]) -> String,
}

/// One value of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileValue {
    /// Key as the file spells it.
    pub key: String,
    /// Value as text.
    pub value: String,
    /// Line of the key, counted from 1, if it is known.
    pub line: Option<usize>,
}

/// The value that is in effect for a setting.
#[derive(Clone, Copy, Debug)]
pub struct EffectiveValue<'a> {
    /// Key of the setting.
    pub key: &'static str,
    /// Value as text; `None` if no source sets one and the setting has no default.
    pub value: Option<&'a str>,
    /// Where the value came from.
    pub source: &'a Source,
}

/// A configuration file that was read.
#[derive(Debug)]
pub struct SettingsFile {
    /// Path as the user gave it.
    pub path: PathBuf,
    /// Its values, in the order of the file.
    pub values: Vec<FileValue>,
}

impl SettingsFile {
    /// Reads the file at `path`, which must exist.
    pub fn read(path: &Path, format: &FileFormat) -> Result<Self, SettingsError> {
        let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        // The limit applies to the bytes read and not to the size of the file, because a pipe has
        // no size and a file may grow.
        let mut file = File::open(path).map_err(unreadable)?.take(MAX_FILE_BYTES + 1);
        file.read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(SettingsError::TooLarge { path: path.to_owned() });
        }
        let values = (format.parse)(&text)
            .map_err(|reason| SettingsError::Syntax { path: path.to_owned(), reason })?;
        Ok(Self { path: path.to_owned(), values })
    }
}
