//! The services of the Compose file: the central and its agencies, on a network of their own.

use std::collections::BTreeMap;

use lottery::protocol::Dialect;

use crate::file::{
    AddressPlan, ComposeFile, Dependency, EngineDefaults, Healthcheck, Mount, Network, Service,
    Subnet,
};

/// Name of the central's service and container. Agencies use this name in `server.address` of
/// `client/config.yaml`.
const CENTRAL: &str = "server";

/// Name of the network; Compose prefixes it with the name of the project.
const NETWORK: &str = "testing_net";

/// Range of 254 addresses, of which the engine takes one and the central another.
const SUBNET: &str = "172.25.125.0/24";

/// Largest number of agencies for which [`SUBNET`] has addresses.
pub(crate) const MAX_AGENCIES: u16 = 252;

/// Default of the central's `SERVER_AGENCIES`.
const DEFAULT_AGENCIES: u16 = 5;

/// Volume that keeps the bets when the container is replaced.
const STORAGE: &str = "server_storage";

/// Volume that keeps the state files of the agencies. Like the bets, it is removed with the
/// project.
const STATE: &str = "client_state";

/// Returns the file for the central and agencies 1 to `agencies`. All of them use `dialect`;
/// without one, their configuration files decide.
pub(crate) fn topology(agencies: u16, dialect: Option<&Dialect>) -> ComposeFile {
    let mut services = vec![(CENTRAL.to_owned(), central(agencies, dialect))];
    services
        .extend((1..=agencies).map(|number| (format!("client{number}"), agency(number, dialect))));
    ComposeFile {
        services,
        networks: BTreeMap::from([(
            NETWORK,
            Network {
                driver: "bridge",
                ipam: AddressPlan { driver: "default", config: vec![Subnet { subnet: SUBNET }] },
            },
        )]),
        volumes: named_volumes(dialect).map(|name| (name, EngineDefaults {})).collect(),
    }
}

/// Returns the named volumes.
fn named_volumes(dialect: Option<&Dialect>) -> impl Iterator<Item = &'static str> {
    [STORAGE].into_iter().chain(keeps_state(dialect).then_some(STATE))
}

/// Returns the service of the central. The central handles signals and reaps its children as
/// process 1 must, so it needs no `init`.
fn central(agencies: u16, dialect: Option<&Dialect>) -> Service {
    // The environment wins over `config.ini`, so it sets nothing that the file can set. The number
    // of agencies is the exception: the file cannot know it, and a draw that waits for more
    // agencies never happens.
    let mut environment = vec![];
    if has_bets(dialect) && ![0, DEFAULT_AGENCIES].contains(&agencies) {
        environment.push(format!("SERVER_AGENCIES={agencies}"));
    }
    environment.extend(dialect.map(|dialect| format!("SERVER_PROTOCOL={}", dialect.name)));
    Service {
        environment,
        volumes: vec![
            file("./server/config.ini".to_owned(), "/config.ini".to_owned()),
            Mount::Volume { source: STORAGE, target: "/storage" },
        ],
        healthcheck: Some(Healthcheck {
            test: vec!["CMD", "/server", "health"],
            // The first check comes after one interval, which delays the agencies.
            interval: "2s",
            timeout: "3s",
            retries: 5,
            start_period: "10s",
        }),
        // Longer than SERVER_GRACE (8 s) and the 2 s that a stop may take on top of it.
        stop_grace_period: Some("15s"),
        // The engine's default, stated because the shared segment of the workers is there: a few kB
        // per worker.
        shm_size: Some("64m"),
        ..container(CENTRAL.to_owned(), "server:latest")
    }
}

/// Returns the service of agency `number`, which mounts its own bets if the dialect carries bets.
fn agency(number: u16, dialect: Option<&Dialect>) -> Service {
    let mut environment = vec![format!("CLI_ID={number}")];
    environment.extend(dialect.map(|dialect| format!("CLI_PROTOCOL={}", dialect.name)));
    let mut volumes = vec![file("./client/config.yaml".to_owned(), "/config.yaml".to_owned())];
    if has_bets(dialect) {
        let data = data_file(number);
        volumes.push(file(format!("./{data}"), format!("/{data}")));
    }
    if keeps_state(dialect) {
        // The directory of the bets cannot be written.
        environment.push("CLI_STATE=/state/agency-{id}.resume".to_owned());
        volumes.push(Mount::Volume { source: STATE, target: "/state" });
    }
    Service {
        environment,
        volumes,
        depends_on: BTreeMap::from([(CENTRAL, Dependency { condition: "service_healthy" })]),
        ..container(format!("client{number}"), "client:latest")
    }
}

/// Returns the path of an agency's bets, relative to the Compose file.
pub(crate) fn data_file(number: u16) -> String {
    format!(".data/agency-{number}.csv")
}

/// Returns true if the dialect carries bets, which `echo` does not. An unknown dialect counts as
/// one that does, because mounting unused bets does no harm.
pub(crate) fn has_bets(dialect: Option<&Dialect>) -> bool {
    dialect.is_none_or(|dialect| dialect.agency.is_some())
}

/// Returns true if agencies may keep state files. An unknown dialect may have keys.
fn keeps_state(dialect: Option<&Dialect>) -> bool {
    dialect.is_none_or(|dialect| dialect.has_keys)
}

/// Returns what all services have in common: no privileges, and no place to write.
fn container(name: String, image: &'static str) -> Service {
    Service {
        container_name: name,
        image,
        environment: vec![],
        volumes: vec![],
        networks: vec![NETWORK],
        depends_on: BTreeMap::new(),
        healthcheck: None,
        stop_grace_period: None,
        shm_size: None,
        read_only: true,
        cap_drop: vec!["ALL"],
        security_opt: vec!["no-new-privileges:true"],
    }
}

/// Returns the mount of a file of the checkout. A change of the file takes effect without a new
/// image.
fn file(source: String, target: String) -> Mount {
    Mount::Bind { source, target, read_only: true }
}
