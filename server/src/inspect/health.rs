//! The command `health`: would a batch be served now, and if not, why?
//!
//! It reads the shared memory, and it makes a round trip on every listening socket: it connects,
//! closes its sending side without having sent a byte, and waits until a worker closes the
//! connection. In every dialect a worker accepts such a connection, reads its end and closes it. It
//! stores, counts and logs nothing of it (but for a line at DEBUG).

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use central_view::{CentralView, Patience, Reason, SUPERVISOR_TIMEOUT, attach, not_ready, silent};
use conventions::duration::GoDuration;
use conventions::log_line::{Outcome, info};

use super::failed;
use crate::exit_code::ExitCode;

/// How long the command may take. Compose gives up on it after 3 s.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two checks of a late heartbeat.
const PAUSE: Duration = Duration::from_millis(50);
/// How much longer than the heartbeat timeout a worker may be silent. By then the watchdog has
/// ended it, if the watchdog works.
const WATCHDOG_RESERVE: Duration = Duration::from_secs(5);

/// Exits with 0 if the central on `port` would serve a batch now.
pub fn ready(port: u16) -> ExitCode {
    let shared = match attach(port) {
        Ok(shared) => shared,
        Err(reason) => return failed("health", &reason),
    };
    let end = Instant::now() + TIMEOUT;
    // A central that is starting or stopping need not answer.
    let mut reasons = texts(&without_passing(not_ready(&shared)));
    if reasons.is_empty() {
        let addresses = shared.listening().into_iter().map(reachable).collect::<Vec<_>>();
        reasons = unanswered(&addresses, end);
        reasons.splice(0..0, texts(&lasting(end, || not_ready(&shared))));
    }
    finish(&reasons, &shared)
}

/// Exits with 0 if the processes of the central on `port` run. If not, a restart of the central
/// helps. `heartbeat_timeout` is that of its watchdog; 0 means that it has none.
pub fn live(port: u16, heartbeat_timeout: Duration) -> ExitCode {
    let shared = match attach(port) {
        Ok(shared) => shared,
        Err(reason) => return failed("health", &reason),
    };
    let worker = match heartbeat_timeout {
        Duration::ZERO => Duration::MAX,
        timeout => timeout + WATCHDOG_RESERVE,
    };
    // A restart would not make a disk faster.
    let patience = Patience { worker, disk: Duration::MAX, supervisor: SUPERVISOR_TIMEOUT };
    let end = Instant::now() + TIMEOUT;
    finish(&texts(&lasting(end, || silent(&shared, patience))), &shared)
}

/// Logs the result.
fn finish(reasons: &[String], shared: &CentralView) -> ExitCode {
    if reasons.is_empty() {
        info("health", Outcome::Success).with("workers", shared.workers.load()).write();
        return ExitCode::Done;
    }
    failed("health", &reasons.join("; "))
}

/// Checks until no temporary reason is left, or until the deadline. Returns the last reasons.
fn lasting(end: Instant, look: impl Fn() -> Vec<Reason>) -> Vec<Reason> {
    loop {
        let reasons = look();
        if !reasons.iter().any(Reason::may_pass) || Instant::now() >= end {
            return reasons;
        }
        sleep(PAUSE);
    }
}

fn without_passing(reasons: Vec<Reason>) -> Vec<Reason> {
    reasons.into_iter().filter(|reason| !reason.may_pass()).collect()
}

fn texts(reasons: &[Reason]) -> Vec<String> {
    reasons.iter().map(Reason::to_string).collect()
}

/// Makes a round trip to every address at the same time, and returns a reason for each that failed.
fn unanswered(addresses: &[SocketAddr], end: Instant) -> Vec<String> {
    let asked: Vec<_> = addresses.iter().map(|address| (address, ask(*address, end))).collect();
    let answered = asked.into_iter().map(|(address, asked)| {
        (address, asked.and_then(|connection| until_closed(&connection, end)))
    });
    answered.filter_map(|(address, result)| Some(not_answered(address, &result.err()?))).collect()
}

fn not_answered(address: &SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no worker answers on {address} within {}", GoDuration(TIMEOUT))
        }
        _ => format!("no worker answers on {address}: {error}"),
    }
}

/// Connects and ends the sending side.
fn ask(address: SocketAddr, end: Instant) -> io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&address, left(end))?;
    connection.shutdown(Shutdown::Write)?;
    Ok(connection)
}

/// Waits until the worker has closed the connection.
fn until_closed(mut connection: &TcpStream, end: Instant) -> io::Result<()> {
    loop {
        connection.set_read_timeout(Some(left(end)))?;
        // Any bytes are an answer of a worker, but no dialect sends any.
        if connection.read(&mut [0; 64])? == 0 {
            return Ok(());
        }
    }
}

/// Returns the time left, which must not be zero for a socket.
fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// Returns the address under which this machine reaches a socket that listens on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
