//! What is started: the central and its agencies, on a network of their own.

use std::collections::BTreeMap;

use lottery::protocol::Dialect;

use crate::file::{
    AddressPlan, ComposeFile, Dependency, EngineDefaults, Healthcheck, Mount, Network, Service,
    Subnet,
};

/// The central's service and container. Agencies find it by this name, `server.address` in `client/config.yaml`.
const CENTRAL: &str = "server";

/// The network's name; Compose puts the project's before it.
const NETWORK: &str = "testing_net";

/// 254 addresses, of which the engine takes one for itself and the central another.
const SUBNET: &str = "172.25.125.0/24";

/// Most agencies for which [`SUBNET`] has addresses.
pub(crate) const MOST_AGENCIES: u16 = 252;

/// Agencies the central's draw waits for when nobody says otherwise (`SERVER_AGENCIES`).
const USUAL_AGENCIES: u16 = 5;

/// The volume that keeps the bets when the container is replaced.
const STORAGE: &str = "server_storage";

/// The file for the central and agencies 1 to `agencies`. All of them speak `dialect`; where there is none, what their own
/// configuration files say.
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
        volumes: BTreeMap::from([(STORAGE, EngineDefaults {})]),
    }
}

/// The central. It does the duties of a container's first process itself, so it needs no `init`.
fn central(agencies: u16, dialect: Option<&Dialect>) -> Service {
    // The environment wins over `config.ini`, so nothing is set that the file could say. The number of agencies is
    // the exception: the file cannot know how many were asked for here, and a draw for another number never comes.
    let mut environment = vec![];
    if has_bets(dialect) && ![0, USUAL_AGENCIES].contains(&agencies) {
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
            // The first check comes after one interval, and the agencies wait for it.
            interval: "2s",
            timeout: "3s",
            retries: 5,
            start_period: "10s",
        }),
        // Longer than the central's own SERVER_GRACE (8 s) and the 2 s it may take on top of it.
        stop_grace_period: Some("15s"),
        // The engine's default, stated because the workers' shared segment lives there: a few kB for each worker.
        shm_size: Some("64m"),
        ..container(CENTRAL.to_owned(), "server:latest")
    }
}

/// Agency `number`, which sends the bets of its own file, if the dialect is one for bets.
fn agency(number: u16, dialect: Option<&Dialect>) -> Service {
    let mut environment = vec![format!("CLI_ID={number}")];
    environment.extend(dialect.map(|dialect| format!("CLI_PROTOCOL={}", dialect.name)));
    let mut volumes = vec![file("./client/config.yaml".to_owned(), "/config.yaml".to_owned())];
    if has_bets(dialect) {
        let data = format!(".data/agency-{number}.csv");
        volumes.push(file(format!("./{data}"), format!("/{data}")));
    }
    Service {
        environment,
        volumes,
        depends_on: BTreeMap::from([(CENTRAL, Dependency { condition: "service_healthy" })]),
        ..container(format!("client{number}"), "client:latest")
    }
}

/// Whether agencies bet: not in the echo exercise. Whatever the configuration files say, their data does no harm.
fn has_bets(dialect: Option<&Dialect>) -> bool {
    dialect.is_none_or(|dialect| dialect.agency.is_some())
}

/// What both kinds have in common: no privileges, nothing to write to.
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

/// A file of the checkout that the container can read: changing it takes effect without a new image.
fn file(source: String, target: String) -> Mount {
    Mount::Bind { source, target, read_only: true }
}
