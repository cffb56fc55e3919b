//! Settings: their sources, the values they accept and the errors for all others.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::harness::Setup;

/// Exit code for wrong usage or configuration.
const USAGE: i32 = 2;

/// Every key with its default, a value for the file, one for the environment, one for the flag, and
/// the flag.
const KEYS: &[(&str, &str, &str, &str, &str, &str)] = &[
    ("SERVER_PORT", "12345", "1001", "1002", "1003", "--port"),
    ("SERVER_IP", "0.0.0.0", "127.0.0.1", "127.0.0.2", "127.0.0.3", "--ip"),
    ("SERVER_LISTEN_BACKLOG", "1024", "11", "12", "13", "--listen-backlog"),
    ("LOGGING_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR", "--logging-level"),
    ("SERVER_LOG_FORMAT", "text", "json", "text", "json", "--log-format"),
    ("SERVER_LOG_FILE", "stderr", "a.log", "b.log", "c.log", "--log-file"),
    ("SERVER_PROTOCOL", "typed", "from-file", "from-environment", "typed", "--protocol"),
    ("SERVER_WORKERS", "auto", "3", "4", "5", "--workers"),
    ("SERVER_AGENCIES", "5", "6", "7", "8", "--agencies"),
    ("SERVER_ROSTER", "none", "a.csv", "b.csv", "none", "--roster"),
    ("SERVER_DRAW", "automatic", "confirm", "automatic", "confirm", "--draw"),
    ("SERVER_EARLY_QUERY", "wait", "refuse", "wait", "refuse", "--early-query"),
    ("SERVER_STORAGE", "files", "postgres://u@a/d", "files", "postgres://u@b:1/d", "--storage"),
    ("SERVER_CENTRAL_NAME", "auto", "a", "b", "c", "--central-name"),
    ("SERVER_LOTTERY", "nacional", "a", "b", "c", "--lottery"),
    ("SERVER_STORAGE_DIR", "./storage", "a # b", "c;d", "e = f", "--storage-dir"),
    ("SERVER_DURABILITY", "disk", "process", "disk", "process", "--durability"),
    ("SERVER_GRACE", "8s", "1s", "2s", "1m30s", "--grace"),
    ("SERVER_REQUEST_TIMEOUT", "30s", "100ms", "5s", "6s", "--request-timeout"),
    ("SERVER_IDLE_TIMEOUT", "5m", "100ms", "5s", "6s", "--idle-timeout"),
    ("SERVER_HEARTBEAT_TIMEOUT", "5s", "1s", "0", "10s", "--heartbeat-timeout"),
    ("SERVER_STALL_TIME", "500ms", "100ms", "5s", "6s", "--stall-time"),
    ("SERVER_CONNECTIONS", "8192", "16", "17", "18", "--connections"),
    ("SERVER_LOG_LINES", "1000", "1", "2", "3", "--log-lines"),
    ("SERVER_MONITOR", "off", "127.0.0.1:1", "[::1]:2", "off", "--monitor"),
];

/// An empty working directory, with an empty environment.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with_file(text: impl AsRef<[u8]>) -> Self {
        let place = Self::new();
        fs::write(place.path().join("config.ini"), text).unwrap();
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loteria-central"));
        command.env_clear().current_dir(self.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

/// Returns what `--print-config` must print with these values and sources.
fn effective(value: impl Fn(usize) -> &'static str, source: impl Fn(usize) -> String) -> String {
    let lines =
        |index: usize| format!("# {}\n{} = {}\n", source(index), KEYS[index].0, value(index));
    let head = "# The effective configuration, and the source of each value.\n[DEFAULT]\n";
    head.to_owned() + &(0..KEYS.len()).map(lines).collect::<String>()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Returns the only line that a refused start prints.
fn complaint(output: &Output) -> String {
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(USAGE), ""), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn assert_names(complaint: &str, parts: &[&str]) {
    for part in parts {
        assert!(complaint.contains(part), "no {part:?} in {complaint:?}");
    }
}

#[test]
fn a_flag_overrides_the_environment_which_overrides_the_file_which_overrides_the_default() {
    let place = Place::new();
    let shown = || {
        let output = place.run(&["--print-config"]);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let expected = effective(|i| KEYS[i].1, |_| "default".to_owned());
    assert_eq!(shown(), (Some(0), expected, String::new()));

    let pairs: String = KEYS.iter().map(|key| format!("{} = {}\n", key.0, key.2)).collect();
    fs::write(place.path().join("config.ini"), format!("[DEFAULT]\n{pairs}")).unwrap();
    let expected = effective(|i| KEYS[i].2, |i| format!("config.ini:{}", i + 2));
    assert_eq!(shown(), (Some(0), expected, String::new()));

    let environment: Vec<_> = KEYS.iter().map(|key| (key.0, key.3)).collect();
    let output =
        place.command(&["run", "--print-config"]).envs(environment.clone()).output().unwrap();
    let expected = effective(|i| KEYS[i].3, |i| format!("environment {}", KEYS[i].0));
    assert_eq!(text(&output.stdout), expected);

    let flags: Vec<_> = KEYS.iter().flat_map(|key| [key.5, key.4]).collect();
    let output = place.command(&flags).arg("--print-config").envs(environment).output().unwrap();
    let expected = effective(|i| KEYS[i].4, |i| format!("flag {}", KEYS[i].5));
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn the_printed_configuration_can_be_saved_and_used() {
    let place = Place::new();
    let flags: Vec<_> = KEYS.iter().flat_map(|key| [key.5, key.4]).collect();
    let printed = place.command(&flags).arg("--print-config").output().unwrap().stdout;
    fs::write(place.path().join("saved.ini"), printed).unwrap();
    let output = place.run(&["--config", "saved.ini", "--print-config"]);
    // Two lines precede the values, and a comment precedes each of them.
    let expected = effective(|i| KEYS[i].4, |i| format!("saved.ini:{}", 2 * i + 4));
    assert_eq!(text(&output.stdout), expected);
    // What only files have is refused with a database.
    let with_defaults = ["--storage-dir", "./storage", "--durability", "disk"];
    let check = ["--config", "saved.ini", "--check-config"];
    assert_eq!(place.run(&[&check[..], &with_defaults].concat()).status.code(), Some(0));
    let defaults = place.run(&["--print-config"]).stdout;
    fs::write(place.path().join("defaults.ini"), defaults).unwrap();
    for storage in ["files", "postgres://u@a/d"] {
        let output =
            place.run(&["--config", "defaults.ini", "--storage", storage, "--check-config"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn a_setting_that_the_chosen_storage_does_not_have_is_refused() {
    let place = Place::new();
    let (database, files) = ("postgres://u:secret@a/d", "files");
    for (storage, key, flag, value, reason) in [
        (database, "SERVER_STORAGE_DIR", "--storage-dir", "bets", "a database"),
        (database, "SERVER_DURABILITY", "--durability", "process", "a database"),
        (files, "SERVER_CENTRAL_NAME", "--central-name", "a", "files"),
        (files, "SERVER_LOTTERY", "--lottery", "a", "files"),
    ] {
        for command in ["run", "status", "verify"] {
            let said = complaint(&place.run(&[command, "--storage", storage, flag, value]));
            let place = format!("{key} = \"{value}\" (flag {flag})");
            let way_out = format!("remove {key}, or change the storage");
            assert_names(&said, &[&place, &format!("SERVER_STORAGE is {reason}"), &way_out]);
            assert!(!said.contains("secret"), "{said}");
        }
    }
}

#[test]
fn an_empty_environment_variable_counts_as_not_set() {
    let output = Place::new().command(&["--print-config"]).env("SERVER_PORT", "").output().unwrap();
    assert!(text(&output.stdout).contains("# default\nSERVER_PORT = 12345\n"));
}

#[test]
fn a_file_named_by_a_flag_is_read_instead_of_the_default_one() {
    let place = Place::with_file("[DEFAULT]\nSERVER_PORT = 1\n");
    fs::write(place.path().join("other.ini"), "[DEFAULT]\nserver_port = 2\n").unwrap();
    let output = place.run(&["--config", "other.ini", "--print-config"]);
    assert!(text(&output.stdout).contains("# other.ini:2\nSERVER_PORT = 2\n"));
}

#[test]
fn the_later_line_counts_for_a_key_in_two_spellings() {
    let place = Place::with_file("[DEFAULT]\nserver_port = 1\nSERVER_PORT = 2\nServer_Port = 3\n");
    let output = place.run(&["--print-config"]);
    assert!(text(&output.stdout).contains("# config.ini:4\nSERVER_PORT = 3\n"));
}

#[test]
fn the_file_in_the_repository_and_no_file_at_all_are_accepted() {
    let place = Place::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config.ini");
    for arguments in
        [&["--check-config"][..], &["run", "--check-config"], &["--config", file, "--check-config"]]
    {
        let output = place.run(arguments);
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), String::new()),
            "{arguments:?}"
        );
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "checking leaves nothing behind");
}

#[test]
fn a_bad_value_of_any_key_is_named_with_its_source_and_the_accepted_values() {
    let bad = [
        ("SERVER_PORT", &["65536", "-1", "http", " ", "1\n2", "x|y"][..], "0 to 65535"),
        ("SERVER_IP", &[" ", "1.2.3.256", "::1/128"], "an IP address, several"),
        ("SERVER_LISTEN_BACKLOG", &["0", "65536", "many"], "1 to 65535"),
        ("LOGGING_LEVEL", &["LOUD"], "DEBUG, INFO, WARNING or ERROR"),
        (
            "SERVER_PROTOCOL",
            &["udp", "Typed", "typed,typed", "typed:1,typed:1", "typed:65536"],
            "dialects: typed",
        ),
        ("SERVER_WORKERS", &["0", "1025", "-1", "all"], "1 to 1024, or auto"),
        ("SERVER_AGENCIES", &["0", "65536", "x"], "1 to 65535"),
        ("SERVER_DURABILITY", &["ram"], "disk or process"),
        ("SERVER_GRACE", &["99ms", "8", "soon", "-8s"], "at least 100ms"),
        ("SERVER_REQUEST_TIMEOUT", &["0s", "30"], "at least 100ms"),
        ("SERVER_IDLE_TIMEOUT", &["0s", "30"], "at least 100ms"),
        ("SERVER_HEARTBEAT_TIMEOUT", &["999ms", "5", "never"], "at least 1s"),
        ("SERVER_STALL_TIME", &["0s", "30"], "at least 100ms"),
        ("SERVER_CONNECTIONS", &["15", "65536", "many"], "16 to 65535"),
        ("SERVER_LOG_LINES", &["0", "-1", "1000001"], "1 to 1000000"),
        ("SERVER_MONITOR", &["on", "9100", "localhost:9100"], "an address with a port"),
        ("SERVER_EARLY_QUERY", &["ignore"], "wait or refuse"),
        ("SERVER_DRAW", &["manual"], "automatic or confirm"),
        ("SERVER_STORAGE", &["disk", "mysql://h/d"], "the URL of a PostgreSQL database"),
        ("SERVER_LOTTERY", &["a b", "'"], "1 to 63 letters"),
    ];
    let place = Place::new();
    for (key, values, accepted) in bad {
        for value in values {
            let said =
                complaint(&place.command(&["--check-config"]).env(key, value).output().unwrap());
            let shown = format!("{key} = {value:?} (environment {key})").replace('|', "¦");
            assert_names(&said, &[&shown, "expected ", accepted]);
        }
    }
    // Starting, checking and the commands that inspect a running central apply the same rules.
    for command in ["run", "status", "health", "ipcs"] {
        let said = complaint(&place.run(&[command, "--port", "high"]));
        assert_names(&said, &["SERVER_PORT = \"high\" (flag --port)", "0 to 65535"]);
    }
    let said = complaint(&place.run(&["--storage-dir", "", "--check-config"]));
    assert_names(&said, &["SERVER_STORAGE_DIR = \"\" (flag --storage-dir)", "a directory"]);
    let said = complaint(&Place::with_file("[DEFAULT]\nSERVER_GRACE = x\n").run(&[]));
    assert_names(&said, &["SERVER_GRACE = \"x\" (config.ini:2)", "a duration"]);
}

#[test]
fn an_unknown_key_is_named_with_its_value_its_line_and_the_most_similar_key() {
    let said = complaint(&Place::with_file("[DEFAULT]\nSERVER_PROT = 5\n").run(&[]));
    assert_names(&said, &["\"SERVER_PROT\"", "\"5\"", "config.ini:2", "did you mean SERVER_PORT?"]);
    let said = complaint(&Place::with_file("[DEFAULT]\ncolour = blue\n").run(&["--check-config"]));
    assert_names(
        &said,
        &["\"colour\"", "\"blue\"", "config.ini:2", "known keys are SERVER_PORT, "],
    );
}

#[test]
fn a_list_of_dialects_that_is_refused_says_what_to_write() {
    for (list, reason) in [
        ("typed,framed", "typed and framed have no port"),
        ("typed:1,framed:1", "typed and framed both use port 1"),
        ("typed,framed:12345", "typed has no port and uses SERVER_PORT"),
        ("typd", "did you mean typed?"),
    ] {
        let said = complaint(&Place::new().run(&["--protocol", list, "--check-config"]));
        assert_names(&said, &[&format!("SERVER_PROTOCOL = {list:?} (flag --protocol)"), reason]);
    }
}

#[test]
fn a_variable_that_looks_like_a_mistyped_setting_is_named_with_the_setting_and_ignored() {
    let setup = Setup::new().with("SERVER_AGENCIS", "9").with("SERVER_PORT_80_TCP", "tcp://1");
    let central = setup.start();
    let line = central.program.line_with(" WARNING ");
    assert_names(&line, &["SERVER_AGENCIS", "did you mean SERVER_AGENCIES?"]);
    assert_eq!(central.program.count_lines_with(" WARNING "), 1);
    assert_eq!(central.number("agencies_expected"), 5);
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_reason() {
    let said = complaint(&Place::new().run(&["--config", "missing.ini"]));
    assert_names(&said, &["missing.ini", "No such file"]);
    let said = complaint(&Place::new().run(&["--config", "."]));
    assert_names(&said, &["configuration file .", "directory"]);
    let files: [(&[u8], &str); 5] = [
        (b"[DEFAULT\nSERVER_PORT = 1\n", "is not an INI file: line 1"),
        (b"[DEFAULT]\n\xff\xfe\n", "UTF-8"),
        (b"[CLIENT]\nSERVER_PORT = 1\n", "the unknown section [CLIENT]"),
        (b"[DEFAULT]\nthis is prose\n", "this is prose"),
        (&[b'#'; 2 << 20], "more than 1048576 bytes"),
    ];
    for (file, reason) in files {
        assert_names(
            &complaint(&Place::with_file(file).run(&["--check-config"])),
            &["config.ini", reason],
        );
    }
}

#[test]
fn a_byte_order_mark_at_the_start_of_the_file_is_skipped() {
    let place = Place::with_file("\u{feff}[DEFAULT]\nSERVER_WORKERS = 3\n");
    let shown = text(&place.run(&["--print-config"]).stdout);
    assert!(shown.contains("SERVER_WORKERS = 3"), "{shown}");
}

#[test]
fn help_and_version_exit_with_0_and_wrong_usage_does_not() {
    let place = Place::new();
    for (argument, part) in [("--help", "Exit codes:"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let output = place.run(&[argument]);
        assert_eq!(output.status.code(), Some(0), "{argument}");
        assert!(text(&output.stdout).contains(part), "{argument}");
    }
    let help = text(&place.run(&["--help"]).stdout);
    for (key, default, _, _, _, flag) in KEYS {
        let origin = format!("[env: {key}] [default: {default}]");
        assert!(help.contains(flag) && help.contains(&origin), "{flag} in {help}");
    }
    for arguments in [&["--colour"][..], &["dance"], &["--port"], &["status", "extra"]] {
        assert_eq!(place.run(arguments).status.code(), Some(USAGE), "{arguments:?}");
    }
}

#[test]
fn a_mistyped_flag_or_command_gets_the_most_similar_one_suggested() {
    let place = Place::new();
    for (argument, meant) in [("--worker", "'--workers'"), ("statsu", "'status'")] {
        let output = place.run(&[argument]);
        assert_eq!(output.status.code(), Some(USAGE));
        assert_names(&text(&output.stderr), &[argument, meant]);
    }
}

#[test]
fn completions_and_manual_pages_are_printed_even_with_a_broken_configuration() {
    let place = Place::with_file("no configuration at all");
    for (arguments, parts) in [
        (&["completions", "bash"][..], &["--storage-dir", "status", "disk process"][..]),
        (&["completions", "zsh"], &["--storage-dir", "status"]),
        (&["completions", "fish"], &["storage-dir", "status"]),
        (
            &["man"],
            &["pre\\-forked pool", "SERVER_GRACE", "Exit codes", "loteria\\-central\\-status(1)"],
        ),
        (&["man", "status"], &["watch", "SERVER_PORT"]),
    ] {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_names(&text(&output.stdout), parts);
    }
    assert_eq!(place.run(&["man", "dance"]).status.code(), Some(USAGE));
    assert_eq!(place.run(&["completions", "dos"]).status.code(), Some(USAGE));
}
