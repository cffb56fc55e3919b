//! The table of a program's settings: the one place that defines each of them.

use std::fmt::Write;

use super::file::FileFormat;

/// One setting of a program.
#[derive(Debug)]
pub struct Setting {
    /// Name in the configuration file. Lookup ignores letter case, as Python's and viper's readers
    /// do.
    pub key: &'static str,
    /// Name of the flag, without its hyphens.
    pub flag: &'static str,
    /// Placeholder for the value in the help, such as `PORT`. `DIR` and `FILE` also complete paths.
    pub value_name: &'static str,
    /// Value when no source sets one; empty if there is none.
    pub default: &'static str,
    /// Accepted values, as the end of a sentence that begins with "expected". `{choices}` stands
    /// for the choices.
    pub accepted: &'static str,
    /// Values that shells complete; empty if there are too many to list.
    pub choices: &'static [&'static str],
    /// Purpose in one line, without a full stop.
    pub help: &'static str,
    /// Further sentences for `--help`, the manual page and the documentation; may be empty.
    pub details: &'static str,
}

/// All settings of a program and the names of their sources.
#[derive(Debug)]
pub struct Table {
    /// The settings, in the order in which users see them.
    pub settings: &'static [Setting],
    /// Prefix of the environment variables, such as `CLI_`.
    pub variable_prefix: &'static str,
    /// Configuration file that is read if the user names none; it may be missing.
    pub file: &'static str,
    /// Format of the configuration file.
    pub format: FileFormat,
    /// True if every subcommand accepts the flags, false if only the command that defines them
    /// does.
    pub global_flags: bool,
}

impl Table {
    /// Returns the environment variable of a setting: the prefix, then the key in capitals, with
    /// `_` for `.`.
    pub fn variable(&self, setting: &Setting) -> String {
        format!("{}{}", self.variable_prefix, setting.key.replace('.', "_").to_uppercase())
    }

    /// Returns all keys, in the order of the table.
    pub(super) fn keys(&self) -> Vec<&'static str> {
        self.settings.iter().map(|setting| setting.key).collect()
    }

    /// Returns the setting with this key, ignoring letter case.
    pub fn find(&self, key: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.key.eq_ignore_ascii_case(key))
    }

    /// Returns the table as the documentation shows it.
    ///
    /// The column of environment variables is omitted if every variable has the name of its key.
    pub fn markdown(&self) -> String {
        let with_variables =
            self.settings.iter().any(|setting| self.variable(setting) != setting.key);
        let mut head = vec!["key", "flag", "default", "values", "meaning"];
        if with_variables {
            head.insert(1, "environment");
        }
        let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
        for setting in self.settings {
            let mut cells = vec![
                code(setting.key),
                code(&format!("--{}", setting.flag)),
                code(setting.default),
                setting.accepted(),
                setting.description(),
            ];
            if with_variables {
                cells.insert(1, code(&self.variable(setting)));
            }
            let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            // Writing into a String cannot fail.
            let _infallible = writeln!(text, "| {} |", cells.join(" | "));
        }
        text
    }
}

impl Setting {
    /// Returns the accepted values, with the choices filled in.
    pub(super) fn accepted(&self) -> String {
        self.accepted.replace("{choices}", &self.choices.join(", "))
    }

    /// Returns the purpose and the details as sentences.
    pub(super) fn description(&self) -> String {
        match self.details {
            "" => self.help.to_owned(),
            details => format!("{}. {details}", self.help),
        }
    }
}

/// Marks text as code. An empty text stays empty.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}
