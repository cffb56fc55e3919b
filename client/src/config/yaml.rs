//! The configuration file: YAML maps within maps, flattened to dotted keys.

use conventions::settings::{EffectiveValue, FileValue};
use serde_yaml::Value;

/// Reads the values of a file, with dotted keys.
pub(crate) fn parse(text: &str) -> Result<Vec<FileValue>, String> {
    let value: Value =
        serde_yaml::from_str(text).map_err(|source| format!("is not YAML: {source}"))?;
    let mut pairs = Vec::new();
    // A file with only comments parses to null, which sets nothing.
    if !value.is_null() {
        flatten("", &value, &mut pairs)
            .map_err(|(place, found)| format!("has {found} at {place}: expected key: value"))?;
    }
    let lines = lines(text);
    let value =
        |(key, value): (String, String)| FileValue { line: line_of(&lines, &key), key, value };
    Ok(pairs.into_iter().map(value).collect())
}

/// Appends the pairs under `key`, or returns a place and what is wrong there. The parser limits the
/// depth.
fn flatten(
    key: &str,
    value: &Value,
    pairs: &mut Vec<(String, String)>,
) -> Result<(), (String, &'static str)> {
    match value {
        Value::Mapping(map) => map.iter().try_for_each(|(name, value)| {
            let Some(name) = scalar(name) else {
                return Err((place(key), "a key that is not a name"));
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

/// Returns a single value as the user would write it. `key:` with nothing after it is the empty
/// text.
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
    if key.is_empty() { "the top".to_owned() } else { key.to_owned() }
}

/// A line that begins with `key:`.
#[derive(Debug)]
struct Line<'a> {
    /// Counted from 1.
    number: usize,
    /// Bytes before the key.
    indent: usize,
    /// The key without quotes.
    key: &'a str,
}

/// Returns the lines that set a key or begin a map, because the parser does not report where it
/// found a value.
fn lines(text: &str) -> Vec<Line<'_>> {
    (1..).zip(text.lines()).filter_map(|(number, line)| Line::new(number, line)).collect()
}

impl<'a> Line<'a> {
    fn new(number: usize, line: &'a str) -> Option<Self> {
        let content = line.trim_start();
        let (key, _) = content.split_once(':').filter(|_| !content.starts_with('#'))?;
        let key = key.trim_end().trim_matches(['"', '\'']);
        Some(Self { number, indent: line.len() - content.len(), key })
    }
}

/// Returns the line of a dotted key: that of its last part, or of the map around it in flow style,
/// `loop: {period: 1s}`.
fn line_of(block: &[Line<'_>], key: &str) -> Option<usize> {
    let indent = block.first()?.indent;
    block.iter().enumerate().filter(|(_, line)| line.indent == indent).find_map(|(index, line)| {
        let rest = key.strip_prefix(line.key)?;
        if rest.is_empty() {
            return Some(line.number);
        }
        let inner = &block[index + 1..];
        let end = inner.iter().position(|line| line.indent <= indent).unwrap_or(inner.len());
        line_of(&inner[..end], rest.strip_prefix('.')?).or(Some(line.number))
    })
}

/// Writes the values with a comment above each that names its source.
pub(crate) fn write(values: &[EffectiveValue<'_>]) -> String {
    let mut text = "# The effective configuration, and the source of each value.\n".to_owned();
    let mut open_map = None;
    for EffectiveValue { key, value, source } in values {
        let Some(value) = value else {
            text += &format!("# not set\n# {key}:\n");
            continue;
        };
        let (map, name) = key.split_once('.').map_or((None, *key), |(map, name)| (Some(map), name));
        if let Some(map) = map.filter(|_| map != open_map) {
            text += &format!("{map}:\n");
        }
        open_map = map;
        let indent = if map.is_some() { "  " } else { "" };
        let source = source.to_string().replace(char::is_control, "?");
        text += &format!("{indent}# {source}\n{indent}{name}: {}\n", quoted(value));
    }
    text
}

/// Returns a value in double quotes, so that it is read back as the same text.
fn quoted(value: &str) -> String {
    let escaped = value.chars().map(|symbol| match symbol {
        '"' | '\\' => format!("\\{symbol}"),
        '\u{2028}' | '\u{2029}' | '\u{feff}' => format!("\\u{:04x}", u32::from(symbol)),
        _ if symbol.is_control() => format!("\\u{:04x}", u32::from(symbol)),
        _ => symbol.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use conventions::settings::Source;

    use super::*;

    fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
        Ok(parse(text)?.into_iter().map(|it| (it.key, it.value)).collect())
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
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
        assert_eq!(pairs(text).unwrap(), owned(&expected));
    }

    #[test]
    fn anything_but_keys_with_values_is_refused_with_its_place() {
        for (text, reason) in [
            ("loop:\n  period: [1s, 2s]", "a list at loop.period"),
            ("just text", "a single value at the top"),
            ("? {a: b}\n: c", "a key that is not a name at the top"),
            ("log: !level INFO", "a tag at log"),
        ] {
            assert_eq!(pairs(text), Err(format!("has {reason}: expected key: value")));
        }
    }

    #[test]
    fn every_value_has_its_line_and_one_in_flow_style_that_of_its_map() {
        let text = "# id: 0\nloop:\n    # period: 9s\n\n    amount: 5\n    \"period\": 1s\n\
                    batch: {maxAmount: 1}\nlog.level: X\nid: 1\n";
        let lines: Vec<_> = parse(text).unwrap().into_iter().map(|it| (it.key, it.line)).collect();
        let expected = [
            ("loop.amount", 5),
            ("loop.period", 6),
            ("batch.maxAmount", 7),
            ("log.level", 8),
            ("id", 9),
        ];
        assert_eq!(lines, expected.map(|(key, line)| (key.to_owned(), Some(line))));
        assert_eq!(parse("{id: 1}").unwrap()[0].line, None);
    }

    #[test]
    fn a_written_file_is_read_back_as_the_same_values() {
        let given = [
            ("id", "007"),
            ("server.address", "a \"b\" \\c: # d"),
            ("loop.amount", "0x10"),
            ("loop.period", "x\n\t\u{85}\u{2028}\u{7f}é"),
            ("data", ""),
            ("log.level", "null"),
        ];
        let source = Source::Default;
        let value = |(key, value)| EffectiveValue { key, value: Some(value), source: &source };
        assert_eq!(pairs(&write(&given.map(value))).unwrap(), owned(&given));
        let missing = EffectiveValue { key: "id", value: None, source: &source };
        assert_eq!(pairs(&write(&[missing])).unwrap(), []);
    }
}
