//! The scripts that start the containers, with stand-ins for the engine, Compose and cargo.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// An engine with exited agencies, each of which has logged one line, and with another network.
const DOCKER: &str = r#"
for last; do :; done
case "$1 $2" in
"version "*) echo 20.10 ;;
"compose "*) exit 1 ;;
"ps "*) echo 1234 ;;
"logs "*) echo "a line of $last" ;;
"inspect "*) echo 0 ;;
"exec "*) echo "winners 3" ;;
"network ls") echo other ;;
"network inspect") echo "other_net 172.25.0.0/16" ;;
esac
"#;

/// Compose 1.29, whose `logs` does not print anything in time, and whose `up` exits with the code
/// in the file `up`.
const COMPOSE: &str = r#"
case "$*" in
*" logs "*) exec sleep 60 ;;
*" up "*) exit "$(cat up)" ;;
esac
"#;

/// Reports the programs in `built/`, and that it was called.
const CARGO: &str = r#"
touch cargo-called
for name in loteria-central loteria-monitor loteria-agency compose; do echo "{\"executable\":\"$PWD/built/$name\"}"; done
"#;

/// Writes its arguments into the file that it should write.
const FILE_WRITER: &str = r#"echo "written with $*" >"$3""#;

/// A checkout with the scripts and the stand-ins.
struct Checkout {
    directory: TempDir,
}

impl Checkout {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let checkout = Self { directory };
        for folder in ["scripts", "bin", "built", "dist", "compose/src", "shared/lottery/src"] {
            fs::create_dir_all(checkout.path(folder)).unwrap();
        }
        for script in fs::read_dir(root.join("scripts")).unwrap().map(Result::unwrap) {
            let name = script.file_name();
            fs::copy(script.path(), checkout.path("scripts").join(name)).unwrap();
        }
        fs::copy(root.join("generar-compose.sh"), checkout.path("generar-compose.sh")).unwrap();
        for (name, script) in
            [("docker", DOCKER), ("docker-compose", COMPOSE), ("cargo", CARGO), ("cc", ":")]
        {
            checkout.program(&format!("bin/{name}"), script);
        }
        checkout.program("bin/rustc", "echo 'host: x86_64-unknown-linux-gnu'");
        for name in ["loteria-central", "loteria-monitor", "loteria-agency"] {
            checkout.program(&format!("built/{name}"), ":");
        }
        checkout.program("built/compose", FILE_WRITER);
        fs::write(checkout.path("Cargo.lock"), "").unwrap();
        fs::write(checkout.path("up"), "0").unwrap();
        checkout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        fs::write(self.path(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, shell: &str, arguments: &[&str], protocol: &str) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        Command::new(shell)
            .args(arguments)
            .current_dir(self.directory.path())
            .env("PATH", path)
            .env("PROTOCOL", protocol)
            .output()
            .unwrap()
    }

    fn compose_file(&self) -> String {
        fs::read_to_string(self.path("docker-compose-dev.yaml")).unwrap()
    }
}

#[test]
fn the_lines_of_every_agency_are_shown_even_if_compose_is_slow() {
    let output = Checkout::new().run("sh", &["scripts/containers.sh"], "");
    let shown = String::from_utf8(output.stdout).unwrap();
    for number in 1..=5 {
        let line = format!("client{number}  | a line of client{number}\n");
        assert_eq!(shown.matches(&line).count(), 1, "{shown}");
    }
    assert!(output.status.success() && shown.contains("central  winners 3"), "{shown}");
}

#[test]
fn a_failed_start_names_the_overlapping_network_and_the_unreadable_file() {
    for script in [&["scripts/containers.sh"][..], &["scripts/compose.sh", "up"]] {
        let checkout = Checkout::new();
        fs::write(checkout.path("up"), "1").unwrap();
        fs::create_dir(checkout.path(".data")).unwrap();
        fs::write(checkout.path(".data/agency-1.csv"), "").unwrap();
        let mode = fs::Permissions::from_mode(0o640);
        fs::set_permissions(checkout.path(".data/agency-1.csv"), mode).unwrap();
        let output = checkout.run("sh", script, "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for reason in [
            "the network other_net has the addresses 172.25.0.0/16, which overlap \
             172.25.125.0/24 of this project: docker network rm other_net\n",
            "the users of the containers (10001, 10002) cannot read .data/agency-1.csv: \
             chmod o+rX .data/agency-1.csv\n",
        ] {
            assert!(said.contains(reason), "{said}");
        }
    }
}

#[test]
fn only_networks_that_overlap_are_named() {
    let checkout = Checkout::new();
    for (addresses, overlaps) in [
        ("172.25.0.0/16", true),
        ("172.25.125.128/25", true),
        ("172.25.124.0/24", false),
        ("10.0.0.0/8", false),
        ("fd00::/64", false),
        ("fd00::/64 172.16.0.0/12", true),
    ] {
        let docker = DOCKER.replace("172.25.0.0/16", addresses);
        checkout.program("bin/docker", &docker);
        let output = checkout.run("sh", &["-c", ". scripts/engine.sh; overlapping_networks"], "");
        assert_eq!(!output.stdout.is_empty(), overlaps, "{addresses}: {output:?}");
    }
}

#[test]
fn a_dialect_rewrites_an_existing_compose_file_for_the_same_number_of_agencies() {
    let checkout = Checkout::new();
    let existing = "services:\n  server:\n  client1:\n  client2:\n  client3:\n";
    fs::write(checkout.path("docker-compose-dev.yaml"), existing).unwrap();
    assert!(checkout.run("sh", &["scripts/compose.sh", "up"], "").status.success());
    assert_eq!(checkout.compose_file(), existing, "kept without a dialect");
    let output = checkout.run("sh", &["scripts/compose.sh", "up"], "echo");
    assert!(output.status.success(), "{output:?}");
    let written = "written with --protocol echo docker-compose-dev.yaml 3\n";
    assert_eq!(checkout.compose_file(), written);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("again, for 3 agencies that speak echo"), "{said}");
}

#[test]
fn the_compose_file_needs_no_build_while_the_kept_program_is_newer_than_its_sources() {
    let checkout = Checkout::new();
    let generate =
        || checkout.run("bash", &["generar-compose.sh", "docker-compose-dev.yaml", "5"], "");
    assert!(generate().status.success());
    assert_eq!(checkout.compose_file(), "written with --protocol  docker-compose-dev.yaml 5\n");
    fs::remove_file(checkout.path("cargo-called")).unwrap();

    assert!(generate().status.success());
    assert!(!checkout.path("cargo-called").exists(), "the kept program is used");

    let source = fs::File::create(checkout.path("shared/lottery/src/lib.rs")).unwrap();
    source.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();
    assert!(generate().status.success());
    assert!(checkout.path("cargo-called").exists(), "a changed source is built");
}
