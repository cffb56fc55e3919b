//! The configuration file: a YAML map of maps, flattened to dotted keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_yaml::Value;

/// Largest configuration file in bytes. A larger one is refused: somebody named the wrong file.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why a file is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum YamlError {
    /// It cannot be read.
    #[error("cannot read the configuration file {}: {source}", .path.display())]
    Unreadable {
        /// Its path as it was given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is larger than any configuration.
    #[error("the configuration file {} has more than {MAX_FILE_BYTES} bytes", .path.display())]
    TooLarge {
        /// Its path as it was given.
        path: PathBuf,
    },
    /// It is not YAML.
    #[error("the configuration file {} is not YAML: {source}", .path.display())]
    Syntax {
        /// Its path as it was given.
        path: PathBuf,
        /// What the parser says, with line and column.
        source: serde_yaml::Error,
    },
    /// It is YAML, but not a map of keys to values.
    #[error("the configuration file {} has {found} at {place}: expected key: value", .path.display())]
    Shape {
        /// Its path as it was given.
        path: PathBuf,
        /// Where, a key or the top.
        place: String,
        /// What stands there.
        found: &'static str,
    },
}

/// Reads a file that must be there: pairs of dotted key and value as text, in the order of the file.
///
/// # Errors
/// [`YamlError`] when it cannot be read or is no map of keys to values.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, String)>, YamlError> {
    let unreadable = |source| YamlError::Unreadable { path: path.to_owned(), source };
    let mut text = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(YamlError::TooLarge { path: path.to_owned() });
    }
    let value: Value = serde_yaml::from_slice(&text)
        .map_err(|source| YamlError::Syntax { path: path.to_owned(), source })?;
    let mut pairs = Vec::new();
    // A file of comments only is YAML for nothing at all, not a mistake.
    if !value.is_null() {
        flatten("", &value, &mut pairs).map_err(|(place, found)| YamlError::Shape {
            path: path.to_owned(),
            place,
            found,
        })?;
    }
    Ok(pairs)
}

/// As [`read`], or `None` when there is no such file.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_if_present(path: &Path) -> Result<Option<Vec<(String, String)>>, YamlError> {
    match read(path) {
        Err(YamlError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// Appends the pairs under `key`. The error is a place and what stands there. The parser limits the depth.
fn flatten(
    key: &str,
    value: &Value,
    pairs: &mut Vec<(String, String)>,
) -> Result<(), (String, &'static str)> {
    match value {
        Value::Mapping(map) => map.iter().try_for_each(|(name, value)| {
            let Some(name) = scalar(name) else {
                return Err((place(key), "a key that is no name"));
            };
            let dotted = if key.is_empty() { name } else { format!("{key}.{name}") };
            flatten(&dotted, value, pairs)
        }),
        Value::Sequence(_) => Err((place(key), "a list")),
        Value::Tagged(_) => Err((place(key), "a tag")),
        _ if key.is_empty() => Err((place(key), "a single value")),
        value => {
            pairs.extend(scalar(value).map(|value| (key.to_owned(), value)));
            Ok(())
        }
    }
}

/// A single value as the user would write it; `key:` with nothing after it is the empty text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

fn place(key: &str) -> String {
    if key.is_empty() { "its top".to_owned() } else { key.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Result<Vec<(String, String)>, (String, &'static str)> {
        let mut pairs = Vec::new();
        flatten("", &serde_yaml::from_str(text).unwrap(), &mut pairs).map(|()| pairs)
    }

    #[test]
    fn nested_maps_become_dotted_keys_and_values_become_text() {
        let text = "server:\n  address: \"server:12345\"\nloop: {amount: 5, period: 150ms}\nbatch.maxAmount: 10\nid:\n";
        let expected = [
            ("server.address", "server:12345"),
            ("loop.amount", "5"),
            ("loop.period", "150ms"),
            ("batch.maxAmount", "10"),
            ("id", ""),
        ];
        assert_eq!(
            pairs(text).unwrap(),
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn anything_but_keys_with_values_is_refused_with_its_place() {
        assert_eq!(pairs("loop:\n  period: [1s, 2s]"), Err(("loop.period".to_owned(), "a list")));
        assert_eq!(pairs("just text"), Err(("its top".to_owned(), "a single value")));
        assert_eq!(pairs("? {a: b}\n: c"), Err(("its top".to_owned(), "a key that is no name")));
        assert_eq!(pairs("log: !level INFO"), Err(("log".to_owned(), "a tag")));
    }
}
