//! The services of the Compose file: centrals, what they store in, and agencies, on a network of
//! their own.

mod postgres;

use std::collections::BTreeMap;

use lottery::protocol::Dialect;

use crate::file::{
    AddressPlan, ComposeFile, Dependency, EngineDefaults, Healthcheck, Mount, Network, Service,
    Subnet,
};

/// Name of the first central's service and container. Agencies use this name in `server.address`
/// of `client/config.yaml`. The next ones are `server2`, `server3` and so on.
const CENTRAL: &str = "server";

/// Port of each central if there are several, which the configuration files cannot list.
const PORT: u16 = 12345;

/// Name of the network; Compose prefixes it with the name of the project.
const NETWORK: &str = "testing_net";

/// Range of 254 addresses, of which Docker takes one.
const SUBNET: &str = "172.25.125.0/24";

/// Largest number of services for which [`SUBNET`] has addresses.
const MAX_SERVICES: u16 = 253;

/// Port of the monitor in each container. The host publishes that of the first central under the
/// same number, and those of further ones under the next numbers.
const MONITOR_PORT: u16 = 9100;
/// Default of the central's `SERVER_AGENCIES`.
const DEFAULT_AGENCIES: u16 = 5;

/// Volume that keeps the bets when the container is replaced.
const STORAGE: &str = "server_storage";

/// Volume that keeps the state files of the agencies. Like the bets, it is removed with the
/// project.
const STATE: &str = "client_state";

/// A service starts after another one that is ready.
const HEALTHY: Dependency = Dependency { condition: "service_healthy" };

/// What the file describes.
#[derive(Debug)]
pub(crate) struct Topology<'a> {
    /// Number of agencies.
    pub(crate) agencies: u16,
    /// Number of centrals, at least 1.
    pub(crate) centrals: u16,
    /// Image of PostgreSQL, which stores the bets. Without one, the central stores them in files.
    pub(crate) engine_image: Option<&'a str>,
    /// Dialect of all programs. Without one, their configuration files decide.
    pub(crate) dialect: Option<&'a Dialect>,
}

impl Topology<'_> {
    /// Returns the largest number of agencies for which the network has addresses.
    pub(crate) fn max_agencies(&self) -> u16 {
        MAX_SERVICES.saturating_sub(self.centrals + u16::from(self.engine_image.is_some()))
    }

    /// Returns the file.
    pub(crate) fn file(&self) -> ComposeFile {
        let mut services = vec![];
        services.extend(self.engine_image.map(postgres::service));
        services.extend((1..=self.centrals).map(|number| self.central(number)));
        services.extend((1..=self.agencies).map(|number| self.agency(number)));
        ComposeFile {
            services: services.into_iter().map(|it| (it.container_name.clone(), it)).collect(),
            networks: BTreeMap::from([(
                NETWORK,
                Network {
                    driver: "bridge",
                    ipam: AddressPlan {
                        driver: "default",
                        config: vec![Subnet { subnet: SUBNET }],
                    },
                },
            )]),
            volumes: self.named_volumes().map(|name| (name, EngineDefaults {})).collect(),
        }
    }

    /// Returns the named volumes.
    fn named_volumes(&self) -> impl Iterator<Item = &'static str> {
        let storage = if self.engine_image.is_some() { postgres::STORAGE } else { STORAGE };
        [storage].into_iter().chain(keeps_state(self.dialect).then_some(STATE))
    }

    /// Returns the service of a central. The central handles signals and reaps its children as
    /// process 1 must, so it needs no `init`.
    fn central(&self, number: u16) -> Service {
        let name = central_name(number);
        // The environment wins over `config.ini`, so it sets nothing that the file can set. The
        // number of agencies is the exception: the file cannot know it, and a draw that waits for
        // more agencies never happens.
        // So is the monitor, which is off in the file and safe only behind the port below.
        let mut environment = vec![format!("SERVER_MONITOR=0.0.0.0:{MONITOR_PORT}")];
        if has_bets(self.dialect) && ![0, DEFAULT_AGENCIES].contains(&self.agencies) {
            environment.push(format!("SERVER_AGENCIES={}", self.agencies));
        }
        environment.extend(self.dialect.map(|dialect| format!("SERVER_PROTOCOL={}", dialect.name)));
        let mut volumes = vec![file("./server/config.ini".to_owned(), "/config.ini".to_owned())];
        let mut depends_on = BTreeMap::new();
        if self.engine_image.is_some() {
            environment.push(format!("SERVER_STORAGE={}", postgres::URL));
            environment.push(format!("SERVER_CENTRAL_NAME={name}"));
            depends_on.insert(postgres::NAME.to_owned(), HEALTHY);
        } else {
            volumes.push(Mount::Volume { source: STORAGE, target: "/storage" });
        }
        if self.centrals > 1 {
            environment.push(format!("SERVER_IP={name}"));
            environment.push(format!("SERVER_PORT={PORT}"));
        }
        Service {
            environment,
            // Only for this host: the monitor has no authentication.
            ports: vec![format!("127.0.0.1:{}:{MONITOR_PORT}", MONITOR_PORT - 1 + number)],
            volumes,
            depends_on,
            healthcheck: Some(Healthcheck {
                test: vec!["CMD", "/loteria-central", "health"],
                // The first check comes after one interval, which delays the agencies.
                interval: "2s",
                timeout: "3s",
                retries: 5,
                start_period: "10s",
            }),
            // Longer than SERVER_GRACE (8 s) and the 2 s that a stop may take on top of it.
            stop_grace_period: Some("15s"),
            // The engine's default, stated because the shared segment of the workers is there: a
            // few kB per worker.
            shm_size: Some("64m"),
            ..container(name, "server:latest")
        }
    }

    /// Returns the service of agency `number`, which mounts its own bets if the dialect carries
    /// bets.
    fn agency(&self, number: u16) -> Service {
        let mut environment = vec![format!("CLI_ID={number}")];
        environment.extend(self.dialect.map(|dialect| format!("CLI_PROTOCOL={}", dialect.name)));
        if self.centrals > 1 {
            environment.push(format!("CLI_SERVER_ADDRESS={}", self.addresses(number)));
        }
        let mut volumes = vec![file("./client/config.yaml".to_owned(), "/config.yaml".to_owned())];
        if has_bets(self.dialect) {
            let data = data_file(number);
            volumes.push(file(format!("./{data}"), format!("/{data}")));
        }
        if keeps_state(self.dialect) {
            // The directory of the bets cannot be written.
            environment.push("CLI_STATE=/state/agency-{id}.resume".to_owned());
            volumes.push(Mount::Volume { source: STATE, target: "/state" });
        }
        let centrals = (1..=self.centrals).map(|number| (central_name(number), HEALTHY));
        Service {
            environment,
            volumes,
            depends_on: centrals.collect(),
            ..container(format!("client{number}"), "client:latest")
        }
    }

    /// Returns the addresses of all centrals. The agencies take turns to begin with each of them.
    fn addresses(&self, agency: u16) -> String {
        let central = |turn| (agency - 1 + turn) % self.centrals + 1;
        let addresses =
            (0..self.centrals).map(|turn| format!("{}:{PORT}", central_name(central(turn))));
        addresses.collect::<Vec<_>>().join(",")
    }
}

/// Returns the name of the service and container of a central.
fn central_name(number: u16) -> String {
    if number == 1 { CENTRAL.to_owned() } else { format!("{CENTRAL}{number}") }
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
fn container(name: String, image: &str) -> Service {
    Service {
        container_name: name,
        image: image.to_owned(),
        user: None,
        environment: vec![],
        ports: vec![],
        volumes: vec![],
        networks: vec![NETWORK],
        depends_on: BTreeMap::new(),
        healthcheck: None,
        stop_grace_period: None,
        tmpfs: vec![],
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
