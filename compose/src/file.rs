//! The part of the Compose file format that the program uses, as types.
//!
//! Both `docker-compose` 1.29 and `docker compose` v2 have to read the file. So it has no top-level
//! `version` (v2 warns about it), and no `name`, `start_interval` or `create_host_path` (1.29
//! refuses them).

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// A whole file.
#[derive(Debug, Serialize)]
pub(crate) struct ComposeFile {
    /// In the order of the file: the engine of the bets, the centrals, the agencies by number.
    #[serde(serialize_with = "in_order")]
    pub(crate) services: Vec<(String, Service)>,
    /// The networks by name.
    pub(crate) networks: BTreeMap<&'static str, Network>,
    /// The named volumes; all with the engine's defaults.
    pub(crate) volumes: BTreeMap<&'static str, EngineDefaults>,
}

/// One container.
#[derive(Debug, Serialize)]
pub(crate) struct Service {
    /// Name of the container, which `compose logs` prints before its log lines.
    pub(crate) container_name: String,
    /// Image. Those of this project must have been built on this machine.
    pub(crate) image: String,
    /// User of its processes, if it is not the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<&'static str>,
    /// `NAME=value` pairs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) environment: Vec<String>,
    /// Ports of the host, in the form `address:port:port of the container`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ports: Vec<String>,
    /// Files and volumes that are mounted.
    pub(crate) volumes: Vec<Mount>,
    /// Networks of the container.
    pub(crate) networks: Vec<&'static str>,
    /// Services that it waits for, with the condition.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) depends_on: BTreeMap<String, Dependency>,
    /// Check that the engine runs to find out if the service is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) healthcheck: Option<Healthcheck>,
    /// Time between TERM and KILL; the engine's default is 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_grace_period: Option<&'static str>,
    /// Directories in memory, which can be written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tmpfs: Vec<&'static str>,
    /// Size of `/dev/shm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shm_size: Option<&'static str>,
    /// True if the root file system cannot be written.
    pub(crate) read_only: bool,
    /// Capabilities that the container drops.
    pub(crate) cap_drop: Vec<&'static str>,
    /// Options such as `no-new-privileges:true`.
    pub(crate) security_opt: Vec<&'static str>,
}

/// A mount of a container.
///
/// Written in the long form, with which the engine reports a missing file of the host. With the
/// short form, the engine would create a directory in its place.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Mount {
    /// A file of the host.
    Bind {
        /// Path, relative to the Compose file.
        source: String,
        /// Path in the container.
        target: String,
        /// True if the container cannot write it.
        read_only: bool,
    },
    /// A named volume.
    Volume {
        /// Name of the volume.
        source: &'static str,
        /// Path in the container.
        target: &'static str,
    },
}

/// The condition under which a service starts.
#[derive(Debug, Serialize)]
pub(crate) struct Dependency {
    /// `service_healthy`.
    pub(crate) condition: &'static str,
}

/// A command that succeeds while the service is ready. Durations have Go's spelling.
#[derive(Debug, Serialize)]
pub(crate) struct Healthcheck {
    /// `CMD` and the command's words.
    pub(crate) test: Vec<&'static str>,
    /// Time between two checks, and before the first.
    pub(crate) interval: &'static str,
    /// Time after which a check has failed.
    pub(crate) timeout: &'static str,
    /// Failures in a row that make the service unhealthy.
    pub(crate) retries: u32,
    /// Time after the start during which failures do not count.
    pub(crate) start_period: &'static str,
}

/// A network.
#[derive(Debug, Serialize)]
pub(crate) struct Network {
    /// `bridge`.
    pub(crate) driver: &'static str,
    /// Addresses of the network.
    pub(crate) ipam: AddressPlan,
}

/// The addresses of a network.
#[derive(Debug, Serialize)]
pub(crate) struct AddressPlan {
    /// `default`.
    pub(crate) driver: &'static str,
    /// Ranges of addresses.
    pub(crate) config: Vec<Subnet>,
}

/// A range of addresses.
#[derive(Debug, Serialize)]
pub(crate) struct Subnet {
    /// In the form `a.b.c.d/bits`.
    pub(crate) subnet: &'static str,
}

/// An object without settings of its own: an empty mapping.
#[derive(Debug, Serialize)]
pub(crate) struct EngineDefaults {}

/// Writes pairs as a mapping that keeps their order.
fn in_order<S: Serializer>(
    services: &[(String, Service)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(services.iter().map(|(name, service)| (name, service)))
}
