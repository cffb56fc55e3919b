//! Settings as users see them: sources and their precedence, error messages, the effective
//! configuration.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use clap::{Args, Command, FromArgMatches};
use conventions::settings::{
    EffectiveValue, FileFormat, FileValue, Misspelled, Program, Setting, SettingFlags, Settings,
    SettingsError, SettingsFile, Source, Table, misspelled,
};

static TABLE: Table = Table {
    settings: &[
        Setting {
            key: "SERVER_PORT",
            flag: "port",
            value_name: "PORT",
            default: "12345",
            accepted: "a port, 0 to 65535",
            choices: &[],
            help: "Port to listen on",
            details: "0 takes any free one.",
        },
        Setting {
            key: "batch.maxAmount",
            flag: "batch-max-amount",
            value_name: "N",
            default: "50",
            accepted: "a number, such as {choices}",
            choices: &["1", "50"],
            help: "Bets per batch",
            details: "",
        },
        Setting {
            key: "id",
            flag: "id",
            value_name: "N",
            default: "",
            accepted: "an agency, 1|65535",
            choices: &[],
            help: "Number of the agency",
            details: "",
        },
    ],
    variable_prefix: "APP_",
    file: "config.test",
    format: FileFormat { parse, write },
    global_flags: false,
};

/// Parses one `key=value` per line.
fn parse(text: &str) -> Result<Vec<FileValue>, String> {
    let value = |(index, line): (usize, &str)| {
        let (key, value) = line.split_once('=').ok_or(format!("has no = in line {}", index + 1))?;
        Ok(FileValue { key: key.into(), value: value.into(), line: Some(index + 1) })
    };
    text.lines().enumerate().map(value).collect()
}

fn write(values: &[EffectiveValue<'_>]) -> String {
    values.iter().map(|it| format!("{}={:?} {}\n", it.key, it.value, it.source)).collect()
}

#[derive(Debug)]
struct App;

impl Program for App {
    const TABLE: &'static Table = &TABLE;
}

/// What each source says about a key: pairs of key and value.
type Pairs<'a> = &'a [(&'static str, &'a str)];

fn resolve(flags: Pairs, environment: Pairs, file: Pairs) -> Result<Settings, SettingsError> {
    let flags: BTreeMap<_, _> =
        flags.iter().map(|(key, value)| (*key, String::from(*value))).collect();
    let lookup = |name: &str| {
        let found = environment.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| String::from(*value))
    };
    let lines: Vec<_> = file.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let values = parse(&lines.join("\n")).unwrap();
    Settings::resolve(&TABLE, &flags, lookup, Some(SettingsFile { path: "my.test".into(), values }))
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok()
}

fn flags(line: &[&str]) -> SettingFlags<App> {
    let command = SettingFlags::<App>::augment_args(Command::new("app"));
    let line = std::iter::once(&"app").chain(line);
    SettingFlags::from_arg_matches(&command.try_get_matches_from(line).unwrap()).unwrap()
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let port_from = |flags, environment, file| {
        let settings = resolve(flags, environment, file).unwrap();
        (settings.get("SERVER_PORT", port).unwrap(), settings.source("SERVER_PORT").to_string())
    };
    let flag: Pairs = &[("SERVER_PORT", "4")];
    let environment: Pairs = &[("APP_SERVER_PORT", "3")];
    let file: Pairs = &[("SERVER_PORT", "2")];
    assert_eq!(port_from(flag, environment, file), (4, "flag --port".to_owned()));
    assert_eq!(port_from(&[], environment, file), (3, "environment APP_SERVER_PORT".to_owned()));
    assert_eq!(port_from(&[], &[], file), (2, "my.test:1".to_owned()));
    assert_eq!(port_from(&[], &[], &[]), (12345, "default".to_owned()));
}

#[test]
fn a_variable_that_is_set_but_empty_counts_as_not_set() {
    let settings = resolve(&[], &[("APP_SERVER_PORT", "")], &[("SERVER_PORT", "2")]).unwrap();
    assert_eq!(settings.text("SERVER_PORT"), "2");
}

#[test]
fn an_empty_value_in_the_file_counts_as_set_and_is_validated() {
    let settings = resolve(&[], &[], &[("id", "1"), ("SERVER_PORT", "")]).unwrap();
    let message = settings.get("SERVER_PORT", port).unwrap_err().to_string();
    assert_eq!(
        message,
        "SERVER_PORT = \"\" (my.test:2) is not accepted: expected a port, 0 to 65535"
    );
}

#[test]
fn keys_of_the_file_are_found_in_any_letter_case() {
    let settings = resolve(&[], &[], &[("server_port", "7"), ("BATCH.MAXAMOUNT", "8")]).unwrap();
    assert_eq!((settings.text("SERVER_PORT"), settings.text("batch.maxAmount")), ("7", "8"));
}

#[test]
fn of_a_repeated_key_the_last_one_counts() {
    let settings = resolve(&[], &[], &[("SERVER_PORT", "7"), ("server_port", "8")]).unwrap();
    assert_eq!(settings.text("SERVER_PORT"), "8");
    assert_eq!(settings.source("SERVER_PORT").to_string(), "my.test:2");
}

#[test]
fn of_a_repeated_flag_the_last_one_counts() {
    assert_eq!(flags(&["--port", "1", "--port", "2"]).values()["SERVER_PORT"], "2");
}

#[test]
fn a_flag_takes_a_value_that_begins_with_a_hyphen() {
    assert_eq!(flags(&["--id", "-1"]).values()["id"], "-1");
}

#[test]
fn a_bad_value_is_named_in_one_line_with_its_source_and_the_accepted_form() {
    let settings = resolve(&[], &[("APP_SERVER_PORT", "12x\n45")], &[]).unwrap();
    let error = settings.get("SERVER_PORT", port).unwrap_err();
    assert_eq!(
        error.to_string(),
        "SERVER_PORT = \"12x\\n45\" (environment APP_SERVER_PORT) is not accepted: expected a port, 0 to 65535"
    );
    assert_eq!(
        error.expecting("another port".to_owned()).to_string(),
        "SERVER_PORT = \"12x\\n45\" (environment APP_SERVER_PORT) is not accepted: expected another port"
    );
}

#[test]
fn the_reason_of_a_refusal_precedes_the_accepted_form() {
    let settings = resolve(&[("SERVER_PORT", "7"), ("id", "1")], &[], &[]).unwrap();
    let refuse = |_: &str| Err::<(), _>(Some("port 7 is taken".to_owned()));
    assert_eq!(
        settings.get_explained("SERVER_PORT", refuse).unwrap_err().to_string(),
        "SERVER_PORT = \"7\" (flag --port) is not accepted: port 7 is taken; expected a port, 0 to 65535"
    );
}

#[test]
fn only_variables_that_nearly_have_the_name_of_a_setting_are_misspelled() {
    let names =
        ["APP_SERVER_PROT", "APP_SERVER_PORT", "APP_SERVER_PORT_80_TCP", "HOME", "APP_BATCH"];
    let found = misspelled(App::TABLE, names.map(str::to_owned).into_iter());
    let (name, suggestion) = ("APP_SERVER_PROT".to_owned(), "APP_SERVER_PORT".to_owned());
    assert_eq!(found, [Misspelled { name, suggestion }]);
}

#[test]
fn a_key_without_a_default_that_no_source_sets_is_named_with_the_ways_to_set_it() {
    let error = resolve(&[], &[], &[]).unwrap().get("id", port).unwrap_err();
    assert_eq!(
        error.to_string(),
        "id is not set: expected an agency, 1|65535, from the flag --id, the environment variable APP_ID \
         or the key id in my.test"
    );
}

#[test]
fn an_unknown_key_of_the_file_is_an_error_that_offers_the_nearest_one() {
    let error = resolve(&[], &[], &[("id", "1"), ("server_prot", "80")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown key \"server_prot\" = \"80\" (my.test:2): did you mean SERVER_PORT? \
         known keys are SERVER_PORT, batch.maxAmount, id"
    );
    let error = resolve(&[], &[], &[("Batch.size", "10")]).unwrap_err();
    assert!(error.to_string().contains("(my.test:1): did you mean batch.maxAmount? known keys"));
    let error = resolve(&[], &[], &[("batch.size", "10"), ("batch.maxamount", "5")]).unwrap_err();
    assert!(error.to_string().contains("(my.test:1): known keys are"), "{error}");
    let error = resolve(&[], &[], &[("colour", "red")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown key \"colour\" = \"red\" (my.test:1): known keys are SERVER_PORT, batch.maxAmount, id"
    );
}

#[test]
fn the_effective_configuration_has_every_key_with_its_value_and_source() {
    let settings = resolve(&[("SERVER_PORT", "4")], &[("APP_ID", "a b")], &[]).unwrap();
    assert_eq!(
        settings.effective(),
        "SERVER_PORT=Some(\"4\") flag --port\nbatch.maxAmount=Some(\"50\") default\n\
         id=Some(\"a b\") environment APP_ID\n"
    );
    assert_eq!(settings.source("id"), &Source::Environment("APP_ID".to_owned()));
    let settings = resolve(&[], &[], &[("SERVER_PORT", "")]).unwrap();
    assert_eq!(
        settings.effective(),
        "SERVER_PORT=Some(\"\") my.test:1\nbatch.maxAmount=Some(\"50\") default\nid=None default\n",
        "a missing value is not an empty one"
    );
}

#[test]
fn no_file_at_all_leaves_the_defaults() {
    let none = Settings::resolve(&TABLE, &BTreeMap::new(), |_| None, None).unwrap();
    assert_eq!(none.get("SERVER_PORT", port).unwrap(), 12345);
    // The default file does not exist in the directory of the tests.
    assert_eq!(flags(&[]).resolve().unwrap().get("SERVER_PORT", port).unwrap(), 12345);
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_reason() {
    let error = flags(&["--config", "missing.test"]).resolve().unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the configuration file missing.test: No such file or directory (os error 2)"
    );
    let error = flags(&["--config", "Cargo.toml"]).resolve().unwrap_err();
    assert_eq!(error.to_string(), "the configuration file Cargo.toml has no = in line 1");
    let error = flags(&["--config", "/dev/zero"]).resolve().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the configuration file /dev/zero has more than 1048576 bytes; is it a configuration file?"
    );
}

#[test]
fn the_help_of_a_flag_names_its_variable_its_default_and_what_it_accepts() {
    let mut command = SettingFlags::<App>::augment_args(Command::new("app"));
    let short = command.render_help().to_string();
    assert!(short.contains("Port to listen on [env: APP_SERVER_PORT] [default: 12345]"), "{short}");
    let long = command.render_long_help().to_string();
    for part in [
        "Port to listen on. 0 takes any free one.",
        "Expected: a port, 0 to 65535",
        "[env: APP_ID]\n",
    ] {
        assert!(long.contains(part), "no {part:?} in {long}");
    }
}

#[test]
fn readme_shows_the_variables_only_if_they_differ_from_the_keys() {
    assert_eq!(
        TABLE.markdown(),
        "| key | environment | flag | default | values | meaning |\n\
         |---|---|---|---|---|---|\n\
         | `SERVER_PORT` | `APP_SERVER_PORT` | `--port` | `12345` | a port, 0 to 65535 | Port to listen on. 0 takes any free one. |\n\
         | `batch.maxAmount` | `APP_BATCH_MAXAMOUNT` | `--batch-max-amount` | `50` | a number, such as 1, 50 | Bets per batch |\n\
         | `id` | `APP_ID` | `--id` |  | an agency, 1\\|65535 | Number of the agency |\n"
    );
    static PLAIN: Table = Table {
        settings: &[Setting {
            key: "PORT",
            flag: "port",
            value_name: "PORT",
            default: "1",
            accepted: "a port",
            choices: &[],
            help: "Port",
            details: "",
        }],
        variable_prefix: "",
        file: "config.test",
        format: FileFormat { parse, write },
        global_flags: true,
    };
    let expected = "| key | flag | default | values | meaning |\n|---|---|---|---|---|\n\
                    | `PORT` | `--port` | `1` | a port | Port |\n";
    assert_eq!(PLAIN.markdown(), expected);
}
