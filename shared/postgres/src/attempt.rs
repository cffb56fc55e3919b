//! An attempt to connect to one server.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::error::{Fault, Step};
use crate::primary::{Connected, Interest};
use crate::servers::{Server, Servers};
use crate::startup::Startup;
use crate::transport::Transport;

/// A socket that connects, or a connection that authenticates.
pub(crate) struct Attempt {
    transport: Transport,
    startup: Startup,
    step: Step,
    deadline: Instant,
    timeout: Duration,
}

impl Attempt {
    /// Begins to connect to the server.
    pub(crate) fn begin(server: &Server, servers: &Servers, now: Instant) -> Result<Self, Fault> {
        let mut transport = Transport::connect(server.address, servers.max_reply)
            .map_err(|error| Fault::Io(Step::Connect, error))?;
        let startup = Startup::begin(server, servers, transport.outgoing())?;
        let timeout = servers.connect_timeout;
        Ok(Self { transport, startup, step: Step::Connect, deadline: now + timeout, timeout })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.transport.fd()
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn step(&self) -> Step {
        self.step
    }

    pub(crate) fn interest(&self) -> Interest {
        let write = self.step == Step::Connect || self.transport.has_outgoing();
        Interest { read: true, write }
    }

    /// Goes on as far as possible without blocking. Returns the server once the connection is
    /// ready.
    pub(crate) fn advance(&mut self, now: Instant) -> Result<Option<Connected>, Fault> {
        if self.step == Step::Connect {
            let is_connected = self.transport.is_connected();
            if is_connected.map_err(|error| Fault::Io(Step::Connect, error))? {
                self.step = Step::Authenticate;
            } else {
                return self.unless_late(now);
            }
        }
        self.transport.flush(self.step)?;
        while let Some(message) = self.transport.receive(self.step)? {
            let connected = self.startup.handle(message, self.transport.outgoing())?;
            if connected.is_some() {
                return Ok(connected);
            }
            self.transport.flush(self.step)?;
        }
        self.unless_late(now)
    }

    fn unless_late(&self, now: Instant) -> Result<Option<Connected>, Fault> {
        if now < self.deadline { Ok(None) } else { Err(Fault::Deadline(self.step, self.timeout)) }
    }

    /// Returns the socket of a connection that is ready.
    pub(crate) fn into_transport(self) -> Transport {
        self.transport
    }
}
