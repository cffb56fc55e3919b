//! The flags of a table: one per setting, and those that choose or show the configuration.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};

use super::error::SettingsError;
use super::file::SettingsFile;
use super::table::{Setting, Table};
use super::{Settings, environment};

/// A program with a table of settings.
pub trait Program {
    /// The table.
    const TABLE: &'static Table;
}

/// What the command line says about the settings of program `P`, before any value is validated.
///
/// Embed it in the program's arguments with `#[command(flatten)]`.
#[derive(Debug)]
pub struct SettingFlags<P> {
    /// Key to value for the settings that were given as flags.
    values: BTreeMap<&'static str, String>,
    /// The configuration file of `--config`.
    config: Option<PathBuf>,
    /// True if the user asked for the effective configuration.
    pub print_config: bool,
    /// True if the user asked to check the configuration only.
    pub check_config: bool,
    program: PhantomData<P>,
}

const CONFIG: &str = "config";
const PRINT_CONFIG: &str = "print_config";
const CHECK_CONFIG: &str = "check_config";

impl<P: Program> SettingFlags<P> {
    /// Reads the configuration file and returns all settings. [`Settings::get`] validates the
    /// values later.
    ///
    /// A file that `--config` names must exist; the default file may be missing.
    pub fn resolve(&self) -> Result<Settings, SettingsError> {
        let default = Path::new(P::TABLE.file);
        // If the existence of the default file cannot be checked, it is read, so that the error
        // names the reason.
        let path = match &self.config {
            Some(path) => Some(path.as_path()),
            None => default.try_exists().unwrap_or(true).then_some(default),
        };
        let file = path.map(|path| SettingsFile::read(path, &P::TABLE.format)).transpose()?;
        Settings::resolve(P::TABLE, &self.values, environment, file)
    }

    /// Returns the values that were given as flags, by key.
    pub fn values(&self) -> &BTreeMap<&'static str, String> {
        &self.values
    }
}

impl<P: Program> Args for SettingFlags<P> {
    fn augment_args(command: Command) -> Command {
        let table = P::TABLE;
        let global = table.global_flags;
        let command = command
            .arg(
                Arg::new(CONFIG)
                    .long("config")
                    .value_name("FILE")
                    .value_parser(PathBufValueParser::new())
                    .value_hint(ValueHint::FilePath)
                    .global(global)
                    .help(format!("Configuration file [default: {}, if it exists]", table.file))
                    .long_help(format!(
                        "Configuration file. Without this flag the program reads {} in the working \
                         directory, if there is one.",
                        table.file
                    )),
            )
            .arg(switch(PRINT_CONFIG, "print-config", global).help(
                "Print the effective configuration as a configuration file that names the source \
                 of each value, and exit",
            ))
            .arg(
                switch(CHECK_CONFIG, "check-config", global)
                    .help("Check the configuration and exit: code 0 if it is valid, 2 if not"),
            );
        command.args(table.settings.iter().map(|setting| flag(table, setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<P: Program> FromArgMatches for SettingFlags<P> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = P::TABLE.settings.iter().filter_map(|setting| {
            Some((setting.key, matches.get_one::<String>(setting.key)?.clone()))
        });
        Ok(Self {
            values: given.collect(),
            config: matches.get_one(CONFIG).cloned(),
            print_config: matches.get_flag(PRINT_CONFIG),
            check_config: matches.get_flag(CHECK_CONFIG),
            program: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns a flag without a value.
fn switch(id: &'static str, name: &'static str, global: bool) -> Arg {
    Arg::new(id).long(name).action(ArgAction::SetTrue).global(global)
}

/// Returns the flag of a setting.
fn flag(table: &Table, setting: &'static Setting) -> Arg {
    let origin = match setting.default {
        "" => format!("[env: {}]", table.variable(setting)),
        default => format!("[env: {}] [default: {default}]", table.variable(setting)),
    };
    let hint = match setting.value_name {
        "DIR" => ValueHint::DirPath,
        "FILE" => ValueHint::FilePath,
        _ => ValueHint::Other,
    };
    Arg::new(setting.key)
        .long(setting.flag)
        .value_name(setting.value_name)
        .value_hint(hint)
        .value_parser(AnyText { suggestions: setting.choices })
        .hide_possible_values(true)
        .global(table.global_flags)
        .help_heading("Settings")
        // The program rejects `--id -1` itself, so that the message is the same for every source.
        .allow_hyphen_values(true)
        // The last one counts, so that a flag appended to a script's command overrides an earlier
        // one.
        .overrides_with(setting.key)
        .help(format!("{} {origin}", setting.help))
        .long_help(format!(
            "{}\n\nExpected: {}\n\n{origin}",
            setting.description(),
            setting.accepted()
        ))
}

/// A parser that accepts any text, because [`Settings::get`] validates it, and suggests values to
/// shells.
#[derive(Clone, Debug)]
struct AnyText {
    suggestions: &'static [&'static str],
}

impl TypedValueParser for AnyText {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = self.suggestions.iter().map(PossibleValue::new);
        if self.suggestions.is_empty() { None } else { Some(Box::new(values)) }
    }
}
