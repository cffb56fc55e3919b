//! The service of PostgreSQL, with the official image.

use super::container;
use crate::file::{Healthcheck, Mount, Service};

/// Name of the service and container.
pub(super) const NAME: &str = "postgres";

/// Volume that keeps the bets when the container is replaced.
pub(super) const STORAGE: &str = "postgres_storage";

/// What centrals connect to. The network is their own and publishes no port.
pub(super) const URL: &str = "postgres://lottery:lottery@postgres/lottery";

/// Returns the service.
pub(super) fn service(image: &str) -> Service {
    let setting = |name, value| format!("POSTGRES_{name}={value}");
    Service {
        // The image starts as root by default, to change the owner of the data.
        user: Some("postgres"),
        environment: ["USER", "PASSWORD", "DB"].map(|name| setting(name, "lottery")).into(),
        volumes: vec![Mount::Volume { source: STORAGE, target: "/var/lib/postgresql/data" }],
        healthcheck: Some(Healthcheck {
            // While the image creates the database, its server does not listen on TCP.
            test: vec!["CMD", "pg_isready", "--host", "127.0.0.1", "--username", "lottery"],
            interval: "2s",
            timeout: "3s",
            retries: 5,
            start_period: "60s",
        }),
        // A stop writes a checkpoint.
        stop_grace_period: Some("30s"),
        // The directories of its sockets and of its temporary files.
        tmpfs: vec!["/var/run/postgresql", "/tmp"],
        // Parallel queries share memory there.
        shm_size: Some("128m"),
        ..container(NAME.to_owned(), image)
    }
}
