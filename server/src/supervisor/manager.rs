//! What the supervisor tells the service manager (sd_notify(3)): that the central serves, reloads
//! and stops, and that the loop of the supervisor turns.
//!
//! Without `NOTIFY_SOCKET` nothing is sent. Only the supervisor sends; a worker never does.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, warn};
use sd_notify::NotifyState;

/// The service manager that has started this central, if there is one.
#[derive(Debug)]
pub struct Manager {
    /// Time between two signs of life; `None` if the manager expects none.
    every: Option<Duration>,
    /// Time of the last sign of life.
    sent: Instant,
    /// True once a message was lost and the log says so.
    is_lost: bool,
}

impl Manager {
    /// Reads from the environment what the manager expects of this process.
    pub fn from_environment() -> Self {
        let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        // A third, so that one late sign is no reason to end the central.
        Self { every: limit.map(|limit| limit / 3), sent: Instant::now(), is_lost: false }
    }

    /// Reports that every worker accepts connections, at the start and after a reload.
    pub fn ready(&mut self, workers: usize) {
        let status = format!("{workers} workers serve");
        self.send(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// Reports that a reload has begun.
    pub fn reloading(&mut self) {
        // Without the time, the manager ignores the message.
        if let Ok(time) = NotifyState::monotonic_usec_now() {
            self.send(&[NotifyState::Reloading, time]);
        }
    }

    /// Reports that the central stops.
    pub fn stopping(&mut self) {
        self.send(&[
            NotifyState::Stopping,
            NotifyState::Status("finishing the requests in progress"),
        ]);
    }

    /// Gives a sign of life when it is due. The loop that watches the workers calls this.
    pub fn beat(&mut self) {
        if self.every.is_some_and(|every| self.sent.elapsed() >= every) {
            self.sent = Instant::now();
            self.send(&[NotifyState::Watchdog]);
        }
    }

    fn send(&mut self, state: &[NotifyState<'_>]) {
        let Some(address) = env::var_os("NOTIFY_SOCKET") else { return };
        if let Err(reason) = send_to(&address, state)
            && !self.is_lost
        {
            self.is_lost = true;
            warn("service_manager", Outcome::Fail)
                .with("error", reason)
                .with("next", "serve nevertheless; the manager may think that the central is stuck")
                .write();
        }
    }
}

/// Sends one message. The library cannot send to an abstract address (`@name`), and would wait for
/// a manager that does not read.
fn send_to(address: &OsStr, state: &[NotifyState<'_>]) -> io::Result<()> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(address)?,
    };
    let lines: Vec<_> = state.iter().map(ToString::to_string).collect();
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(lines.join("\n").as_bytes(), &address)?;
    Ok(())
}
