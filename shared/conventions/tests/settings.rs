//! What a user may rely on when a value can come from several places.

use std::collections::BTreeMap;
use std::path::PathBuf;

use conventions::settings::{Key, Settings, SettingsError, Source};

const KEYS: &[Key] = &[
    Key {
        name: "SERVER_PORT",
        default: "12345",
        accepted: "a port, 0 to 65535",
        help: "port to listen on",
    },
    Key {
        name: "batch.maxAmount",
        default: "50",
        accepted: "a number from 1 on",
        help: "bets per batch",
    },
    Key {
        name: "id",
        default: "",
        accepted: "an agency, 1 to 65535",
        help: "number of the agency",
    },
];

/// What each source says about a key: pairs of key name and value.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn resolve(flags: Pairs, environment: Pairs, file: Pairs) -> Result<Settings, SettingsError> {
    let flags: BTreeMap<_, _> = flags
        .iter()
        .map(|(key, value)| ((*key).to_owned(), ("--port".to_owned(), (*value).to_owned())))
        .collect();
    let variable = |key: &str| format!("APP_{}", key.replace('.', "_").to_uppercase());
    let lookup = |name: &str| {
        environment
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| (*value).to_owned())
    };
    let pairs = file.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Settings::resolve(KEYS, &flags, variable, lookup, Some((PathBuf::from("config.ini"), pairs)))
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok()
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
    assert_eq!(port_from(&[], &[], file), (2, "config.ini".to_owned()));
    assert_eq!(port_from(&[], &[], &[]), (12345, "default".to_owned()));
}

#[test]
fn a_variable_that_is_set_but_empty_counts_as_not_set() {
    let settings = resolve(&[], &[("APP_SERVER_PORT", "")], &[("SERVER_PORT", "2")]).unwrap();
    assert_eq!(settings.text("SERVER_PORT"), "2");
}

#[test]
fn an_empty_value_in_the_file_is_a_value_and_is_judged() {
    let settings = resolve(&[], &[], &[("SERVER_PORT", "")]).unwrap();
    let message = settings.get("SERVER_PORT", port).unwrap_err().to_string();
    assert_eq!(
        message,
        "SERVER_PORT = \"\" (config.ini) is not accepted: expected a port, 0 to 65535"
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
}

#[test]
fn a_bad_value_is_named_in_one_line_with_its_source_and_the_accepted_form() {
    let settings = resolve(&[], &[("APP_SERVER_PORT", "12x\n45")], &[]).unwrap();
    let error = settings.get("SERVER_PORT", port).unwrap_err();
    assert_eq!(
        error.to_string(),
        "SERVER_PORT = \"12x\\n45\" (environment APP_SERVER_PORT) is not accepted: expected a port, 0 to 65535"
    );
}

#[test]
fn a_key_without_default_that_nobody_set_is_named_with_the_way_to_set_it() {
    let settings = resolve(&[], &[], &[]).unwrap();
    let error = settings.get("id", port).unwrap_err();
    assert_eq!(
        error.to_string(),
        "id is not set: expected an agency, 1 to 65535, from the environment (APP_ID) or the configuration file"
    );
}

#[test]
fn an_unknown_key_of_the_file_is_an_error_that_offers_the_nearest_one() {
    let error = resolve(&[], &[], &[("server_prot", "80")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown key \"server_prot\" = \"80\" (config.ini): did you mean SERVER_PORT? \
         known keys are SERVER_PORT, batch.maxAmount, id"
    );
    let error = resolve(&[], &[], &[("colour", "red")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown key \"colour\" = \"red\" (config.ini): known keys are SERVER_PORT, batch.maxAmount, id"
    );
}

#[test]
fn the_table_shows_every_key_with_its_value_and_source_on_one_line() {
    let settings = resolve(&[("SERVER_PORT", "4")], &[("APP_ID", "a\nb")], &[]).unwrap();
    assert_eq!(
        settings.table(),
        "SERVER_PORT = 4  (flag --port)\nbatch.maxAmount = 50  (default)\nid = a\\nb  (environment APP_ID)\n"
    );
    assert_eq!(settings.source("id"), &Source::Environment("APP_ID".to_owned()));
}

#[test]
fn no_file_at_all_leaves_the_defaults() {
    let none = Settings::resolve(KEYS, &BTreeMap::new(), str::to_owned, |_| None, None).unwrap();
    assert_eq!(none.get("SERVER_PORT", port), Ok(12345));
}
