//! `validar-echo-server.sh` without an engine: its results for different behaviours of `docker`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A `docker` whose engine answers, with the network and with an image that has netcat. Each test
/// defines `run`, which gets the arguments of `docker run`: the last three are host, port and
/// message.
const ENGINE: &str = r#"
case "$1 $2" in
"version "*) echo 20.10 ;;
"network inspect") [ "$3" = tp0_testing_net ] ;;
"image inspect") [ "$3" = busybox ] ;;
"run "*) shift; run "$@" ;;
*) exit 1 ;;
esac
"#;

/// Lets `run` take `$host`, `$port` and `$message` from its arguments.
const ARGUMENTS: &str = r#"
arguments() {
    while [ $# -gt 3 ]; do shift; done
    host=$1 port=$2 message=$3
}
"#;

/// A checkout with the script, a `config.ini` and a `docker`.
struct Checkout {
    directory: TempDir,
}

impl Checkout {
    fn new(config: &str, docker: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for folder in ["scripts", "server", "bin"] {
            fs::create_dir(directory.path().join(folder)).unwrap();
        }
        for script in ["validar-echo-server.sh", "scripts/engine.sh", "scripts/netcat-image.sh"] {
            fs::copy(root.join(script), directory.path().join(script)).unwrap();
        }
        fs::write(directory.path().join("server/config.ini"), config).unwrap();
        let program = directory.path().join("bin/docker");
        fs::write(&program, format!("#!/bin/sh\n{ARGUMENTS}{docker}")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the script with this shell, from another directory.
    fn validate(&self, shell: &str) -> Outcome {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        let script = self.path("validar-echo-server.sh");
        Command::new(shell).arg(script).current_dir("/").env("PATH", path).output().unwrap().into()
    }
}

/// The result of a run.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    result: String,
    reason: String,
    code: Option<i32>,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let reason = String::from_utf8(output.stderr).unwrap();
        Self {
            result: String::from_utf8(output.stdout).unwrap(),
            reason,
            code: output.status.code(),
        }
    }
}

impl Outcome {
    fn assert_success(&self) {
        assert_eq!(self.result, "action: test_echo_server | result: success\n", "{self:?}");
        assert_eq!((self.reason.as_str(), self.code), ("", Some(0)));
    }

    /// Asserts that the run failed, with `reason` in its one line of error.
    fn assert_fail(&self, reason: &str) {
        assert_eq!(self.result, "action: test_echo_server | result: fail\n", "{self:?}");
        assert_eq!((self.reason.lines().count(), self.code), (1, Some(1)), "{self:?}");
        assert!(self.reason.contains(reason), "{self:?}");
    }
}

/// Validates with an engine whose `run` does this, with the shell of the course's tests and with
/// the other one.
fn validated(run: &str) -> Outcome {
    let checkout =
        Checkout::new("[DEFAULT]\nSERVER_PORT = 12345\n", &format!("run() {{ {run}\n}}\n{ENGINE}"));
    let outcome = checkout.validate("sh");
    let with_bash = checkout.validate("bash");
    assert_eq!((&outcome.result, outcome.code), (&with_bash.result, with_bash.code));
    outcome
}

#[test]
fn a_reply_with_the_same_line_is_a_success() {
    validated(r#"arguments "$@"; echo "$message""#).assert_success();
}

#[test]
fn any_other_reply_is_a_failure() {
    for reply in
        ["error reading data: $message", "$message.", "", "$(echo \"$message\" | tr a-f A-F) "]
    {
        validated(&format!(r#"arguments "$@"; echo "{reply}""#))
            .assert_fail("replied with other text");
    }
}

#[test]
fn silence_and_a_closed_port_are_failures_with_a_reason() {
    validated("exit 2").assert_fail("server:12345 did not reply with a line");
    validated("exit 1").assert_fail("no server listens at server:12345");
}

#[test]
fn a_container_that_cannot_be_run_is_a_failure() {
    validated("exit 125").assert_fail("cannot run netcat in a container of busybox");
}

#[test]
fn each_run_sends_another_message() {
    let run = r#"arguments "$@"; echo "$message"; echo "$message" >>"$(dirname "$0")/messages""#;
    let checkout = Checkout::new("", &format!("run() {{ {run}\n}}\n{ENGINE}"));
    for _ in 0..2 {
        checkout.validate("sh").assert_success();
    }
    let messages = fs::read_to_string(checkout.path("bin/messages")).unwrap();
    let lines: Vec<_> = messages.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_ne!(lines[0], lines[1]);
}

#[test]
fn the_port_is_that_of_the_servers_configuration_and_12345_without_one() {
    for (config, port) in [
        ("[DEFAULT]\nSERVER_PORT = 23456\nSERVER_IP = server\n", "23456"),
        ("[DEFAULT]\n  SERVER_PORT=23456", "23456"),
        ("[DEFAULT]\nSERVER_PORT: 23456 \r\n", "23456"),
        ("[DEFAULT]\n# SERVER_PORT = 23456\n", "12345"),
        ("", "12345"),
    ] {
        let docker = format!("run() {{ exit 1\n}}\n{ENGINE}");
        Checkout::new(config, &docker)
            .validate("sh")
            .assert_fail(&format!("no server listens at server:{port}\n"));
    }
}

#[test]
fn a_missing_network_engine_or_image_is_reported_with_a_reason_and_a_result() {
    let engine = format!("run() {{ exit 0\n}}\n{ENGINE}");
    let no_network = engine.replace("= tp0_testing_net ]", "= other_net ]");
    Checkout::new("", &no_network)
        .validate("sh")
        .assert_fail("there is no network tp0_testing_net");

    Checkout::new("", "exit 1").validate("sh").assert_fail("no Docker engine answers");

    // Programs that fail hide busybox and Debian's tools.
    let checkout = Checkout::new("", &engine.replace("= busybox ]", "= none ]"));
    for program in ["busybox", "apt-get"] {
        fs::copy("/bin/false", checkout.path("bin").join(program)).unwrap();
    }
    checkout.validate("sh").assert_fail("no image with netcat");
}

#[test]
fn an_interrupted_check_removes_its_container_and_prints_a_result() {
    // The engine's `run` exits as after an interrupt from the terminal.
    let docker = format!(
        r#"
[ "$1 $2" != "rm --force" ] || echo "$3" >"$(dirname "$0")/removed"
run() {{ echo "$3" >"$(dirname "$0")/started"; kill -INT "$PPID"; exit 130
}}
{ENGINE}"#
    );
    let checkout = Checkout::new("", &docker);
    checkout.validate("sh").assert_fail("interrupted");
    let started = fs::read_to_string(checkout.path("bin/started")).unwrap();
    assert_eq!(fs::read_to_string(checkout.path("bin/removed")).unwrap(), started);
}

#[test]
fn the_dialect_of_the_central_is_named_with_the_way_to_change_it() {
    let listens = "action: listen | result: success | ip: 0.0.0.0 | port: 12345 | protocol: DIALECT | workers: 2";
    let outcome = |dialect: &str, run: &str| {
        let log = listens.replace("DIALECT", dialect);
        let docker = format!("run() {{ {run}\n}}\n{ENGINE}")
            .replace("*) exit 1 ;;", &format!("\"logs server\") echo '{log}' ;;\n*) exit 1 ;;"));
        Checkout::new("", &docker).validate("sh")
    };
    let advice =
        "; it speaks framed: PROTOCOL=echo ./generar-compose.sh FILE AGENCIES makes it speak echo";
    for run in ["exit 2", "echo 'FAIL|0'"] {
        outcome("framed", run).assert_fail(advice);
    }
    let outcome = outcome("echo", "exit 2");
    outcome.assert_fail("server:12345 did not reply with a line\n");
}
