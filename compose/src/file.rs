//! The part of the Compose file format that is used here, as types: what cannot be spelled cannot be misspelled.
//!
//! Both `docker-compose` 1.29 and `docker compose` v2 read it, so there is no top-level `version` (v2 warns of it) or
//! `name`, no `start_interval` and no `create_host_path` (1.29 refuses them).

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// A whole file.
#[derive(Debug, Serialize)]
pub(crate) struct ComposeFile {
    /// In the order in which they are to be read: the central, then its agencies by number.
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
    /// The container's name, which log lines are found by.
    pub(crate) container_name: String,
    /// An image of this machine; none is pulled.
    pub(crate) image: &'static str,
    /// `NAME=value` pairs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) environment: Vec<String>,
    /// Files and volumes of the container.
    pub(crate) volumes: Vec<Mount>,
    /// Networks it is in.
    pub(crate) networks: Vec<&'static str>,
    /// What has to be so before it is started.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) depends_on: BTreeMap<&'static str, Dependency>,
    /// How the engine learns that it serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) healthcheck: Option<Healthcheck>,
    /// Time between TERM and KILL; the engine's default is 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_grace_period: Option<&'static str>,
    /// Size of `/dev/shm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shm_size: Option<&'static str>,
    /// The root file system cannot be written.
    pub(crate) read_only: bool,
    /// Capabilities taken away.
    pub(crate) cap_drop: Vec<&'static str>,
    /// Options such as `no-new-privileges:true`.
    pub(crate) security_opt: Vec<&'static str>,
}

/// Something mounted into a container.
///
/// In the long form on purpose: with the short one the engine makes a directory where a file of the host is missing,
/// with this one it says which file is.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Mount {
    /// A file of the host.
    Bind {
        /// Its path, relative to the Compose file.
        source: String,
        /// Its path in the container.
        target: String,
        /// It cannot be written from inside.
        read_only: bool,
    },
    /// A named volume.
    Volume {
        /// The volume's name.
        source: &'static str,
        /// Its path in the container.
        target: &'static str,
    },
}

/// What a service waits for.
#[derive(Debug, Serialize)]
pub(crate) struct Dependency {
    /// `service_healthy`.
    pub(crate) condition: &'static str,
}

/// A command that succeeds while the service serves. Durations in Go's spelling.
#[derive(Debug, Serialize)]
pub(crate) struct Healthcheck {
    /// `CMD` and the command's words.
    pub(crate) test: Vec<&'static str>,
    /// Time between two checks, and before the first.
    pub(crate) interval: &'static str,
    /// A check that takes longer has failed.
    pub(crate) timeout: &'static str,
    /// Failures in a row that make the service unhealthy.
    pub(crate) retries: u32,
    /// Failures do not count this long after the start.
    pub(crate) start_period: &'static str,
}

/// A network.
#[derive(Debug, Serialize)]
pub(crate) struct Network {
    /// `bridge`.
    pub(crate) driver: &'static str,
    /// Its addresses.
    pub(crate) ipam: AddressPlan,
}

/// How a network gives out addresses.
#[derive(Debug, Serialize)]
pub(crate) struct AddressPlan {
    /// `default`.
    pub(crate) driver: &'static str,
    /// The ranges.
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
