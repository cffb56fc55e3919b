//! The written file as a YAML parser sees it, and the errors of the program.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};

use serde_yaml::Value;

/// The variable that turns on the monitor.
const MONITOR: &str = "SERVER_MONITOR=0.0.0.0:9100";

fn compose(file: &Path, agencies: &str, protocol: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compose"));
    command.arg(file).arg(agencies).args(["--protocol", protocol]).output().unwrap()
}

/// Returns the file for `agencies` agencies whose configuration files choose the dialect.
fn read_back(agencies: u16) -> Value {
    read_back_in("", agencies)
}

/// Returns the file for `agencies` agencies in a dialect.
fn read_back_in(protocol: &str, agencies: u16) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("compose.yaml");
    let output = compose(&file, &agencies.to_string(), protocol);
    assert!(output.status.success(), "{output:?}");
    serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn services(file: &Value) -> Vec<&str> {
    file["services"].as_mapping().unwrap().keys().map(|name| name.as_str().unwrap()).collect()
}

fn words(value: &Value) -> Vec<&str> {
    value.as_sequence().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn without_agencies_the_central_is_the_only_service() {
    assert_eq!(services(&read_back(0)), ["server"]);
}

#[test]
fn agencies_come_after_the_central_in_the_order_of_their_numbers() {
    let file = read_back(11);
    let names = services(&file);
    assert_eq!(
        (names.len(), names[0], names[1], names[2], names[11]),
        (12, "server", "client1", "client2", "client11")
    );
    for name in names {
        assert_eq!(file["services"][name]["container_name"], name);
    }
}

#[test]
fn an_agency_has_its_number_its_own_data_and_waits_for_the_central() {
    let file = read_back(5);
    let agency = &file["services"]["client3"];
    assert_eq!(agency["image"], "client:latest");
    let environment = ["CLI_ID=3", "CLI_STATE=/state/agency-{id}.resume"];
    assert_eq!(words(&agency["environment"]), environment);
    assert_eq!(agency["depends_on"]["server"]["condition"], "service_healthy");
    assert_eq!(agency["volumes"][0]["source"], "./client/config.yaml");
    assert_eq!(agency["volumes"][0]["target"], "/config.yaml");
    assert_eq!(agency["volumes"][1]["source"], "./.data/agency-3.csv");
    assert_eq!(agency["volumes"][1]["target"], "/.data/agency-3.csv");
    assert_eq!(agency["volumes"][2]["source"], "client_state");
    assert_eq!(agency["volumes"][2]["target"], "/state");
    assert!(file["volumes"].get("client_state").is_some());
    for mount in agency["volumes"].as_sequence().unwrap().iter().take(2) {
        assert_eq!(
            (&mount["type"], &mount["read_only"]),
            (&Value::from("bind"), &Value::from(true))
        );
    }
}

#[test]
fn the_central_keeps_its_bets_in_a_named_volume_and_reads_its_file_from_the_host() {
    let file = read_back(5);
    let central = &file["services"]["server"];
    assert_eq!(central["image"], "server:latest");
    assert_eq!(central["volumes"][0]["source"], "./server/config.ini");
    assert_eq!(central["volumes"][0]["target"], "/config.ini");
    assert_eq!(central["volumes"][1]["type"], "volume");
    assert_eq!(central["volumes"][1]["target"], "/storage");
    let volume = central["volumes"][1]["source"].as_str().unwrap();
    assert!(file["volumes"].get(volume).is_some(), "{volume} is not declared");
    assert_eq!(words(&central["healthcheck"]["test"]), ["CMD", "/loteria-central", "health"]);
    assert_eq!(
        (&central["stop_grace_period"], &central["shm_size"]),
        (&Value::from("15s"), &Value::from("64m"))
    );
}

#[test]
fn only_a_number_of_agencies_other_than_the_default_overrides_the_configuration_file() {
    for agencies in [0, 5] {
        let file = read_back(agencies);
        assert_eq!(words(&file["services"]["server"]["environment"]), [MONITOR]);
    }
    for agencies in [1, 6] {
        let file = read_back(agencies);
        let environment = words(&file["services"]["server"]["environment"]);
        assert_eq!(environment, [MONITOR, &format!("SERVER_AGENCIES={agencies}")]);
    }
}

#[test]
fn the_central_and_every_agency_get_the_dialect() {
    let file = read_back_in("typed", 6);
    let central = words(&file["services"]["server"]["environment"]);
    assert_eq!(central, [MONITOR, "SERVER_AGENCIES=6", "SERVER_PROTOCOL=typed"]);
    for number in 1..=6 {
        let agency = &file["services"][format!("client{number}")];
        assert_eq!(
            words(&agency["environment"]),
            [&format!("CLI_ID={number}"), "CLI_PROTOCOL=typed"]
        );
        assert_eq!(agency["volumes"][1]["source"], format!("./.data/agency-{number}.csv"));
    }
}

#[test]
fn agencies_have_a_place_for_their_state_where_batches_have_keys() {
    for (protocol, has_state) in [("", true), ("keyed", true), ("typed", false), ("echo", false)] {
        let file = read_back_in(protocol, 2);
        assert_eq!(file["volumes"].get("client_state").is_some(), has_state, "{protocol:?}");
        for number in 1..=2 {
            let agency = &file["services"][format!("client{number}")];
            let state = "CLI_STATE=/state/agency-{id}.resume";
            assert_eq!(words(&agency["environment"]).contains(&state), has_state, "{protocol:?}");
            let mounts = agency["volumes"].as_sequence().unwrap();
            assert_eq!(mounts.iter().any(|it| it["target"] == "/state"), has_state);
        }
    }
}

#[test]
fn an_echo_exercise_of_any_size_has_no_bets_and_no_draw() {
    for agencies in [0, 1, 5, 6] {
        let file = read_back_in("echo", agencies);
        assert_eq!(services(&file).len(), usize::from(agencies) + 1);
        let environment = words(&file["services"]["server"]["environment"]);
        assert_eq!(environment, [MONITOR, "SERVER_PROTOCOL=echo"]);
        for number in 1..=agencies {
            let agency = &file["services"][format!("client{number}")];
            assert_eq!(
                words(&agency["environment"]),
                [&format!("CLI_ID={number}"), "CLI_PROTOCOL=echo"]
            );
            let mounts = agency["volumes"].as_sequence().unwrap();
            assert_eq!(
                (mounts.len(), &mounts[0]["source"]),
                (1, &Value::from("./client/config.yaml"))
            );
        }
    }
}

#[test]
fn the_environment_sets_nothing_that_the_configuration_files_can_set() {
    // The files cannot know the number of an agency, the number of agencies and the dialect. The
    // address of the monitor belongs to the port that is published.
    // The state of an agency is where the container can write, which is not beside its bets.
    let known = [
        "CLI_ID",
        "CLI_PROTOCOL",
        "CLI_STATE",
        "SERVER_AGENCIES",
        "SERVER_MONITOR",
        "SERVER_PROTOCOL",
    ];
    for protocol in ["", "echo", "typed"] {
        let file = read_back_in(protocol, 3);
        for name in services(&file) {
            for variable in
                file["services"][name]["environment"].as_sequence().into_iter().flatten()
            {
                let (key, _) = variable.as_str().unwrap().split_once('=').unwrap();
                assert!(known.contains(&key), "{name} has {key}");
                assert!(!protocol.is_empty() || !key.ends_with("PROTOCOL"), "{name} has {key}");
            }
        }
    }
}

#[test]
fn an_unknown_dialect_is_refused_in_one_line_that_lists_the_known_ones() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("compose.yaml");
    for protocol in ["eco", "Echo", " echo", "typed,echo"] {
        let output = compose(&file, "5", protocol);
        assert_eq!(output.status.code(), Some(2), "{protocol:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        let beginning = format!("compose: {protocol:?} is not a protocol: expected one of ");
        let names: Vec<_> =
            message.trim_end().strip_prefix(&beginning).unwrap().split(", ").collect();
        assert!(names.contains(&"typed") && names.contains(&"echo"), "{message}");
        assert_eq!(message.lines().count(), 1);
        assert!(!file.exists());
    }
}

#[test]
fn no_container_has_privileges_or_a_port_that_another_host_reaches() {
    let file = read_back(2);
    for name in services(&file) {
        let service = &file["services"][name];
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(words(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(words(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        assert_eq!(words(&service["networks"]), ["testing_net"], "{name}");
        let ports = service["ports"].as_sequence().into_iter().flatten();
        let ports: Vec<_> = ports.map(|port| port.as_str().unwrap()).collect();
        let expected: &[_] = if name == "server" { &["127.0.0.1:9100:9100"] } else { &[] };
        assert_eq!(ports, expected, "{name}");
    }
}

#[test]
fn the_network_is_a_bridge_with_the_addresses_of_the_course() {
    let file = read_back(252);
    assert_eq!(services(&file).len(), 253);
    assert_eq!(file["networks"]["testing_net"]["driver"], "bridge");
    assert_eq!(file["networks"]["testing_net"]["ipam"]["config"][0]["subnet"], "172.25.125.0/24");
}

#[test]
fn the_file_uses_only_what_both_compose_programs_accept() {
    let file = read_back(1);
    for key in ["name", "version"] {
        assert!(file.get(key).is_none(), "{key}");
    }
    assert!(file["services"]["server"]["healthcheck"].get("start_interval").is_none());
}

#[test]
fn a_file_that_cannot_be_written_is_named_in_one_line() {
    let output = compose(Path::new("/no/such/directory/compose.yaml"), "5", "");
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.starts_with("compose: cannot write /no/such/directory/compose.yaml: No such file"),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1);
}

#[test]
fn a_wrong_number_of_agencies_is_refused_in_one_line_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("compose.yaml");
    for number in ["-1", "253", "cinco", ""] {
        let output = compose(&file, number, "");
        assert_eq!(output.status.code(), Some(2), "{number:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            message,
            format!("compose: {number:?} is not a number of agencies: expected 0 to 252\n")
        );
        assert!(!file.exists());
    }
}

#[test]
fn agencies_without_a_file_of_bets_are_a_warning_with_the_command_that_writes_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("compose.yaml");
    std::fs::create_dir(directory.path().join(".data")).unwrap();
    for number in 1..=5 {
        std::fs::write(directory.path().join(format!(".data/agency-{number}.csv")), "").unwrap();
    }
    let warning = |agencies, protocol| {
        let output = compose(&file, agencies, protocol);
        assert!(output.status.success() && file.exists(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(
        warning("8", ""),
        "compose: agencies without a file of bets (6 is the first): 3; their containers do not start; make data AGENCIES=8 writes the files of all agencies\n"
    );
    assert_eq!(warning("5", "framed"), "");
    assert_eq!(warning("8", "echo"), "", "echo carries no bets");
}
