//! Variables of the environment that look like a mistyped setting.

use super::error::nearest;
use super::table::Table;

/// A variable that no setting reads, and the one that it is probably meant to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misspelled {
    /// Name of the variable.
    pub name: String,
    /// Variable of the setting with nearly the same spelling.
    pub suggestion: String,
}

/// Returns the variables among `names` that nearly have the name of a setting's variable.
///
/// They are no error, unlike unknown keys of a file: the environment belongs to other programs too.
/// Container engines, for example, set `SERVER_PORT_12345_TCP` for a service named `server`.
pub fn misspelled(table: &'static Table, names: impl Iterator<Item = String>) -> Vec<Misspelled> {
    let known: Vec<String> = table.settings.iter().map(|it| table.variable(it)).collect();
    let variables: Vec<&str> = known.iter().map(String::as_str).collect();
    let meant = |name: String| {
        if variables.contains(&name.as_str()) {
            return None;
        }
        let suggestion = nearest(&name, &variables)?.to_owned();
        Some(Misspelled { name, suggestion })
    };
    names.filter_map(meant).collect()
}
