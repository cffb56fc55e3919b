//! `loteria-agency bench`: sends batches to a server as fast as it answers, and measures.

mod batch;
mod report;

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use load::{Load, LoadError, Sources};
use lottery::protocol::{ConnectionUse, DIALECTS, Dialect};

use self::batch::{Batch, BatchError, Size};
pub(crate) use self::report::Report;
use crate::config;
use crate::stop::Stop;

/// Text at the end of the help.
pub(crate) const AFTER_HELP: &str = "\
The bets are invented and the server stores them, so measure a server whose bets you can delete. All
bets are those of agency 1. The draw is not held.
Every client sends a batch, waits for the reply and sends the next one; by default it opens a
connection for each batch. The latency counts from before the connection is opened, or from before
the batch is sent on a kept one, to the last byte of the reply.
If the server is on the loopback interface, the connections come from 240 addresses of 127.0.0.0/8
in turn: the ports of one address would run out, because a closed connection occupies its port for a
minute. --source sets one address, for a server that serves only some networks.
A failed batch is counted by its reason, and sent again. The run ends early if nothing is answered
any more.
Exit codes: 0 every batch was answered, 1 some failed or the server cannot be reached, 2 wrong
usage, 143 or 130 after SIGTERM or SIGINT; the figures up to then are printed.";

/// Longest run.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Arguments of `loteria-agency bench`.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Address of the server, such as 127.0.0.1:12345
    #[arg(value_name = "HOST:PORT", value_parser = config::one_address)]
    address: String,
    /// Dialect of the server
    #[arg(long, value_name = "DIALECT", default_value = DIALECTS[0].name, value_parser = config::dialect)]
    protocol: &'static Dialect,
    /// Clients that send at the same time
    #[arg(long, value_name = "N", default_value = "4")]
    clients: NonZeroUsize,
    /// Duration of the run in seconds, such as 5 or 0.5; at most a day
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Send all batches of a client over one connection
    #[arg(long)]
    kept: bool,
    /// Bets per batch, or its size such as 8kB or 512B
    #[arg(long, value_name = "BETS|SIZE", default_value = "8kB", value_parser = batch::size)]
    batch: Size,
    /// Leave out the numbers of the bets, as the assignment of 2022 does (typed and keyed)
    #[arg(long)]
    without_number: bool,
    /// Local address of the connections, instead of many or of the system's choice
    #[arg(long, value_name = "IP")]
    source: Option<IpAddr>,
    /// Time limit for a reply
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = config::some_time_of)]
    timeout: Duration,
    /// Threads that send; one is a bottleneck for a fast server
    #[arg(long, value_name = "N", default_value = "2")]
    threads: NonZeroUsize,
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
}

/// Why a server was not measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The dialect closes the connection after a batch.
    #[error("--kept: a connection of {0} carries one batch")]
    NotKept(&'static str),
    /// The dialect requires a number.
    #[error("--without-number: every bet of {0} has a number")]
    Numbered(&'static str),
    /// The limit of open files is too low.
    #[error("--clients {clients}: the limit of open files allows {max} (ulimit -n)")]
    TooManyClients {
        /// Value of `--clients`.
        clients: usize,
        /// Clients that the limit leaves room for.
        max: u64,
    },
    /// The source cannot reach the server.
    #[error("--source {ip}: the server's address {server} is of the other family")]
    OtherFamily {
        /// Value of `--source`.
        ip: IpAddr,
        /// Address of the server.
        server: IpAddr,
    },
    /// The batch cannot be built.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The address of the server is not found.
    #[error("{address}: {reason}")]
    Unresolved {
        /// Address as it was given.
        address: String,
        /// The system's error.
        reason: io::Error,
    },
    /// The limit of open files cannot be read or raised.
    #[error("the limit of open files: {0}")]
    Limit(io::Error),
    /// The load has no figures.
    #[error("{address}: {reason}")]
    Load {
        /// Address as it was given.
        address: String,
        /// Why.
        reason: LoadError,
    },
}

impl BenchError {
    /// Returns true if the command line is wrong.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::NotKept(_)
            | Self::Numbered(_)
            | Self::TooManyClients { .. }
            | Self::OtherFamily { .. }
            | Self::Batch(_) => true,
            Self::Unresolved { .. } | Self::Limit(_) | Self::Load { .. } => false,
        }
    }
}

impl Bench {
    /// Measures the server.
    pub(crate) fn run(&self, stop: &Stop) -> Result<Report<'_>, BenchError> {
        let batch = self.batch()?;
        let server = self.server()?;
        let load = Load {
            server,
            sources: self.sources(server)?,
            kept: self.kept,
            duration: self.seconds,
            reply_limit: self.timeout,
            threads: self.threads.get(),
        };
        let clients = (0..self.clients.get()).map(|_| batch.client());
        let clients = clients.collect::<Result<_, _>>()?;
        let figures = load
            .run(clients, &|| stop.requested().is_some())
            .map_err(|reason| BenchError::Load { address: self.address.clone(), reason })?;
        Ok(Report { bench: self, batch, figures })
    }

    /// Returns true if the report is to be JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    fn batch(&self) -> Result<Batch, BenchError> {
        let dialect = self.protocol;
        if self.kept && !dialect.keeps_connections() {
            return Err(BenchError::NotKept(dialect.name));
        }
        if self.without_number && !dialect.number_is_optional {
            return Err(BenchError::Numbered(dialect.name));
        }
        let (clients, max) = (self.clients.get(), load::max_clients().map_err(BenchError::Limit)?);
        if clients as u64 > max {
            return Err(BenchError::TooManyClients { clients, max });
        }
        let connection = if self.kept { ConnectionUse::Kept } else { ConnectionUse::PerRequest };
        Ok(Batch::new(dialect, self.batch, !self.without_number, connection)?)
    }

    fn server(&self) -> Result<SocketAddr, BenchError> {
        let unresolved = |reason| BenchError::Unresolved { address: self.address.clone(), reason };
        let found = self.address.to_socket_addrs().map_err(unresolved)?.next();
        found.ok_or_else(|| unresolved(io::Error::other("the name has no address")))
    }

    fn sources(&self, server: SocketAddr) -> Result<Sources, BenchError> {
        match self.source {
            None => Ok(Sources::automatic(server)),
            Some(ip) if ip.is_ipv4() == server.is_ipv4() => Ok(Sources::Fixed(ip)),
            Some(ip) => Err(BenchError::OtherFamily { ip, server: server.ip() }),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = plain.then(|| text.parse().ok()).flatten();
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| !time.is_zero() && *time <= MAX_TIME)
        .ok_or_else(|| "expected a number of seconds above zero, at most 86400".to_owned())
}
