//! The file of several centrals that store their bets in PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};

use serde_yaml::Value;

fn compose(file: &Path, agencies: u16, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compose"));
    command.arg(file).arg(agencies.to_string()).args(options).output().unwrap()
}

fn read_back(agencies: u16, options: &[&str]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("compose.yaml");
    let output = compose(&file, agencies, options);
    assert!(output.status.success(), "{output:?}");
    serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// Returns the line with which the program refuses its arguments, and asserts that it wrote
/// nothing.
fn refusal(agencies: u16, options: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("compose.yaml");
    let output = compose(&file, agencies, options);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(!file.exists());
    String::from_utf8(output.stderr).unwrap()
}

fn names(services: &Value) -> Vec<&str> {
    services.as_mapping().unwrap().keys().map(|name| name.as_str().unwrap()).collect()
}

fn words(value: &Value) -> Vec<&str> {
    value.as_sequence().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

const THREE: [&str; 4] = ["--centrals", "3", "--engine", "postgres"];

#[test]
fn the_engine_comes_first_then_the_centrals_then_the_agencies() {
    let file = read_back(2, &THREE);
    let services = &file["services"];
    assert_eq!(names(services), ["postgres", "server", "server2", "server3", "client1", "client2"]);
    for name in names(services) {
        assert_eq!(services[name]["container_name"], name);
    }
}

#[test]
fn every_central_has_its_name_and_address_and_waits_for_the_engine() {
    let file = read_back(5, &THREE);
    for name in ["server", "server2", "server3"] {
        let central = &file["services"][name];
        assert_eq!(
            words(&central["environment"]),
            [
                "SERVER_MONITOR=0.0.0.0:9100",
                "SERVER_STORAGE=postgres://lottery:lottery@postgres/lottery",
                &format!("SERVER_CENTRAL_NAME={name}"),
                &format!("SERVER_IP={name}"),
                "SERVER_PORT=12345",
            ]
        );
        assert_eq!(central["depends_on"]["postgres"]["condition"], "service_healthy");
        assert_eq!(words(&central["healthcheck"]["test"]), ["CMD", "/loteria-central", "health"]);
        assert_eq!(central["volumes"].as_sequence().unwrap().len(), 1, "it has no files of bets");
    }
    assert!(file["volumes"].get("server_storage").is_none());
}

#[test]
fn the_monitor_of_every_central_has_a_port_that_only_this_host_reaches() {
    let file = read_back(5, &THREE);
    for (name, port) in [("server", 9100), ("server2", 9101), ("server3", 9102)] {
        let ports = words(&file["services"][name]["ports"]);
        assert_eq!(ports, [format!("127.0.0.1:{port}:9100")]);
    }
    for name in ["postgres", "client1"] {
        assert!(file["services"][name].get("ports").is_none(), "{name}");
    }
}

#[test]
fn agencies_know_all_centrals_wait_for_them_and_begin_with_different_ones() {
    let file = read_back(4, &THREE);
    for (agency, addresses) in [
        ("client1", "server:12345,server2:12345,server3:12345"),
        ("client2", "server2:12345,server3:12345,server:12345"),
        ("client3", "server3:12345,server:12345,server2:12345"),
        ("client4", "server:12345,server2:12345,server3:12345"),
    ] {
        let agency = &file["services"][agency];
        let setting = format!("CLI_SERVER_ADDRESS={addresses}");
        assert!(words(&agency["environment"]).contains(&&*setting), "{agency:?}");
        assert_eq!(names(&agency["depends_on"]), ["server", "server2", "server3"]);
    }
}

#[test]
fn one_central_can_store_in_the_engine_too() {
    let file = read_back(1, &["--engine", "postgres"]);
    assert_eq!(names(&file["services"]), ["postgres", "server", "client1"]);
    let central = words(&file["services"]["server"]["environment"]);
    assert!(!central.iter().any(|it| it.starts_with("SERVER_IP")), "{central:?}");
    let agency = words(&file["services"]["client1"]["environment"]);
    assert!(!agency.iter().any(|it| it.starts_with("CLI_SERVER_ADDRESS")), "{agency:?}");
}

#[test]
fn the_engine_keeps_its_data_in_a_volume_and_is_ready_once_it_listens() {
    let file = read_back(1, &THREE);
    let engine = &file["services"]["postgres"];
    assert_eq!(engine["image"], "postgres:15");
    let volume = engine["volumes"][0]["source"].as_str().unwrap();
    assert!(file["volumes"].get(volume).is_some(), "{volume} is not declared");
    let check = words(&engine["healthcheck"]["test"]);
    assert_eq!(check[..4], ["CMD", "pg_isready", "--host", "127.0.0.1"]);
    let other = read_back(1, &[&THREE[..], &["--engine-image", "registry.example/pg:17"]].concat());
    assert_eq!(other["services"]["postgres"]["image"], "registry.example/pg:17");
}

#[test]
fn no_container_has_privileges() {
    let file = read_back(1, &THREE);
    for name in names(&file["services"]) {
        let service = &file["services"][name];
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(words(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(words(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
    }
    assert_eq!(file["services"]["postgres"]["user"], "postgres", "the image starts as root");
}

#[test]
fn several_centrals_cannot_share_files() {
    assert_eq!(
        refusal(5, &["--centrals", "3"]),
        "compose: several centrals cannot share files: add --engine postgres, or use one central\n"
    );
}

#[test]
fn the_network_has_an_address_for_every_service() {
    assert_eq!(names(&read_back(249, &THREE)["services"]).len(), 253);
    assert_eq!(
        refusal(250, &THREE),
        "compose: \"250\" is not a number of agencies: expected 0 to 249\n"
    );
}
