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
        let mut bytes = Vec::new();
        // The limit applies to the bytes read and not to the size of the file, because a pipe has
        // no size and a file may grow.
        let mut file = File::open(path).map_err(unreadable)?.take(MAX_FILE_BYTES + 1);
        file.read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(SettingsError::TooLarge { path: path.to_owned() });
        }
        let values = text_of(&bytes)
            .and_then(format.parse)
            .map_err(|reason| SettingsError::Syntax { path: path.to_owned(), reason })?;
        Ok(Self { path: path.to_owned(), values })
    }
}

/// Returns the text of a file without its byte order mark, which some editors write. The error says
/// which encoding the file seems to have.
fn text_of(bytes: &[u8]) -> Result<&str, String> {
    let is_utf_16 = bytes.starts_with(b"\xFF\xFE")
        || bytes.starts_with(b"\xFE\xFF")
        // Text in Latin letters has one zero byte per character.
        || bytes.iter().filter(|byte| **byte == 0).count() > bytes.len() / 4;
    if is_utf_16 {
        return Err("is in UTF-16: save it as UTF-8".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        format!("is not UTF-8 in line {line}: save it as UTF-8, it may be in Latin-1")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_order_mark_is_skipped() {
        assert_eq!(text_of("\u{feff}[DEFAULT]\n".as_bytes()), Ok("[DEFAULT]\n"));
        assert_eq!(text_of("\u{feff}\u{feff}x".as_bytes()), Ok("\u{feff}x"));
        assert_eq!(text_of(b""), Ok(""));
    }

    #[test]
    fn another_encoding_is_named() {
        let utf_16: Vec<_> = "id: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [&utf_16[..], &[b"\xFF\xFE", &utf_16[..]].concat()] {
            assert_eq!(text_of(bytes), Err("is in UTF-16: save it as UTF-8".to_owned()));
        }
        let latin = text_of(b"id: 1\n# a\xF1o\n").unwrap_err();
        assert_eq!(latin, "is not UTF-8 in line 2: save it as UTF-8, it may be in Latin-1");
    }
}
