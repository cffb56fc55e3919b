//! Settings: their sources, the values they accept and the errors for all others.

use std::time::Duration;

use lottery::protocol::{DIALECTS, Dialect};

use crate::support::{Ended, FakeCentral, Setup, THREE_ROWS};

/// A configuration of the course's shape, with values that no default has.
const FILE: &str = "\
server:
  address: \"file.example:1\"
loop:
  amount: 7
  period: \"150ms\"
log:
  level: \"DEBUG\"
batch:
  maxAmount: 11
id: 3
";

/// Returns the only line of standard error of a start that has to end with exit code 2.
fn complaint(setup: Setup) -> String {
    let ended = setup.finish();
    assert_eq!((ended.code, ended.lines.len()), (Some(2), 0), "{ended:?}");
    let mut lines = ended.errors.lines();
    let line = lines.next().unwrap().to_owned();
    assert_eq!(lines.next(), None, "{}", ended.errors);
    line
}

/// Runs `--print-config` and returns what it prints.
fn printed(setup: Setup) -> Ended {
    let ended = setup.args(["--print-config"]).finish();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended
}

/// Asserts that `--print-config` printed this value for the last part of a key, below its source.
fn assert_value(ended: &Ended, name: &str, value: &str, source: &str) {
    let wanted = [format!("# {source}"), format!("{name}: \"{value}\"")];
    let found = ended.lines.windows(2).any(|pair| {
        pair.iter().map(|line| line.trim_start()).eq(wanted.iter().map(String::as_str))
    });
    assert!(found, "no {wanted:?} in {:#?}", ended.lines);
}

#[test]
fn with_a_number_only_every_other_value_is_the_default() {
    let ended = printed(Setup::new().args(["--id", "4"]));
    let expected = [
        "# The effective configuration, and the source of each value.",
        "# flag --id",
        "id: \"4\"",
        "server:",
        "  # default",
        "  address: \"127.0.0.1:12345\"",
        "# default",
        "protocol: \"typed\"",
        "# default",
        "connection: \"auto\"",
        "# default",
        "data: \".data/agency-{id}.csv\"",
        "# default",
        "resume: \"auto\"",
        "# default",
        "state: \"{data}.resume\"",
        "batch:",
        "  # default",
        "  maxAmount: \"100\"",
        "loop:",
        "  # default",
        "  amount: \"5\"",
        "  # default",
        "  period: \"1s\"",
        "log:",
        "  # default",
        "  level: \"INFO\"",
        "  # default",
        "  format: \"text\"",
        "connect:",
        "  # default",
        "  timeout: \"60s\"",
        "reply:",
        "  # default",
        "  timeout: \"60s\"",
    ];
    assert_eq!(ended.lines, expected);
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let ended = printed(
        Setup::new()
            .file("config.yaml", FILE)
            .env("CLI_BATCH_MAXAMOUNT", "12")
            .env("CLI_LOOP_PERIOD", "2s")
            .env("CLI_LOG_LEVEL", "")
            .args(["--batch-max-amount", "13"]),
    );
    for (name, value, source) in [
        ("id", "3", "config.yaml:10"),
        ("address", "file.example:1", "config.yaml:2"),
        ("protocol", "typed", "default"),
        ("connection", "auto", "default"),
        ("data", ".data/agency-{id}.csv", "default"),
        ("maxAmount", "13", "flag --batch-max-amount"),
        ("amount", "7", "config.yaml:4"),
        ("period", "2s", "environment CLI_LOOP_PERIOD"),
        ("level", "DEBUG", "config.yaml:7"),
        ("timeout", "60s", "default"),
    ] {
        assert_value(&ended, name, value, source);
    }
}

#[test]
fn the_printed_configuration_can_be_saved_and_used() {
    let flags = ["--id", "3", "--data", "a \"b\" \\ # {id}.csv", "--loop-period", "1m5s"];
    let first = printed(Setup::new().env("CLI_PROTOCOL", "framed").args(flags));
    let saved = first.lines.join("\n");
    let second = printed(Setup::new().file("config.yaml", &saved));
    let values = |ended: &Ended| -> Vec<String> {
        ended.lines.iter().filter(|line| !line.trim_start().starts_with('#')).cloned().collect()
    };
    assert_eq!(values(&second), values(&first));
    assert!(!second.lines.iter().any(|line| line.contains("# default")), "{second:?}");
}

#[test]
fn every_key_has_a_flag_and_a_variable() {
    for (flag, variable, key, value) in [
        ("--id", "CLI_ID", "id", "9"),
        ("--server", "CLI_SERVER_ADDRESS", "server.address", "h:1"),
        ("--protocol", "CLI_PROTOCOL", "protocol", "typed"),
        ("--connection", "CLI_CONNECTION", "connection", "per-request"),
        ("--data", "CLI_DATA", "data", "x.csv"),
        ("--batch-max-amount", "CLI_BATCH_MAXAMOUNT", "batch.maxAmount", "9"),
        ("--loop-amount", "CLI_LOOP_AMOUNT", "loop.amount", "9"),
        ("--loop-period", "CLI_LOOP_PERIOD", "loop.period", "9s"),
        ("--log-level", "CLI_LOG_LEVEL", "log.level", "ERROR"),
        ("--log-format", "CLI_LOG_FORMAT", "log.format", "json"),
        ("--connect-timeout", "CLI_CONNECT_TIMEOUT", "connect.timeout", "9s"),
        ("--reply-timeout", "CLI_REPLY_TIMEOUT", "reply.timeout", "9s"),
    ] {
        let by_flag = printed(Setup::new().env("CLI_ID", "1").args([flag, value]));
        let name = key.rsplit('.').next().unwrap();
        assert_value(&by_flag, name, value, &format!("flag {flag}"));
        let by_variable = printed(Setup::new().file("config.yaml", "id: 1").env(variable, value));
        assert_value(&by_variable, name, value, &format!("environment {variable}"));
    }
}

#[test]
fn a_named_file_is_read_instead_of_the_default_one() {
    let setup = Setup::new()
        .file("config.yaml", "id: 1")
        .file("other.yaml", "id: 2")
        .args(["--config", "other.yaml"]);
    assert_value(&printed(setup), "id", "2", "other.yaml:1");
}

#[test]
fn a_named_file_that_is_missing_is_an_error() {
    let line = complaint(Setup::new().args(["--id", "1", "--config", "other.yaml"]));
    assert!(
        line.starts_with("client: cannot read the configuration file other.yaml: No such file"),
        "{line}"
    );
}

#[test]
fn a_missing_number_is_named_with_the_ways_to_set_it() {
    assert_eq!(
        complaint(Setup::new()),
        "client: id is not set: expected a number from 1 to 65535, from the flag --id, \
         the environment variable CLI_ID or the key id in config.yaml"
    );
}

#[test]
fn an_unknown_key_is_named_with_its_value_its_line_and_the_most_similar_key() {
    let line = complaint(Setup::new().file("config.yaml", "id: 1\nbatch:\n  maxAmmount: 10\n"));
    let expected = "client: unknown key \"batch.maxAmmount\" = \"10\" (config.yaml:3): did you mean batch.maxAmount? known keys are id, ";
    assert!(line.starts_with(expected), "{line}");
}

#[test]
fn each_bad_value_is_named_with_key_value_source_and_what_is_accepted() {
    for (flag, value, expected) in [
        ("--id", "0", "id = \"0\" (flag --id) is not accepted: expected a number from 1 to 65535"),
        ("--id", "-1", "id = \"-1\" (flag --id) is not accepted"),
        ("--id", "65536", "id = \"65536\""),
        (
            "--server",
            "server",
            "server.address = \"server\" (flag --server) is not accepted: expected host:port",
        ),
        (
            "--data",
            "",
            "data = \"\" (flag --data) is not accepted: expected the path of a CSV file",
        ),
        ("--batch-max-amount", "0", "batch.maxAmount = \"0\""),
        ("--batch-max-amount", "many", "batch.maxAmount = \"many\""),
        ("--loop-amount", "1.5", "loop.amount = \"1.5\""),
        (
            "--loop-period",
            "5",
            "loop.period = \"5\" (flag --loop-period) is not accepted: expected a duration above zero",
        ),
        ("--loop-period", "0s", "loop.period = \"0s\""),
        (
            "--log-level",
            "LOUD",
            "log.level = \"LOUD\" (flag --log-level) is not accepted: expected DEBUG, INFO, WARNING",
        ),
        ("--connect-timeout", "-1s", "connect.timeout = \"-1s\""),
        ("--reply-timeout", "0", "reply.timeout = \"0\""),
    ] {
        let line = complaint(Setup::new().env("CLI_ID", "1").args([flag, value]));
        assert!(line.starts_with(&format!("client: {expected}")), "{line}");
    }
    let line = complaint(Setup::new().env("CLI_ID", "uno\ndos"));
    assert!(
        line.starts_with("client: id = \"uno\\ndos\" (environment CLI_ID) is not accepted"),
        "{line}"
    );
    let line = complaint(Setup::new().file("config.yaml", "id: 1\nloop: {period: soon}\n"));
    assert!(
        line.starts_with("client: loop.period = \"soon\" (config.yaml:2) is not accepted"),
        "{line}"
    );
}

#[test]
fn every_dialect_is_accepted_by_its_name_and_the_error_for_another_name_lists_them() {
    let names: Vec<_> = DIALECTS.iter().map(|dialect| dialect.name).collect();
    for name in &names {
        let ended = Setup::new().args(["--id", "1", "--protocol", name, "--check-config"]).finish();
        assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
    }
    let line = complaint(Setup::new().args(["--id", "1", "--protocol", "morse"]));
    let names = names.join(", ");
    assert_eq!(
        line,
        format!(
            "client: protocol = \"morse\" (flag --protocol) is not accepted: expected one of {names}"
        )
    );
}

#[test]
fn a_number_that_the_dialect_cannot_encode_is_refused_and_the_largest_that_it_can_is_accepted() {
    for dialect in DIALECTS {
        let start = |id: u32| {
            let id = id.to_string();
            Setup::new().args(["--protocol", dialect.name, "--check-config"]).env("CLI_ID", &id)
        };
        let most = u32::from(dialect.max_agency);
        assert_eq!(start(most).finish().code, Some(0), "{}", dialect.name);
        let line = complaint(start(most + 1));
        let name = dialect.name;
        let expected = match most {
            65535 => "a number from 1 to 65535".to_owned(),
            _ => format!("a number from 1 to {most}, the largest that {name} can encode"),
        };
        let id = most + 1;
        assert_eq!(
            line,
            format!(
                "client: id = \"{id}\" (environment CLI_ID) is not accepted: expected {expected}"
            )
        );
    }
}

#[test]
fn a_use_of_connections_that_the_dialect_does_not_allow_is_refused_with_those_it_allows() {
    for (protocol, connection, expected) in [
        ("typed", "kept", "auto or per-request, which typed allows"),
        ("sentinel", "per-request", "auto or kept, which sentinel allows"),
        ("framed", "both", "auto or kept or per-request, which framed allows"),
    ] {
        let flags = ["--id", "1", "--protocol", protocol, "--connection", connection];
        assert_eq!(
            complaint(Setup::new().args(flags)),
            format!(
                "client: connection = \"{connection}\" (flag --connection) is not accepted: expected {expected}"
            )
        );
    }
    for dialect in DIALECTS {
        for connection in
            dialect.connections.iter().map(|connection| connection.name()).chain(["auto"])
        {
            let flags = ["--id", "1", "--protocol", dialect.name, "--connection", connection];
            assert_eq!(Setup::new().args(flags).args(["--check-config"]).finish().code, Some(0));
        }
    }
}

#[test]
fn a_file_that_is_not_a_configuration_is_refused_with_the_reason() {
    for (content, reason) in [
        ("id: [1", "client: the configuration file config.yaml is not YAML: "),
        (
            "- id\n",
            "client: the configuration file config.yaml has a list at the top: expected key: value",
        ),
        (
            "loop: {period: [1s]}\n",
            "client: the configuration file config.yaml has a list at loop.period",
        ),
        ("id: 1\nid: 2\n", "client: the configuration file config.yaml is not YAML: "),
        (
            &"#".repeat(2 << 20),
            "client: the configuration file config.yaml has more than 1048576 bytes",
        ),
    ] {
        let line = complaint(Setup::new().args(["--id", "1"]).file("config.yaml", content));
        assert!(line.starts_with(reason), "{line}");
    }
}

#[test]
fn a_file_of_comments_only_sets_nothing() {
    let ended = printed(Setup::new().file("config.yaml", "# nothing\n").args(["--id", "1"]));
    assert_eq!((ended.count("# default"), ended.count("config.yaml")), (13, 0), "{ended:?}");
}

#[test]
fn an_invalid_configuration_is_printed_too() {
    let ended = printed(Setup::new().args(["--loop-period", "soon"]));
    assert_value(&ended, "period", "soon", "flag --loop-period");
    assert_eq!(ended.lines[1..3], ["# not set", "# id:"]);
    assert_eq!(ended.errors, "");
}

#[test]
fn checking_reports_a_valid_configuration_and_starts_nothing() {
    let fine = Setup::new().args(["--id", "1", "--check-config"]).finish();
    assert_eq!(
        (fine.code, fine.lines.as_slice()),
        (Some(0), &["the configuration is valid".to_owned()][..])
    );
    complaint(Setup::new().args(["--id", "x", "--check-config"]));
}

#[test]
fn an_unknown_flag_is_wrong_usage() {
    let ended = Setup::new().args(["--frobnicate"]).finish();
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("--frobnicate"), "{}", ended.errors);
}

#[test]
fn a_mistyped_flag_or_command_is_answered_with_the_one_that_was_meant() {
    for (argument, meant) in [("--loop-periode", "'--loop-period'"), ("generat", "'generate'")] {
        let ended = Setup::new().args([argument]).finish();
        assert_eq!(ended.code, Some(2));
        assert!(ended.errors.contains(meant), "{}", ended.errors);
    }
}

#[test]
fn completions_and_manual_pages_are_printed_even_with_a_broken_configuration() {
    for (arguments, parts) in [
        (&["completions", "bash"][..], &["--loop-period", "generate", "auto kept per-request"][..]),
        (&["completions", "zsh"], &["--loop-period", "generate"]),
        (&["completions", "fish"], &["loop-period", "generate"]),
        (&["man"], &["national lottery", "CLI_LOOP_PERIOD", "loteria\\-agency\\-check(1)"]),
        (&["man", "check"], &["HOST:PORT"]),
    ] {
        let setup = Setup::new().file("config.yaml", "- broken");
        let ended = arguments.iter().fold(setup, |setup, it| setup.args([it])).finish();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for part in parts {
            assert!(ended.count(part) > 0, "no {part} in {ended:?}");
        }
    }
    assert_eq!(Setup::new().args(["man", "dance"]).finish().code, Some(2));
}

#[test]
fn help_and_version_go_to_standard_output_with_exit_code_0() {
    let version = Setup::new().args(["--version"]).finish();
    assert_eq!((version.code, version.lines.len()), (Some(0), 1));
    assert!(version.lines[0].starts_with("loteria-agency "), "{version:?}");
    let help = Setup::new().args(["--help"]).finish();
    assert_eq!(help.code, Some(0));
    let dialects = format!("one of {}", Dialect::names());
    for text in [
        "generate",
        "--batch-max-amount",
        "CLI_BATCH_MAXAMOUNT",
        "[default: 60s]",
        "--without-count",
        &dialects,
        "NOMBRE",
        "Exit codes",
    ] {
        assert!(help.count(text) > 0, "no {text} in {help:?}");
    }
}

#[test]
fn the_log_shows_the_level_as_it_was_given_and_obeys_it() {
    let central = FakeCentral::new();
    let setup =
        Setup::agency(central.address(), THREE_ROWS).args(["--log-level", "warning"]).start();
    central.accept_batch();
    central.answer_total(1);
    assert_eq!(setup.finish().lines, Vec::<String>::new());
    let setup = Setup::agency(central.address(), THREE_ROWS).args(["--log-level", "Debug"]).start();
    central.accept_batch();
    central.answer_total(1);
    assert!(setup.finish().line("config").contains("log_level: Debug"));
}

#[test]
fn a_long_run_logs_its_progress_unless_a_flag_forbids_it() {
    let rows = THREE_ROWS.replace("\r\n", "\n").repeat(2);
    let run = |flags: &[&str]| {
        let central = FakeCentral::new();
        let mut setup = Setup::agency(central.address(), &rows).args(["--batch-max-amount", "3"]);
        for flag in flags {
            setup = setup.args([flag]);
        }
        let agency = setup.start();
        let mut connection = central.accept();
        connection.read_batch();
        // Longer than the time between two progress lines.
        std::thread::sleep(Duration::from_millis(5_100));
        connection.reply(&[0, 0]);
        central.accept_batch();
        central.answer_total(1);
        let ended = agency.finish();
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
        ended.assert_log_parses();
        ended
    };
    let shown = run(&[]);
    let line = shown.line("progress");
    let begin = "action: progress | result: in_progress | client_id: 1 | bets: 3 | \
                 bets_per_second: 1 | percent: 50 | ";
    assert!(line.starts_with(begin) && line.ends_with("| remaining: 6s"), "{line}");
    assert_eq!(run(&["--no-progress"]).count("progress"), 0);
}
