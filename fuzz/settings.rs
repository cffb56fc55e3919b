//! What the fuzz targets of configuration files have in common. The programs include this file.

use std::collections::BTreeMap;

use conventions::settings::{Settings, SettingsFile, Table};

/// Resolves a file with this text, writes the effective settings, and asserts that the same
/// configuration is read from them. `configure` returns a configuration as text, or `None` if the
/// settings are refused.
pub fn check_settings(
    table: &'static Table,
    text: &str,
    configure: impl Fn(&Settings) -> Option<String>,
) {
    let Some(settings) = resolve(table, text) else { return };
    let again = resolve(table, &settings.effective()).expect("the program reads what it writes");
    assert_eq!(configure(&settings), configure(&again));
}

/// Returns the settings of a file, or `None` if it is refused.
fn resolve(table: &'static Table, text: &str) -> Option<Settings> {
    let values = (table.format.parse)(text).ok()?;
    let file = SettingsFile { path: table.file.into(), values };
    Settings::resolve(table, &BTreeMap::new(), |_| None, Some(file)).ok()
}
