//! The table of a worker's connections: what the kernel watches of each, and how each ends.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use conventions::duration::GoDuration;
use conventions::log_line::{Outcome, error};
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::{Service, WorkerError};
use crate::connection::{Connection, Phase, Watched};

impl Service<'_> {
    /// Closes whoever has had his time.
    pub(super) fn close_overdue(&mut self, now: Instant) {
        let is_overdue =
            |connection: &Connection| connection.deadline.is_some_and(|deadline| now >= deadline);
        let overdue: Vec<_> =
            self.connections.iter().filter(|(_, c)| is_overdue(c)).map(|(key, _)| key).collect();
        let reason = if self.draining.is_some() {
            "the central is stopping".to_owned()
        } else {
            format!("not done within {}", GoDuration(self.limits.request_timeout))
        };
        for key in overdue {
            self.close(key, &reason);
        }
    }

    /// Registers or re-registers what a connection waits for.
    pub(super) fn watch(&mut self, key: usize, wanted: Watched) -> Result<(), WorkerError> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        let flags = match wanted {
            Watched::Input => EpollFlags::EPOLLIN,
            Watched::Output => EpollFlags::EPOLLOUT,
            Watched::Hangup => EpollFlags::EPOLLRDHUP,
            Watched::Nothing => EpollFlags::empty(),
        };
        let mut event = EpollEvent::new(flags, token(key, connection.serial));
        match (connection.watched, wanted) {
            (before, after) if before == after => {}
            (Watched::Nothing, _) => self.epoll.add(connection.as_fd(), event)?,
            _ => self.epoll.modify(connection.as_fd(), &mut event)?,
        }
        connection.watched = wanted;
        Ok(())
    }

    /// Closes a connection that is done.
    pub(super) fn finish(&mut self, key: usize) {
        let Some(connection) = self.connections.try_remove(key) else { return };
        self.buffered -= connection.buffered();
        if connection.in_flight {
            self.central.abandon(self.slot);
        }
        if let Phase::Waiting { .. } = connection.phase {
            self.waiting -= 1;
        }
        self.note_connections();
        // The kernel forgets a closed descriptor by itself: no process has a copy of it.
    }

    /// Closes a connection before its time, saying why unless it was only saying goodbye.
    pub(super) fn close(&mut self, key: usize, reason: &str) {
        let Some(connection) = self.connections.get(key) else { return };
        // One that has said nothing, or all it had to say, is told goodbye, not off.
        let silent = match connection.phase {
            Phase::Lingering { .. } => true,
            Phase::Waiting { .. } => self.draining.is_some(),
            _ => {
                connection.is_idle()
                    && (self.draining.is_some() || connection.dialect.keeps_connections())
            }
        };
        if !silent {
            self.refused(connection.peer, reason);
        }
        self.finish(key);
    }

    /// Tells everybody how many there are.
    pub(super) fn note_connections(&self) {
        self.central.shared().worker_connections.store(self.slot, self.connections.len() as u32);
        self.central.shared().worker_waiting.store(self.slot, self.waiting as u32);
    }

    /// Counts and logs that something of a peer was refused.
    pub(super) fn refused(&self, peer: SocketAddr, reason: &str) {
        self.central.shared().worker_refused.fetch_add(self.slot, 1);
        error("receive_message", Outcome::Fail)
            .with("ip", peer.ip())
            .with("puerto", peer.port())
            .with("error", reason)
            .write();
    }
}

/// The kernel gives this back with every event of a connection.
fn token(key: usize, serial: u32) -> u64 {
    (key as u64) << 32 | u64::from(serial)
}

/// The key and the serial of a connection's token.
pub(super) fn parse_token(token: u64) -> (usize, u32) {
    ((token >> 32) as usize, token as u32)
}
