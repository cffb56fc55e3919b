//! Fuzz target: a configuration file with any content is read or refused, and what was read can be
//! written and read again.

use std::collections::BTreeMap;

use conventions::settings::{Settings, SettingsFile};

use super::Config;
use super::table::TABLE;

/// Resolves a file with this content, validates it, and reads back the effective configuration.
pub fn check(content: &[u8]) {
    let Ok(text) = std::str::from_utf8(content) else { return };
    // Control characters in values are escaped when they are written: INI has no quotes.
    let has_control =
        |line: &str| line.contains(|symbol: char| symbol.is_control() && symbol != '\t');
    if text.lines().any(has_control) {
        return;
    }
    let Some(settings) = resolve(text) else { return };
    let config = Config::from_settings(&settings).map(|config| format!("{config:?}"));
    let again = resolve(&settings.effective()).expect("the program reads what it writes");
    let config_again = Config::from_settings(&again).map(|config| format!("{config:?}"));
    // The messages differ in their place.
    assert_eq!(config.ok(), config_again.ok());
}

/// Returns the settings of a file, or `None` if it is refused.
fn resolve(text: &str) -> Option<Settings> {
    let values = (TABLE.format.parse)(text).ok()?;
    let file = SettingsFile { path: TABLE.file.into(), values };
    Settings::resolve(&TABLE, &BTreeMap::new(), |_| None, Some(file)).ok()
}

#[cfg(test)]
mod tests {
    use crate::fuzz_corpus::check_corpus;

    #[test]
    fn the_corpus_and_changes_of_it_are_read_or_refused() {
        check_corpus("server_settings", 5_000, super::check);
    }
}
