//! The table of an agency's settings.

use conventions::logger::Format;
use conventions::settings::{FileFormat, Program, Setting, SettingFlags, Table};
use lottery::protocol::Dialect;

use super::yaml;

/// The value of `connection` that leaves the choice to the dialect.
pub(crate) const AUTO: &str = "auto";

/// The settings of an agency.
pub(crate) static TABLE: Table = Table {
    settings: SETTINGS,
    variable_prefix: "CLI_",
    file: "config.yaml",
    format: FileFormat { parse: yaml::parse, write: yaml::write },
    // `generate` and `check` have flags of their own.
    global_flags: false,
};

/// This program, as the owner of the table.
#[derive(Debug)]
pub(crate) struct ClientProgram;

impl Program for ClientProgram {
    const TABLE: &'static Table = &TABLE;
}

/// The flags of an agency's settings.
pub(crate) type Flags = SettingFlags<ClientProgram>;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "id",
        flag: "id",
        value_name: "N",
        default: "",
        accepted: "a number from 1 to 65535",
        choices: &[],
        help: "Number of the agency",
        details: "",
    },
    Setting {
        key: "server.address",
        flag: "server",
        value_name: "HOST:PORT",
        default: "127.0.0.1:12345",
        accepted: "host:port, such as server:12345 or [::1]:12345, or several separated by commas",
        choices: &[],
        help: "Address of the central",
        details: "With several addresses, a failure selects the next one. All must belong to one \
                  lottery.",
    },
    Setting {
        key: "protocol",
        flag: "protocol",
        value_name: "DIALECT",
        default: "typed",
        accepted: "one of {choices}",
        choices: &Dialect::NAMES,
        help: "Wire dialect",
        details: "",
    },
    Setting {
        key: "connection",
        flag: "connection",
        value_name: "USE",
        default: AUTO,
        accepted: "auto, kept or per-request",
        choices: &[AUTO, "kept", "per-request"],
        help: "Use of connections",
        details: "kept: one connection for everything. per-request: a new one for each request. \
                  auto: the way that the dialect prefers.",
    },
    Setting {
        key: "data",
        flag: "data",
        value_name: "FILE",
        default: ".data/agency-{id}.csv",
        accepted: "the path of a CSV file, where {id} stands for the agency's number",
        choices: &[],
        help: "File of the agency's bets",
        details: "Columns: first name, last name, document, birthdate and optionally number.",
    },
    Setting {
        key: "resume",
        flag: "resume",
        value_name: "WHEN",
        default: AUTO,
        accepted: "auto, on or off",
        choices: &[AUTO, "on", "off"],
        help: "Continue after the rows that earlier runs have sent",
        details: "auto: on in a dialect whose batches have keys, off in the others.",
    },
    Setting {
        key: "state",
        flag: "state",
        value_name: "FILE",
        default: "{data}.resume",
        accepted: "a path, where {data} stands for the file of bets and {id} for the agency's number",
        choices: &[],
        help: "File that a run which can be resumed writes",
        details: "",
    },
    Setting {
        key: "batch.maxAmount",
        flag: "batch-max-amount",
        value_name: "N",
        default: "100",
        accepted: "a number from 1 to 65535",
        choices: &[],
        help: "Largest number of bets in a batch",
        details: "A packet never exceeds 8192 bytes, so a batch of long bets has fewer.",
    },
    Setting {
        key: "loop.amount",
        flag: "loop-amount",
        value_name: "N",
        default: "5",
        accepted: "a number from 1 to 4294967295",
        choices: &[],
        help: "Number of messages in the echo exercise",
        details: "The other dialects ignore it.",
    },
    Setting {
        key: "loop.period",
        flag: "loop-period",
        value_name: "TIME",
        default: "1s",
        accepted: "a duration above zero, such as 5s, 150ms or 1m5s",
        choices: &[],
        help: "Time between two queries for winners, or between two messages of the echo exercise",
        details: "",
    },
    Setting {
        key: "log.level",
        flag: "log-level",
        value_name: "LEVEL",
        default: "INFO",
        accepted: "DEBUG, INFO, WARNING or ERROR",
        choices: &["DEBUG", "INFO", "WARNING", "ERROR"],
        help: "Lowest level that is logged",
        details: "",
    },
    Setting {
        key: "log.format",
        flag: "log-format",
        value_name: "FORMAT",
        default: "text",
        accepted: "text or json",
        choices: &Format::NAMES,
        help: "Layout of the log lines",
        details: "json: one object per line, with the same keys and the time in UTC.",
    },
    Setting {
        key: "connect.timeout",
        flag: "connect-timeout",
        value_name: "TIME",
        default: "60s",
        accepted: "a duration, such as 60s; 0s for a single attempt",
        choices: &[],
        help: "Time during which the agency keeps trying to reach the central",
        details: "",
    },
    Setting {
        key: "reply.timeout",
        flag: "reply-timeout",
        value_name: "TIME",
        default: "60s",
        accepted: "a duration above zero, such as 60s",
        choices: &[],
        help: "Time for a reply",
        details: "A reply that waits for the draw may take any time.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_spelled_as_the_course_spells_them() {
        let variable = |key| TABLE.variable(TABLE.find(key).unwrap());
        assert_eq!(variable("batch.maxAmount"), "CLI_BATCH_MAXAMOUNT");
        assert_eq!(variable("id"), "CLI_ID");
    }

    #[test]
    fn readme_has_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agency.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let table = TABLE.markdown();
        assert!(
            readme.contains(&table),
            "docs/agency.md needs this table of the client:\n\n{table}"
        );
    }

    #[test]
    fn the_configuration_file_of_the_repository_shows_every_setting_and_its_default() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.yaml");
        let file = std::fs::read_to_string(path).unwrap();
        let with_defaults: Vec<_> = file
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|it| it.contains(": ")).unwrap_or(line))
            .collect();
        let values = yaml::parse(&with_defaults.join("\n")).unwrap();
        for Setting { key, default, .. } in TABLE.settings {
            // An agency gets its number from the environment, and the file names the central's
            // container.
            let expected = match *key {
                "id" => continue,
                "server.address" => "server:12345",
                _ => default,
            };
            let found = values.iter().find(|value| value.key == *key);
            assert_eq!(found.map(|value| value.value.as_str()), Some(expected), "{key}");
        }
    }
}
