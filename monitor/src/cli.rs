//! The command line of the monitor.

use std::net::SocketAddr;

use clap::Parser;

/// Shows a running central over HTTP: its status, health and metrics. Only reads its memory.
#[derive(Debug, Parser)]
#[command(name = "loteria-monitor", version)]
pub struct Cli {
    /// First port of the central; 0 means the only one that runs here
    #[arg(long, env = "SERVER_PORT", default_value_t = 12345)]
    pub port: u16,
    /// Address and port to serve HTTP on
    #[arg(long, env = "SERVER_MONITOR", default_value = "127.0.0.1:9100")]
    pub listen: SocketAddr,
    /// Process id of the supervisor that executes this program; the monitor ends with it
    #[arg(long, hide = true)]
    pub supervisor: Option<i32>,
}
