//! The configuration file: INI with the one section DEFAULT, as Python's configparser reads it.

use configparser::ini::Ini;
use conventions::settings::{EffectiveValue, FileValue};

/// Reads the values of section DEFAULT.
pub fn parse(text: &str) -> Result<Vec<FileValue>, String> {
    // Keys keep their case, so that messages show them as the file spells them.
    let mut ini = Ini::new_cs();
    ini.set_default_section("DEFAULT");
    // As in Python's reader, a comment has its own line: a value may contain a # or a semicolon.
    ini.set_inline_comment_symbols(Some(&[]));
    let sections =
        ini.read(text.to_owned()).map_err(|reason| format!("is not an INI file: {reason}"))?;
    if let Some(name) = sections.keys().find(|name| !name.eq_ignore_ascii_case("default")) {
        return Err(format!("has the unknown section [{name}]: every key belongs to [DEFAULT]"));
    }
    let mut values: Vec<_> = sections
        .into_values()
        .flatten()
        .map(|(key, value)| FileValue {
            line: line_of(text, &key),
            value: value.unwrap_or_default(),
            key,
        })
        .collect();
    // The parser returns a map. If a key appears in two spellings, the later line must win.
    values.sort_by_key(|value| value.line);
    Ok(values)
}

/// Returns the last line that sets `key`, which is the one whose value the parser keeps.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let sets_key = |line: &str| line.split(['=', ':']).next().is_some_and(|it| it.trim() == key);
    let lines: Vec<_> = text.lines().collect();
    lines.into_iter().rposition(sets_key).map(|index| index + 1)
}

/// Writes the values with a comment above each that names its source.
pub fn write(values: &[EffectiveValue<'_>]) -> String {
    let mut text =
        "# The effective configuration, and the source of each value.\n[DEFAULT]\n".to_owned();
    for EffectiveValue { key, value, source } in values {
        text.push_str(&one_line(&format!("# {source}")));
        text.push_str(&match value {
            Some(value) => one_line(&format!("{key} = {value}")),
            None => format!("# {key} =\n"),
        });
    }
    text
}

/// Returns the text as one line. Escapes control characters, because a line break would start
/// another key. A tab is part of a value.
fn one_line(text: &str) -> String {
    let escaped = text.chars().map(|symbol| match symbol.is_control() && symbol != '\t' {
        true => symbol.escape_default().to_string(),
        false => symbol.to_string(),
    });
    escaped.chain(["\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use conventions::settings::Source;

    use super::*;

    fn values(text: &str) -> Vec<(String, String, Option<usize>)> {
        let values = parse(text).unwrap().into_iter();
        values.map(|it| (it.key, it.value, it.line)).collect()
    }

    fn value(key: &str, value: &str, line: usize) -> (String, String, Option<usize>) {
        (key.to_owned(), value.to_owned(), Some(line))
    }

    #[test]
    fn values_come_in_the_order_of_their_lines() {
        let text = "# comment\n[DEFAULT]\nB = 1\n  a: x = # y\n\nC =\nb = 2\nB = 3\n";
        assert_eq!(
            values(text),
            [value("a", "x = # y", 4), value("C", "", 6), value("b", "2", 7), value("B", "3", 8)]
        );
    }

    #[test]
    fn a_written_file_is_read_back_as_the_same_values() {
        let sources = [Source::Default, Source::Environment("A".to_owned())];
        let given = [("A", "a # b"), ("B", "c;d"), ("C", "e = f: g"), ("D", ""), ("E", "[x]")];
        let written = write(&given.map(|(key, value)| EffectiveValue {
            key,
            value: Some(value),
            source: &sources[0],
        }));
        let read: Vec<_> =
            parse(&written).unwrap().into_iter().map(|it| (it.key, it.value)).collect();
        assert_eq!(read, given.map(|(key, value)| (key.to_owned(), value.to_owned())));

        let broken =
            write(&[EffectiveValue { key: "A", value: Some("x\nB = 1"), source: &sources[1] }]);
        assert_eq!(values(&broken), [value("A", "x\\nB = 1", 4)]);
        let missing = write(&[EffectiveValue { key: "A", value: None, source: &sources[0] }]);
        assert_eq!(values(&missing), []);
    }
}
